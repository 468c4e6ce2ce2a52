"""The run itself, once all is prepared: the loop, and what it leaves behind."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from craik import api
from craik.data.stream import Stream
from craik.pretrain.material import Material
from craik.pretrain.options import Conduct
from craik.pretrain.tensorboard import mirror
from craik.recipes import Method
from craik.report.card import model_card
from craik.train.loop import Outcome, Pace, Run
from craik.train.progress import Reporter, clock
from craik.train.recipe import Recipe
from craik.train.run import RunFolder, write_atomic
from craik.train.runtime import Runtime
from craik.train.step import Stepper

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished run came to."""

    folder: Path
    outcome: Outcome
    seconds: float


def carry_out(
    stepper: Stepper,
    loader: Stream[Any],
    material: Material,
    folder: RunFolder,
    record: Json,
    conduct: Conduct,
    runtime: Runtime,
    reporter: Reporter,
    stop_at: int | None = None,
) -> Result:
    """Run the loop, and write what it leaves: model, card, log."""
    recipe = stepper.recipe
    method = api.find_recorded(record)
    config = {key: record[key] for key in ("recipe", "variant", "config", "craik")}
    reporter.say(plan_line(method, recipe, stepper, loader, runtime))
    run = Run(
        stepper,
        loader,
        folder,
        reporter,
        material.checker(recipe, runtime),
        Pace(check_every=conduct.check_every, checkpoint_every=conduct.checkpoint_every, stop_at=stop_at),
        material.probe(method, record, recipe, runtime) if runtime.is_main else None,
        mirror(folder) if conduct.tensorboard and runtime.is_main else None,
        lambda: api.save_model(folder.model, recipe.model, config),
        lambda: material.settled(recipe, runtime),
    )
    began = time.perf_counter()
    outcome = run.fit()
    seconds = time.perf_counter() - began
    if runtime.is_main:
        write_atomic(folder.path / "README.md", model_card(folder.path, material.summary()))
        folder.say(f"stopped at step {outcome.step} after {clock(seconds)}")
    return Result(folder.path, outcome, seconds)


def plan_line(method: Method, recipe: Recipe, stepper: Stepper, loader: Stream[Any], runtime: Runtime) -> str:
    """What is about to be done, in one line."""
    count = sum(p.numel() for p in stepper.parameters())
    return (
        f"plan: {method}, {recipe.view.size} px, {count / 1e6:.1f} M trained parameters, batch {recipe.batch}, "
        f"{stepper.total:,} steps = {stepper.total / len(loader):.1f} epochs, {runtime.describe()}"
    )
