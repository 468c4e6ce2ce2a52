"""craik collect: episodes from simulated worlds."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from craik.commands.arguments import parse, quoted, say
from craik.errors import UsageError

if TYPE_CHECKING:
    from craik.collect import Outcome
    from craik.data.episode_writer import Mode


@dataclass(frozen=True, kw_only=True)
class Collect:
    """Collect episodes from a world. Asked again after an interruption, it goes on where it stopped."""

    env: tyro.conf.Positional[str]
    """World, such as two_rooms or two_rooms:many; a gymnasium id, gym:ID; or your own environment, my.py:MyEnv."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of episodes to make."""
    episodes: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1000
    """Episodes that the data is to hold; to add, with --append."""
    policy: Literal["random", "walk", "expert", "mixed"] = "random"
    """Actions at random, each kept for a while; a wandering walk; the expert, from goal to goal; or walk and expert."""
    steps: int | None = None
    """Actions in an episode; by default as many as the world allows for a goal."""
    size: int | None = None
    """Side of the frames [px]; by default that of the world."""
    seed: int = 0
    """All randomness follows from it, whatever the number of workers."""
    workers: int | None = None
    """Processes that simulate; one per core by default."""
    jpeg: bool = False
    """Store frames as JPEG: about a tenth of the space, slower to read."""
    append: bool = False
    """Add to the episodes of other settings that the folder holds."""
    overwrite: bool = False
    """Delete the episodes that the folder holds."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Collect, arguments, "collect")
    if options.append and options.overwrite:
        raise UsageError("--append and --overwrite contradict each other; give one")
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers {options.workers}: give at least 1")
    mode: Mode = "append" if options.append else "overwrite" if options.overwrite else "error"
    from craik.collect import Plan, collect, num_cores
    from craik.collect.bar import Bar
    from craik.train.stop import StopSignal

    try:
        plan = Plan(
            env=options.env,
            episodes=options.episodes,
            policy=options.policy,
            steps=options.steps,
            size=options.size,
            seed=options.seed,
            storage="jpeg" if options.jpeg else "raw",
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    began = time.perf_counter()
    with StopSignal() as signal, Bar(f"collecting {options.env}") as bar:
        outcome = collect(
            plan,
            options.out,
            mode,
            workers=options.workers or num_cores(),
            advance=bar.advance,
            stop=lambda: signal.asked,
        )
    return finish(options, outcome, time.perf_counter() - began, arguments)


def finish(options: Collect, outcome: Outcome, seconds: float, typed: list[str]) -> int:
    """Say how it ended and what to do next; the exit code."""
    new, out = outcome.episodes - outcome.before, quoted(options.out)
    rate = outcome.frames / max(seconds, 1e-9)
    if options.json:
        row = {"data": str(options.out), "episodes": outcome.episodes, "new": new, "frames": outcome.frames}
        print(json.dumps({**row, "frames_per_s": round(rate), "interrupted": outcome.interrupted}))
    again = " ".join(["craik collect", *(quoted(a) for a in typed if a != "--overwrite")])
    if (failure := outcome.failure) is not None:
        say(
            f"craik collect: {options.env} raised {failure.error} ({failure.place}) after {failure.step} steps of an "
            f"episode. {outcome.episodes:,} finished episodes are kept in {out}. "
            f"Mend the environment and go on: {again}"
        )
        return 1
    if outcome.interrupted:
        say(f"{out}: saved with {outcome.episodes:,} of {outcome.wanted:,} episodes. Go on: {again}")
        return 130
    if not new:
        say(f"{out}: it holds {outcome.episodes:,} episodes of these settings already; for more, raise -n")
    else:
        say(f"{out}: {new:,} episodes, {outcome.frames:,} frames in {seconds:.1f} s ({rate:,.0f} frames/s)")
    say(f"Next: craik inspect {out}   or   craik train leworldmodel:tiny --data {out} --out runs/world")
    return 0
