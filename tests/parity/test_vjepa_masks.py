"""The published 3-D samplers of V-JEPA 1 and 2: sizes exactly, positions and lengths as distributions."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from craik.core import Grid, Mask
from craik.masking.spacetime import SpaceTimeBlocks, Tubes
from tests.parity.golden import Fixture


@dataclass(frozen=True)
class Case:
    """One sampler of a fixture, and where its numbers stand."""

    fixture: Fixture
    index: int
    sampler: SpaceTimeBlocks
    grid: Grid
    prefix: str
    """Before `maskK` in distributions.json."""

    @property
    def recorded(self) -> dict[str, Any]:
        """Numbers under `maskK.*`, without that prefix."""
        begin = f"{self.prefix}mask{self.index}."
        numbers = self.fixture.json("distributions.json")
        return {key.removeprefix(begin): value for key, value in numbers.items() if key.startswith(begin)}

    def noise(self, run: dict[str, Any], name: str) -> float:
        """Three times what the published code differs from itself by; the README allows that."""
        kind = "batch1" if run["batch_size"] == 1 else "larger_batches"
        return 3 * self.fixture.config["official_vs_official"][kind][name]

    def replay(self, number: int, side: str) -> torch.Tensor:
        """Recorded index sets [B, K], `side` is "enc" or "pred"."""
        names = (
            f"replay{number}.{self.prefix}mask{self.index}.masks_{side}",
            f"replay{number}.masks_{side}.{self.index}",
        )
        return next(self.fixture.outputs[name] for name in names if name in self.fixture.outputs)


def pair(size: int | list[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def cases(fixture: Fixture) -> list[Case]:
    """All samplers of a fixture: one for each mask type, and for each number of frames where there are several."""
    collator = fixture.config["collator"]
    frames = collator.get("dataset_fpcs") or [collator["num_frames"]]
    found = []
    for num in frames:
        sides = zip(pair(collator["crop_size"]), pair(collator["patch_size"]), strict=True)
        grid = Grid(("t", "h", "w"), (num // collator["tubelet_size"], *(size // patch for size, patch in sides)))
        prefix = f"frames{num}." if "dataset_fpcs" in collator else ""
        for index, c in enumerate(collator["cfgs_mask"]):
            sampler = SpaceTimeBlocks(
                num_blocks=c["num_blocks"],
                space=tuple(c["spatial_scale"]),
                time=tuple(c["temporal_scale"]),
                aspect=tuple(c["aspect_ratio"]),
                seen_time=c["max_temporal_keep"],
                max_keep=c["max_keep"],
                complement=c.get("full_complement", False),
                as_published=True,
            )
            found.append(Case(fixture, index, sampler, grid, prefix))
    return found


@pytest.fixture(scope="module", params=["vjepa1_masks", "vjepa2_masks"])
def found(request: pytest.FixtureRequest, golden: Callable[[str], Fixture]) -> list[Case]:
    cases_ = cases(golden(request.param))
    assert cases_
    return cases_


def test_block_sizes_by_seed(found: list[Case]) -> None:
    for case in found:
        expected = case.recorded.get("block_sizes_by_seed", [])
        assert expected or case.prefix  # V-JEPA 2's fixture may have none
        for row in expected:
            size = case.sampler.extent(case.grid, torch.Generator().manual_seed(row["seed"]))
            assert [*size] == row["block_thw"], row


def test_replays_have_our_structure(found: list[Case]) -> None:
    """Recorded masks obey the rules that ours are made by: disjoint, ascending, of one length, first ones kept."""
    for case in found:
        for number in range(len(case.fixture.config["replay"])):
            context, target = case.replay(number, "enc"), case.replay(number, "pred")
            Mask(context, target.unsqueeze(1)).check(case.grid.num_tokens)
            for index in (context, target):
                assert bool((index.diff(dim=-1) > 0).all())
                # What is cut off at the end of the clip is cut off in at least one sample of the batch.
                assert int(index.max()) < case.grid.num_tokens


def histogram(lengths: list[int]) -> dict[str, int]:
    """Lengths in bins of 16, as recorded."""
    return {str(value): count for value, count in Counter(16 * (length // 16) for length in lengths).items()}


def frequency(index: torch.Tensor, num: int) -> torch.Tensor:
    """How often each token is in a set, of [B, K]: float64 [N], summed over the batch."""
    return torch.zeros(num, dtype=torch.float64).index_add_(0, index.flatten(), torch.ones(index.numel()).double())


def statistics(case: Case, run: dict[str, Any]) -> dict[str, Any]:
    """The quantities of distributions.json."""
    rng = torch.Generator().manual_seed(run["global_seed"])
    num, batch = case.grid.num_tokens, run["batch_size"]
    lengths: dict[str, list[int]] = {"context": [], "target": []}
    counts = {name: torch.zeros(num, dtype=torch.float64) for name in lengths}
    for _ in range(run["iterations"]):
        mask = case.sampler(case.grid, batch, rng)
        for name, index in (("context", mask.context), ("target", mask.target[:, 0])):
            lengths[name].append(index.shape[1])
            counts[name] += frequency(index, num)
    clips = run["iterations"] * batch
    found: dict[str, Any] = {"n_clips": clips}
    for name, values in lengths.items():
        share = (counts[name] / clips).view(case.grid.shape)
        found[f"mean_{name}_len"] = sum(values) / len(values)
        found[f"{name}_len_hist_bins_of_16"] = histogram(values)
        found[f"{name}_frequency_by_position_mean_over_time"] = share.mean(0).flatten().tolist()
        found[f"{name}_frequency_by_time"] = share.mean((1, 2)).tolist()
    found["mean_fraction_of_tokens_used"] = (found["mean_context_len"] + found["mean_target_len"]) / num
    return found


def test_distributions(found: list[Case]) -> None:
    for case in found:
        for run in case.fixture.config["runs"]:
            golden, ours = case.recorded[run["name"]], statistics(case, run)
            assert golden.keys() == ours.keys()
            for name, value in golden.items():
                if name.endswith("_len"):
                    # Within the noise of the published code, or four standard errors of a difference if that is more.
                    error = standard_error(golden[name.removeprefix("mean_") + "_hist_bins_of_16"])
                    bound = max(case.noise(run, "mean_relative") * value, 4 * math.sqrt(2) * error)
                    assert ours[name] == pytest.approx(value, abs=bound, rel=0), f"{run['name']}: {name}"
                else:
                    compare(case, run, name, ours[name], value)


def standard_error(counts: dict[str, int]) -> float:
    """Of the mean of a histogram."""
    total = sum(counts.values())
    mean = sum(int(value) * count for value, count in counts.items()) / total
    return math.sqrt(sum((int(value) - mean) ** 2 * count for value, count in counts.items())) / total


def compare(case: Case, run: dict[str, Any], name: str, ours: Any, golden: Any) -> None:
    where = f"{case.prefix}mask{case.index}.{run['name']}: {name}"
    if "_hist" in name:
        total, mine = sum(golden.values()), sum(ours.values())
        assert mine == total, where
        gap = sum(abs(ours.get(k, 0) / mine - golden.get(k, 0) / total) for k in ours | golden) / 2
        assert gap <= case.noise(run, "histogram_total_variation"), f"{where} differs by {gap:.3f}"
    elif "_frequency_" in name:
        gap = (torch.tensor(ours) - torch.tensor(golden)).abs().max().item()
        assert gap <= case.noise(run, "frequency_max_abs"), f"{where} differs by {gap:.3f}"
    elif name.startswith("mean_"):
        assert ours == pytest.approx(golden, rel=case.noise(run, "mean_relative")), where
    else:
        assert ours == golden, where


def test_late_frames_are_rare_as_in_the_published_code(found: list[Case]) -> None:
    """Cutting to a common length drops late tokens first: each time index keeps the published share."""
    for case in found:
        run = case.fixture.config["runs"][-1]
        ours = torch.tensor(statistics(case, run)["context_frequency_by_time"])
        golden = torch.tensor(case.recorded[run["name"]]["context_frequency_by_time"])
        assert float((ours - golden).abs().max()) <= case.noise(run, "frequency_max_abs") / 2
        if run["batch_size"] > 1:
            assert float(ours[-1]) < 0.5 * float(ours[0])


def test_tubes(golden: Callable[[str], Fixture]) -> None:
    """The lengths are the published ones; a place is hidden in all frames or in none."""
    fixture = golden("vjepa1_masks")
    grid = cases(fixture)[0].grid
    lengths = fixture.json("distributions.json")["tube"]
    for number, ratio in enumerate(fixture.config["tube_ratios"]):
        mask = Tubes(ratio)(grid, 3, torch.Generator().manual_seed(0))
        recorded = lengths[str(ratio)]
        assert (mask.context.shape[1], mask.target.shape[2]) == (recorded["context_len"], recorded["target_len"])
        theirs = fixture.outputs[f"tube.masks_enc.{number}"]
        places = grid.num_tokens // grid.shape[0]
        for context in (mask.context, theirs):
            frames = context.view(3, grid.shape[0], -1) % places
            assert bool((frames == frames[:, :1]).all())
