"""Runs that fail on purpose in each way, and the name each failure has to get."""

import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from craik.core import JEPA, Batch, Loss, Regularizer, Shared, Target, Tokens
from craik.core.collapse import Spectrum
from craik.data.images import ImageData, load_images
from craik.data.loader import Loader
from craik.recipes import find
from craik.train.check import Checker
from craik.train.health import AlarmEnd, Failure, Observation, Sentinel, StepRecord, position_mean
from craik.train.loop import Outcome, Pace, Run
from craik.train.optim import AdamW
from craik.train.progress import Reporter
from craik.train.recipe import Recipe
from craik.train.run import RunFolder
from craik.train.runtime import Runtime
from craik.train.step import NonFiniteError, Stepper
from tests.train.runs import MICRO

FAST = AdamW(lr=1e-2, start_lr=1e-2, final_lr=1e-2, warmup_fraction=0, weight_decay=0, final_weight_decay=0)


def images(n: int = 256) -> ImageData:
    return load_images(f"toy:shapes?n={n}", size=16, progress=False)


def micro(**changes: Any) -> Recipe:
    torch.manual_seed(0)
    method = find(MICRO)
    recipe: Recipe = method.build(method.config)
    return replace(recipe, **changes)


def with_model(change: Callable[[JEPA], None], **changes: Any) -> Recipe:
    recipe = micro(**changes)
    assert isinstance(recipe.model, JEPA)
    change(recipe.model)
    return recipe


def conduct(
    recipe: Recipe, folder: Path, *, steps: int = 120, data: ImageData | None = None, pace: Pace | None = None
) -> tuple[Outcome, set[str]]:
    """Run a recipe, and the names of all alarms it raised."""
    data = data or images()
    runtime = Runtime(torch.device("cpu"), bf16=False)
    run = Run(
        Stepper(recipe, runtime, steps),
        Loader(data, recipe.batch, seed=0),
        RunFolder.create(folder / "run", {"steps": steps}),
        Reporter(console=Console(file=io.StringIO())),
        Checker.create(recipe, runtime, data),
        pace or Pace(check_every=10, checkpoint_every=1000, log_s=0, grace=20),
    )
    outcome = run.fit()
    return outcome, {row["name"] for row in run.folder.rows("events") if row["kind"] == "alarm"}


def test_full_collapse(tmp_path: Path) -> None:
    def all_alike(z: Tensor, step: int) -> Tensor:
        return (z - z.mean(-2, keepdim=True)).square().mean()

    def pull_together(model: JEPA) -> None:
        model.target = Shared()
        model.regularizers = {"alike": Regularizer(1000.0, all_alike)}

    optim = replace(FAST, lr=3e-3, start_lr=3e-3, final_lr=0.0)
    outcome, names = conduct(with_model(pull_together, optim=optim, momentum=None), tmp_path, steps=150)
    assert Failure.full_collapse in names
    assert Failure.full_collapse in outcome.alarms


def test_dimensional_collapse(tmp_path: Path) -> None:
    direction = torch.nn.functional.normalize(torch.randn(24, generator=torch.Generator().manual_seed(0)), dim=0)

    def all_but_one_direction(z: Tensor, step: int) -> Tensor:
        z = z - z.mean(-2, keepdim=True)
        rest = z - (z @ direction).unsqueeze(-1) * direction
        return rest.square().mean() - 0.1 * torch.log((z @ direction).var() + 1e-6)

    def flatten(model: JEPA) -> None:
        model.regularizers = {"flatten": Regularizer(100.0, all_but_one_direction)}

    _, names = conduct(with_model(flatten, optim=FAST), tmp_path, steps=200)
    assert Failure.dimensional_collapse in names
    assert Failure.full_collapse not in names


class PositionOnly(Target):
    """Targets that tell where they are and nothing else."""

    def forward(self, encoder: nn.Module, x: Tensor, wanted: Tensor | None = None) -> Tokens:
        tokens: Tokens = encoder(x, wanted=wanted)
        code = torch.cat([tokens.at.sin(), tokens.at.cos()], -1).repeat(1, 1, 6)
        return Tokens(code.detach(), tokens.at)


def test_position_only_targets(tmp_path: Path) -> None:
    def change(model: JEPA) -> None:
        model.target = PositionOnly()

    _, names = conduct(with_model(change, momentum=None), tmp_path)
    assert Failure.position_only_targets in names


class Noise(Target):
    """Targets that nothing can predict."""

    def forward(self, encoder: nn.Module, x: Tensor, wanted: Tensor | None = None) -> Tokens:
        tokens: Tokens = encoder(x, wanted=wanted)
        return Tokens(torch.randn_like(tokens.x), tokens.at)


def test_predictor_no_better_than_the_mean(tmp_path: Path) -> None:
    def change(model: JEPA) -> None:
        model.target = Noise()

    _, names = conduct(with_model(change, momentum=None), tmp_path, steps=100)
    assert Failure.predictor_no_better in names


def test_dead_target(tmp_path: Path) -> None:
    outcome, names = conduct(micro(momentum=lambda total: lambda step: 1.0), tmp_path, steps=40)
    assert Failure.dead_target in names
    assert Failure.dead_target in outcome.alarms


def test_non_finite_stops_the_run_and_names_the_batch(tmp_path: Path) -> None:
    recipe = micro(optim=AdamW(lr=1e18, start_lr=1e18, final_lr=1e18, warmup_fraction=0, weight_decay=1e18))
    with pytest.raises(NonFiniteError, match="non-finite values") as error:
        conduct(recipe, tmp_path)
    assert "train/0" in str(error.value)
    assert error.value.exit_code == 1
    assert (tmp_path / "run" / "non_finite_batch.pt").exists()
    rows = list(RunFolder(tmp_path / "run").rows("events"))
    assert rows[-1]["name"] == Failure.non_finite


class Slow:
    """Pixels on a disk that takes its time."""

    def __init__(self, pixels: Any, seconds: float) -> None:
        self.pixels, self.seconds, self.shape = pixels, seconds, pixels.shape

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        return np.asarray(self.pixels[index])


def test_data_starvation(tmp_path: Path) -> None:
    data = images()
    data = replace(data, pixels=Slow(data.pixels, 1.0))
    _, names = conduct(micro(), tmp_path, steps=6, data=data)
    assert Failure.data_starvation in names


def test_throughput_drop(tmp_path: Path) -> None:
    recipe = micro()
    plain, calls = recipe.prepare, iter(range(10_000))

    def tired(samples: Any, rng: torch.Generator) -> Batch:
        time.sleep(0.02 if next(calls) < 25 else 0.6)
        return plain(samples, rng)

    _, names = conduct(replace(recipe, prepare=tired), tmp_path, steps=32)
    assert Failure.throughput_drop in names


class Explodes(nn.Module):
    """The loss of another model, with gradients that burst after some steps."""

    def __init__(self, model: JEPA) -> None:
        super().__init__()
        self.model, self.encoder, self.target, self.predictor = model, model.encoder, model.target, model.predictor

    def forward(self, batch: Batch, step: int) -> Loss:
        loss: Loss = self.model(batch, step)
        return Loss(loss.total * (1e5 if step > 25 else 1.0), loss.terms)


def test_exploding_gradients(tmp_path: Path) -> None:
    recipe = micro()
    assert isinstance(recipe.model, JEPA)
    wrapped = replace(recipe, model=Explodes(recipe.model), latents=None)
    _, names = conduct(wrapped, tmp_path, steps=30)
    assert Failure.exploding_gradients in names


def test_every_failure_has_a_cure_and_is_tested() -> None:
    from craik.train.health import CURES

    assert set(CURES) == set(Failure)
    source = Path(__file__).read_text()
    for failure in Failure:
        assert f"Failure.{failure.name} in" in source or f"Failure.{failure.name}" in source


def test_an_alarm_needs_two_checks_and_is_raised_once() -> None:
    sentinel = Sentinel()
    usual = [StepRecord(i, 1.0, 1.0, 100.0, 0.0) for i in range(10)]
    assert not [alarm for record in usual for alarm in sentinel.record(record)]
    bad = [StepRecord(i, 1.0, 1.0, 100.0, 0.9) for i in range(10, 14)]
    raised = [[a.failure for a in sentinel.record(record)] for record in bad]
    assert raised == [[], [Failure.data_starvation], [], []]
    assert not sentinel.healthy
    assert sentinel.record(usual[0]) == [AlarmEnd(0, Failure.data_starvation)]
    assert sentinel.healthy
    assert sentinel.record(usual[1]) == []


def test_the_end_of_an_alarm_is_recorded(tmp_path: Path) -> None:
    recipe = micro(momentum=lambda total: lambda step: 1.0 if step < 25 else 0.9)
    outcome, _ = conduct(recipe, tmp_path, steps=40)
    rows = [row for row in RunFolder(tmp_path / "run").rows("events") if row["name"] == "dead target"]
    assert [(row["kind"], row["step"]) for row in rows] == [("alarm", 20), ("alarm_end", 30)]
    assert Failure.dead_target not in outcome.alarms


def test_a_check_ends_only_what_it_can_see() -> None:
    """Gradients are no matter of checks; and whether the target moved is unknown at the first check after a resume."""
    seen = Observation(0, Spectrum(1.0, 1.0, 9.0, 9.0, 9.0, 1.0), 0.5)
    sentinel = Sentinel(active={Failure.exploding_gradients, Failure.dead_target})
    assert sentinel.observe(seen) == []
    assert sentinel.observe(replace(seen, step=1, target_moved=0.1, encoder_moved=0.1)) == [
        AlarmEnd(1, Failure.dead_target)
    ]
    assert sentinel.active == {Failure.exploding_gradients}


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["ijepa:tiny", "ijepa_conv:tiny", "lejepa:tiny"])
def test_healthy_runs_raise_no_alarm(spec: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = find(spec)
    recipe: Recipe = method.build(method.config)
    data = load_images("toy:shapes?n=2000", size=recipe.view.size, progress=False)
    pace = Pace(check_every=20, checkpoint_every=1000, log_s=1)
    outcome, names = conduct(recipe, tmp_path, steps=280, data=data, pace=pace)
    timing = {Failure.throughput_drop, Failure.data_starvation}  # of a busy machine, not of the run
    assert names <= {str(t) for t in timing}
    assert outcome.step == 280


def test_position_mean_leaves_the_own_sample_out() -> None:
    goal = torch.tensor([[[1.0], [5.0]], [[3.0], [7.0]], [[5.0], [9.0]]])
    at = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]]).expand(3, -1, -1)
    guess = position_mean(goal, at)
    assert guess[:, 0, 0].tolist() == [4.0, 3.0, 2.0]
    assert guess[:, 1, 0].tolist() == [8.0, 7.0, 6.0]
