"""craik train: pretrain, or go on with a run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from craik.commands.arguments import PLAIN, parse, quoted, say, wants_help
from craik.errors import UsageError

if TYPE_CHECKING:
    from craik.pretrain import Result

COLLAPSED = 3


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the run is written, and what it starts from."""

    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Run folder to make."""
    init: str | None = None
    """Start from the weights of a run, one of its checkpoints, a model folder, or a published checkpoint."""
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
    """Go on with a run from its newest whole checkpoint, as if it had never stopped.

    A recipe and its options may be repeated, and have to be those of the run.
    """

    resume: Path
    """Run folder."""
    from_step: int | None = None
    """Go back to the newest checkpoint not after this step; what came after it is deleted."""
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
    if any(a.split("=")[0] == "--resume" for a in arguments):
        return resume(arguments)
    spec, rest = arguments[0], arguments[1:]
    if spec.startswith("-"):
        raise UsageError("the recipe comes first: craik train RECIPE --data PATH --out DIR; see craik recipes")
    if wants_help(rest) and ":" not in spec:
        return show_variants(spec)
    if rest and not rest[0].startswith("-"):
        raise UsageError(f"{rest[0]}: is this the data? craik train {spec} --data {quoted(rest[0])} --out runs/a")
    return train(spec, rest)


def show_help(asked: bool) -> int:
    """What the command does, before a recipe is named."""
    from craik.recipes import builtin

    text = (
        "usage: craik train RECIPE[:variant] --data PATH --out DIR [--steps N | --epochs E | --minutes M] [options]\n"
        "       craik train --resume DIR\n\n"
        f"Recipes: {', '.join(builtin())}, or a file of your own: ./mine.py:variant\n"
        "Every option, those of the recipe included: craik train ijepa:tiny --help\n"
        "What there is: craik recipes"
    )
    if asked:
        print(text)
        return 0
    say(text)
    return 2


def show_variants(spec: str) -> int:
    """The variants of a recipe that was named without one."""
    from craik.recipes import describe

    print(describe(spec))
    say(f"Every option of one: craik train {spec}:VARIANT --help")
    return 0


def train(spec: str, arguments: list[str]) -> int:
    """Pretrain from the beginning."""
    from craik.pretrain import Budget, Conduct, Data, Init, pretrain
    from craik.recipes import find

    method = find(spec)
    default = method.config
    flat = tyro.conf.arg(name="")  # options of sections have no prefix
    sections = [
        ("where", Annotated[(Where, flat, *PLAIN)], field(default_factory=Where)),
        ("data", Annotated[(Data, flat, *PLAIN)], field(default_factory=Data)),
        ("budget", Annotated[(Budget, flat, *PLAIN)], field(default_factory=Budget)),
        ("conduct", Annotated[(Conduct, flat, *PLAIN)], field(default_factory=Conduct)),
        ("config", Annotated[type(default), flat, tyro.conf.AvoidSubcommands], field(default_factory=lambda: default)),
    ]
    refuse_clashes(method, default, (Where, Data, Budget, Conduct))
    options: Any = parse(
        make_dataclass("Options", sections, frozen=True, kw_only=True),
        arguments,
        f"train {method}",
        f"Pretrain {method}. {(type(default).__doc__ or '').strip()}",
        plain=False,
    )
    where: Where = options.where
    given = {a.split("=")[0] for a in arguments}
    if len(budgets := sorted(given & {"--steps", "--epochs", "--minutes"})) > 1:
        raise UsageError(f"{' and '.join(budgets)} contradict each other; give one")
    if where.out is None:
        data = quoted(options.data.data) if options.data.data else "PATH"
        raise UsageError(f"where to? craik train {method} --data {data} --out runs/a")
    result = pretrain(
        method,
        options.config,
        where.out,
        options.data,
        options.budget,
        options.conduct,
        init=None if where.init is None else Init(where.init, where.init_resample),
        overwrite=where.overwrite,
    )
    return finish(result, where.fail_on_collapse, where.json)


def options_of(*sections: type) -> set[str]:
    """The options that the fields of some dataclasses make."""
    return {f"--{f.name.replace('_', '-')}" for section in sections for f in fields(section)}


def refuse_clashes(method: Any, config: Any, sections: tuple[type, ...]) -> None:
    """Refuse a recipe with a field that has the name of an option of craik train."""
    taken = {f.name for section in sections for f in fields(section)}
    if clashes := sorted(taken & {f.name for f in fields(config)}):
        raise UsageError(
            f"{method}: Config has fields with the names of options of craik train ({', '.join(clashes)}); rename them"
        )


def resume(arguments: list[str]) -> int:
    """Go on with a run."""
    spec = None if arguments[0].startswith("-") else arguments[0]
    options, rest = tyro.cli(
        Resume,
        prog="craik train --resume",
        args=arguments[1:] if spec else arguments,
        return_unknown_args=True,
        config=PLAIN,
    )
    from craik.pretrain import Budget, Conduct, Data

    kept = {"-o"} | options_of(Where, Data, Budget, Conduct) - options_of(Resume)
    if given := sorted({a.split("=")[0].replace("_", "-") for a in rest} & kept):
        raise UsageError(
            f"{', '.join(given)}: a run goes on as it began, with its data, steps and seed. Leave it out, or start a "
            f"new run from these weights: craik train RECIPE --init {quoted(options.resume)} --data PATH --out DIR"
        )
    from craik.codec import decode, encode
    from craik.pretrain import resume as go_on
    from craik.recipes import find
    from craik.train.run import RunFolder

    record = RunFolder.open(options.resume).config
    overrides = conduct = None
    if spec or rest:
        method = find(spec or f"{record['recipe']}:{record['variant']}")
        default = decode(method.module.Config, record["config"]) if spec is None else method.config
        config = parse(type(default), rest, f"train {method} --resume", default=default, plain=False)
        overrides = encode(config)
    if options.device is not None or options.workers is not None:
        asked = {"device": options.device, "workers": options.workers}
        told = {name: value for name, value in asked.items() if value is not None}
        conduct = decode(Conduct, {**record["conduct"], **told}, "conduct")
    result = go_on(
        options.resume, overrides=overrides, conduct=conduct, stop_at=options.stop_at, from_step=options.from_step
    )
    return finish(result, options.fail_on_collapse, options.json)


def finish(result: Result, fail_on_collapse: bool, as_json: bool) -> int:
    """Say how the run ended and what to do next; the exit code."""
    from craik.train.loop import probe_text

    outcome, folder = result.outcome, quoted(result.folder)
    if as_json:
        row = {
            "run": str(result.folder),
            "step": outcome.step,
            "seconds": round(result.seconds, 1),
            "interrupted": outcome.interrupted,
            "alarms": list(outcome.alarms),
            **outcome.scores,
        }
        print(json.dumps(row))
    if outcome.interrupted:
        say(f"{result.folder}: saved at step {outcome.step:,}. Go on: craik train --resume {folder}")
        return 130
    took = f"{outcome.step:,} steps, {result.seconds / 60:.1f} min."
    say(f"{result.folder}: done, {took} {probe_text(outcome.scores)}".rstrip())
    if outcome.alarms:
        tell_alarms(result)
    imagines = any(name.startswith("ahead_") for name in outcome.scores)
    say(f"Next: craik report {folder}" + ("" if imagines else f"   or   craik probe {folder} --train PATH --test PATH"))
    collapsed = any("collapse" in alarm or "position-only" in alarm for alarm in outcome.alarms)
    return COLLAPSED if collapsed and fail_on_collapse else 0


def tell_alarms(result: Result) -> None:
    """The failures that were active at the end, and how to start from before them; the same run would repeat them."""
    from craik.train.run import RunFolder

    raised = {row["name"]: row for row in RunFolder(result.folder).rows("events") if row.get("kind") == "alarm"}
    for name in result.outcome.alarms:
        cure = f": {raised[name]['cure']}" if name in raised else ""
        say(f"ended with an alarm: {name}{cure}")
    steps = [raised[name]["last_healthy"] for name in result.outcome.alarms if name in raised]
    if healthy := [step for step in steps if step is not None]:
        before = result.folder / "checkpoints" / f"step-{min(healthy):08d}"
        say(f"Start from before it, with a cure: craik train RECIPE --init {quoted(before)} --data PATH --out DIR")
