"""The run itself, once all is prepared: the loop, and what it leaves behind."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from craik import api
from craik.data.stream import Stream
from craik.pretrain.material import Material
from craik.pretrain.options import Conduct
from craik.pretrain.second_stage import second_stage
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
    began, unreadable = time.perf_counter(), len(material.skipped)
    outcome = run.fit()
    if not outcome.interrupted and not second_stage(run, material, conduct.seed):
        outcome = replace(outcome, interrupted=True)
    outcome = replace(outcome, scores=run.scores)
    seconds = time.perf_counter() - began
    if runtime.is_main:
        write_atomic(folder.path / "README.md", model_card(folder.path, material.summary()))
        if late := len(material.skipped) - unreadable:
            write_skipped(folder, material)
            reporter.say(f"{late} files could not be decoded during the run, see {folder.path / 'skipped.txt'}")
        folder.say(f"stopped at step {outcome.step} after {clock(seconds)}")
    return Result(folder.path, outcome, seconds)


def write_skipped(folder: RunFolder, material: Material) -> None:
    """The list of unreadable files and why; what earlier parts of the run found stays on it."""
    path = folder.path / "skipped.txt"
    known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    lines = dict.fromkeys([*known, *(f"{s.path}\t{s.reason}" for s in material.skipped)])
    if lines:
        write_atomic(path, "".join(f"{line}\n" for line in lines))


def plan_line(method: Method, recipe: Recipe, stepper: Stepper, loader: Stream[Any], runtime: Runtime) -> str:
    """What is about to be done, in one line."""
    count = sum(p.numel() for p in stepper.parameters())
    return (
        f"plan: {method}, {recipe.view.size} px, {count / 1e6:.1f} M trained parameters, batch {recipe.batch}, "
        f"{stepper.total:,} steps = {stepper.total / len(loader):.1f} epochs, {runtime.describe()}"
    )
