"""craik train: pretrain, or go on with a run."""

import json
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from craik.commands.arguments import parse, say
from craik.errors import UsageError

COLLAPSED = 3


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the run is written, and what it starts from."""

    out: Path | None = None
    """Run folder to make."""
    init: str | None = None
    """Start from the weights of a run, a model folder, or a published checkpoint."""
    init_resample: bool = False
    """Interpolate position tables of --init weights that were made for another image size."""
    overwrite: bool = False
    """Delete the run that --out holds."""
    fail_on_collapse: bool = False
    """Exit with code 3 if the run ends with a collapse alarm."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with a run from its newest whole checkpoint, as if it had never stopped."""

    resume: Path
    """Run folder."""
    from_step: int | None = None
    """Go back to the newest checkpoint not after this step."""
    stop_at: int | None = None
    """Save and stop after this step."""
    device: str | None = None
    """Another device than before."""
    workers: int | None = None
    """Processes that decode images."""
    fail_on_collapse: bool = False
    """Exit with code 3 if the run ends with a collapse alarm."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    if not arguments or arguments[0] in ("-h", "--help"):
        return show_help(asked=bool(arguments))
    if "--resume" in arguments or any(a.startswith("--resume=") for a in arguments):
        return resume(arguments)
    if arguments[0].startswith("-"):
        raise UsageError("the recipe comes first: craik train RECIPE --data PATH --out DIR; see craik recipes")
    return train(arguments[0], arguments[1:])


def show_help(asked: bool) -> int:
    """What the command does, before a recipe is named."""
    from craik.recipes import builtin

    say(
        "usage: craik train RECIPE[:variant] --data PATH --out DIR [--steps N | --epochs E | --minutes M] [options]\n"
        "       craik train --resume DIR\n\n"
        f"Recipes: {', '.join(builtin())}, or a file of your own: ./mine.py:variant\n"
        "Every option, those of the recipe included: craik train ijepa:tiny --help\n"
        "What there is: craik recipes"
    )
    return 0 if asked else 2


def train(spec: str, arguments: list[str]) -> int:
    """Pretrain from the beginning."""
    from craik.pretrain import Budget, Conduct, Data, pretrain
    from craik.recipes import find

    method = find(spec)
    default = method.config
    flat = tyro.conf.arg(name="")  # sections show in --help, and their options have no prefix
    sections = [
        ("where", Annotated[Where, flat], field(default_factory=Where)),
        ("data", Annotated[Data, flat], field(default_factory=Data)),
        ("budget", Annotated[Budget, flat], field(default_factory=Budget)),
        ("conduct", Annotated[Conduct, flat], field(default_factory=Conduct)),
        ("config", Annotated[type(default), flat], field(default_factory=lambda: default)),
    ]
    options: Any = parse(
        make_dataclass("Options", sections, frozen=True, kw_only=True),
        arguments,
        f"train {method}",
        f"Pretrain {method}. Options under 'config' are the recipe's own.",
    )
    where: Where = options.where
    budgets = [name for name in ("--steps", "--epochs", "--minutes") if any(a.startswith(name) for a in arguments)]
    if len(budgets) > 1:
        raise UsageError(f"{' and '.join(budgets)} contradict each other; give one")
    if where.out is None:
        raise UsageError(f"where to? craik train {method} --data {options.data.data or 'PATH'} --out runs/a")
    result = pretrain(
        method,
        options.config,
        where.out,
        options.data,
        options.budget,
        options.conduct,
        init=where.init,
        init_resample=where.init_resample,
        overwrite=where.overwrite,
    )
    return finish(result, where.fail_on_collapse, where.json)


def resume(arguments: list[str]) -> int:
    """Go on with a run; a recipe and overrides may be repeated, and have to be those of the run."""
    from craik.codec import encode
    from craik.pretrain import Conduct, resume
    from craik.recipes import find
    from craik.train.run import RunFolder

    spec = None if arguments[0].startswith("-") else arguments[0]
    options, rest = tyro.cli(
        Resume, prog="craik train --resume", args=arguments[1:] if spec else arguments, return_unknown_args=True
    )
    folder = RunFolder.open(options.resume)
    record = folder.config
    overrides = None
    if spec or rest:
        method = find(spec or f"{record['recipe']}:{record['variant']}")
        overrides = encode(parse(type(method.config), rest, f"train {method} --resume", default=method.config))
    conduct = None
    if options.device or options.workers:
        stored = dict(record["conduct"])
        stored.update({k: v for k, v in (("device", options.device), ("workers", options.workers)) if v})
        conduct = Conduct(**stored)
    result = resume_run(resume, options, overrides, conduct)
    return finish(result, options.fail_on_collapse, options.json)


def resume_run(resume: Any, options: Resume, overrides: Any, conduct: Any) -> Any:
    """The run, gone on with."""
    return resume(
        options.resume, overrides=overrides, conduct=conduct, stop_at=options.stop_at, from_step=options.from_step
    )


def finish(result: Any, fail_on_collapse: bool, as_json: bool) -> int:
    """Say how the run ended and what to do next; the exit code."""
    from craik.train.loop import probe_text

    outcome, folder = result.outcome, result.folder
    scores = probe_text(outcome.scores)
    if as_json:
        row = {
            "run": str(folder),
            "step": outcome.step,
            "seconds": round(result.seconds, 1),
            "interrupted": outcome.interrupted,
            "alarms": list(outcome.alarms),
            **outcome.scores,
        }
        print(json.dumps(row))
    if outcome.interrupted:
        say(f"{folder}: saved at step {outcome.step:,}. Go on: craik train --resume {folder}")
        return 130
    say(f"{folder}: done, {outcome.step:,} steps in {result.seconds / 60:.1f} min. {scores}")
    for alarm in outcome.alarms:
        say(f"ended with an alarm: {alarm}; see {folder / 'events.jsonl'}")
    say(f"Next: craik report {folder}   or   craik probe {folder} --train PATH --test PATH")
    collapsed = any("collapse" in alarm or "position-only" in alarm for alarm in outcome.alarms)
    return COLLAPSED if collapsed and fail_on_collapse else 0
