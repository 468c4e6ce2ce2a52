"""The published multi-block sampler: sizes exactly, positions and lengths as distributions."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from craik.core import Grid, Mask
from craik.masking.block import MultiBlock
from tests.parity.golden import Fixture


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("ijepa_masks")


@pytest.fixture(scope="module")
def grid(fixture: Fixture) -> Grid:
    collator = fixture.config["collator"]
    height, width = (size // collator["patch_size"] for size in collator["input_size"])
    return Grid(("h", "w"), (height, width))


@pytest.fixture(scope="module")
def sampler(fixture: Fixture) -> MultiBlock:
    collator = fixture.config["collator"]
    return MultiBlock(
        num_targets=collator["npred"],
        target_scale=tuple(collator["pred_mask_scale"]),
        aspect=tuple(collator["aspect_ratio"]),
        num_contexts=collator["nenc"],
        context_scale=tuple(collator["enc_mask_scale"]),
        allow_overlap=collator["allow_overlap"],
        min_keep=collator["min_keep"],
        as_published=True,
    )


Runs = dict[str, list[tuple[Mask, ...]]]


@pytest.fixture(scope="module")
def runs(fixture: Fixture, sampler: MultiBlock, grid: Grid) -> Runs:
    """As many batches of our masks as the fixture has of its own."""
    drawn = {}
    for run in fixture.config["runs"]:
        rng = torch.Generator().manual_seed(run["global_seed"])
        drawn[run["name"]] = [sampler(grid, run["batch_size"], rng) for _ in range(run["iterations"])]
    return drawn


@pytest.fixture(scope="module")
def measured(fixture: Fixture, runs: Runs, grid: Grid) -> dict[str, dict[str, Any]]:
    recorded = fixture.json("distributions.json")
    return {
        name: statistics(batches, grid, sum(recorded[name]["context_patch_frequency"]))
        for name, batches in runs.items()
    }


def histogram(values: Iterable[int]) -> dict[str, int]:
    return {str(value): count for value, count in Counter(values).items()}


def statistics(batches: list[tuple[Mask, ...]], grid: Grid, total: float) -> dict[str, Any]:
    """The quantities of distributions.json; `total` is the sum of the recorded context frequencies."""
    num, width = grid.num_tokens, grid.shape[1]
    masks = [contexts[0] for contexts in batches]  # the targets of all contexts are the same
    targets = torch.cat([mask.target.min(-1).values for mask in masks])  # [images, T]: top left cells
    ends = torch.cat([mask.target.max(-1).values for mask in masks])
    heights, widths = ends // width - targets // width + 1, ends % width - targets % width + 1
    covers = torch.cat([members(mask.target, num) for mask in masks])  # [images, T, N]
    union = covers.any(1)
    seen = torch.cat([members(torch.stack([m.context for m in contexts], 1), num) for contexts in batches])  # [I, C, N]
    inside = (seen & union[:, None]).sum(-1) / seen.sum(-1)
    pairs = [(covers[:, a] & covers[:, b]).sum(-1) for a, b in combinations(range(covers.shape[1]), 2)]
    context_lengths = [mask.context.shape[1] for mask in masks]
    target_lengths = [mask.target.shape[2] for mask in masks for _ in range(mask.target.shape[1])]
    blocks = zip(heights.flatten().tolist(), widths.flatten().tolist(), strict=True)
    return {
        "n_images": len(union),
        "target_len_hist": histogram(target_lengths),
        "target_block_hxw_hist": histogram(f"{height}x{width}" for height, width in blocks),
        "target_top_hist": histogram((targets // width).flatten().tolist()),
        "target_left_hist": histogram((targets % width).flatten().tolist()),
        "context_len_hist_per_batch": histogram(context_lengths),
        "union_target_size_hist": histogram(union.sum(1).tolist()),
        "pairwise_target_overlap_hist": histogram(torch.cat(pairs).tolist()) if pairs else {},
        "mean_context_len": sum(context_lengths) / len(context_lengths),
        "mean_target_len": sum(target_lengths) / len(target_lengths),
        "mean_union_target": float(union.sum(1).double().mean()),
        "frac_context_tokens_inside_any_target_max": float(inside.max()),
        "frac_images_with_context_target_overlap": float((inside > 0).any(1).double().mean()),
        "target_patch_frequency": union.double().mean(0).tolist(),
        "context_patch_frequency": context_frequency(seen, total),
    }


def context_frequency(seen: Tensor, total: float) -> list[float]:
    """How often each patch is in a context, of [images, C, N].

    Several contexts of an image can be counted each for itself, added up, or united: the recorded total tells.
    """
    counted = [seen.double().mean((0, 1)), seen.double().sum(1).mean(0), seen.any(1).double().mean(0)]
    return min(counted, key=lambda frequency: abs(float(frequency.sum()) - total)).tolist()


def members(index: Tensor, num: int) -> Tensor:
    """Index sets [..., K] as bool [..., N]."""
    return torch.zeros(*index.shape[:-1], num, dtype=torch.bool).scatter_(-1, index, True)


def noise(fixture: Fixture, run: dict[str, Any], name: str) -> float:
    """Three times what the published code differs from itself by; the README allows that."""
    table = fixture.config["official_vs_official"]
    kind = "batch1" if run["batch_size"] == 1 or "larger_batches" not in table else "larger_batches"
    return 3 * table[kind][name]


def mean_and_error(counts: dict[str, int]) -> tuple[float, float]:
    """Mean of a histogram and the standard error of that mean."""
    total = sum(counts.values())
    mean = sum(int(value) * count for value, count in counts.items()) / total
    variance = sum((int(value) - mean) ** 2 * count for value, count in counts.items()) / total
    return mean, math.sqrt(variance / total)


def test_block_sizes_by_seed(fixture: Fixture, sampler: MultiBlock, grid: Grid) -> None:
    expected = fixture.json("distributions.json")["block_sizes_by_seed"]
    assert expected
    for row in expected:
        target, context = sampler.block_sizes(grid, torch.Generator().manual_seed(row["seed"]))
        assert [*target] == row["target_block_hw"], row
        assert [*context] == row["context_block_hw"], row


def test_lengths_of_the_published_batches(fixture: Fixture, sampler: MultiBlock, grid: Grid) -> None:
    """The length of a target set is the area of the block drawn from the number of the batch."""
    recorded = fixture.json("distributions.json")
    lengths = {
        row["iteration"]: row["target_len"]
        for run in fixture.config["runs"]
        for row in recorded[run["name"]]["first_iterations"]
    }
    for number, replay in enumerate(fixture.config["replay"]):
        lengths[replay["skip_steps"]] = fixture.outputs[f"replay{number}.masks_pred.0"].shape[1]
    for seed, length in lengths.items():
        target, _ = sampler.block_sizes(grid, torch.Generator().manual_seed(seed))
        assert target.height * target.width == length, f"seed {seed}"


def test_all_published_contexts_of_a_batch_have_one_length(fixture: Fixture, sampler: MultiBlock) -> None:
    for number in range(len(fixture.config["replay"])):
        prefix = f"replay{number}.masks_enc."
        shapes = [tensor.shape for name, tensor in fixture.outputs.items() if name.startswith(prefix)]
        assert len(shapes) == sampler.num_contexts
        assert len(set(shapes)) == 1


def test_structure(fixture: Fixture, runs: Runs, sampler: MultiBlock, grid: Grid) -> None:
    """Ascending, disjoint, inside the grid, longer than min_keep, and the last row and column never used."""
    height, width = grid.shape
    recorded = fixture.json("distributions.json")
    disjoint = all(recorded[name]["frac_images_with_context_target_overlap"] == 0 for name in runs)
    for mask in (mask for batches in runs.values() for contexts in batches for mask in contexts):
        if disjoint:  # neither allowed to overlap, nor so crowded that the published sampler shows a target
            mask.check(grid.num_tokens)
        assert mask.target.shape[1] == sampler.num_targets
        for index in (mask.context, mask.target):
            assert bool((index.diff(dim=-1) > 0).all())
            assert int((index // width).max()) < height - 1 and int((index % width).max()) < width - 1
        assert mask.context.shape[1] > sampler.min_keep


def test_distributions(fixture: Fixture, measured: dict[str, dict[str, Any]]) -> None:
    recorded = fixture.json("distributions.json")
    for run in fixture.config["runs"]:
        golden, ours = recorded[run["name"]], measured[run["name"]]
        assert golden.keys() - {"first_iterations"} == ours.keys()
        assert ours["n_images"] == golden["n_images"]
        for name, value in golden.items():
            where = f"{run['name']}: {name}"
            if name.endswith(("_hist", "_hist_per_batch")):
                total, mine = sum(value.values()), sum(ours[name].values())
                assert mine in (total, total / fixture.config["collator"]["nenc"]), where
                gap = sum(abs(ours[name].get(k, 0) / mine - value.get(k, 0) / total) for k in ours[name] | value) / 2
                assert gap <= noise(fixture, run, "histogram_total_variation"), f"{where} differs by {gap:.3f}"
            elif name.endswith("_patch_frequency"):
                gap = (torch.tensor(ours[name]) - torch.tensor(value)).abs().max().item()
                assert gap <= noise(fixture, run, "frequency_max_abs"), f"{where} differs by {gap:.3f}"
            elif name.startswith("frac_"):
                bound = noise(fixture, run, "frequency_max_abs") if value else 0.0
                assert ours[name] == pytest.approx(value, abs=bound, rel=0), where


@pytest.mark.parametrize(
    ("mean", "counts"),
    [
        ("mean_context_len", "context_len_hist_per_batch"),
        ("mean_target_len", "target_len_hist"),
        ("mean_union_target", "union_target_size_hist"),
    ],
)
def test_means(fixture: Fixture, measured: dict[str, dict[str, Any]], mean: str, counts: str) -> None:
    """Within the noise of the published code, or four standard errors of a difference where that is more.

    All images of a batch share their block sizes, so a batch counts as one draw for the error.
    """
    recorded = fixture.json("distributions.json")
    for run in fixture.config["runs"]:
        golden, ours = recorded[run["name"]], measured[run["name"]]
        value, error = mean_and_error(golden[counts])
        assert value == pytest.approx(golden[mean], rel=1e-6)
        draws = sum(golden[counts].values()) / run["iterations"]
        bound = max(noise(fixture, run, "mean_relative") * value, 4 * error * math.sqrt(2 * draws))
        assert ours[mean] == pytest.approx(golden[mean], abs=bound, rel=0), run["name"]


def test_context_prefers_upper_rows(fixture: Fixture, measured: dict[str, dict[str, Any]], grid: Grid) -> None:
    """Cutting to a common length drops the bottom rows: the bias of each row is that of the published code."""
    recorded = fixture.json("distributions.json")
    for run in fixture.config["runs"]:
        rows = [
            torch.tensor(table["context_patch_frequency"]).view(grid.shape).mean(1)
            for table in (recorded[run["name"]], measured[run["name"]])
        ]
        assert float((rows[0] - rows[1]).abs().max()) <= noise(fixture, run, "frequency_max_abs") * 2 / 3
