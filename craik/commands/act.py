"""craik act: the agent end to end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from craik.commands.arguments import parse, quoted, say

if TYPE_CHECKING:
    from craik.act_run.result import ActReport


@dataclass(frozen=True, kw_only=True)
class Act:
    """Let an agent live in a world with the world model of a run: it plans, learns to react, and is measured.

    In rounds of learning it plans (Mode-2), remembers, and distills what planning decided into a policy (Mode-1). Then
    planning alone, reacting alone, and both together, where surprise and foreseen cost decide, are measured on the same
    starts and goals, beside random actions, doing nothing, and the shortest path. What it learned stays in RUN/agent:
    asked again, it goes on from there.
    """

    run: tyro.conf.Positional[Path]
    """Run folder, or a model folder."""
    env: str
    """World, such as two_rooms or maze; or your own, my.py:MyWorld."""
    episodes: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 30
    """Episodes in a round of learning, and of each mode that is measured."""
    rounds: int = 2
    """Rounds of learning; 0 measures what was learned before."""
    mode: Literal["plan", "react", "both"] = "both"
    """What is measured: Mode-2 alone without any learning, Mode-1 alone, or each alone and both together."""
    policy: Path | None = None
    """What an agent of this run learned elsewhere; by default RUN/agent/learned.safetensors, where there is one."""
    fresh: bool = False
    """Forget what was learned before."""
    max_steps: int | None = None
    """Steps in which a goal is to be reached; by default as many as the world allows."""
    distance: tuple[float, float] | None = None
    """Least and greatest distance from start to goal, along the shortest path [units of the world]."""
    horizon: int | None = None
    """Steps of the model to look ahead."""
    execute: int | None = None
    """Steps of a plan to carry out before the next one, while nothing is a surprise."""
    solver: Literal["icem", "cem", "mppi", "gradient", "shooting"] | None = None
    """Search; icem and cem choose among discrete actions too."""
    samples: int | None = None
    """Plans tried in each iteration of the search."""
    iterations: int | None = None
    """Iterations of the search."""
    cost: Literal["terminal", "summed", "critic"] | None = None
    """Latent distance to the goal at the end of a plan, or over all its steps; or steps to go, by the critic."""
    seconds: float | None = None
    """Budget of one decision in one episode [s], in place of a number of iterations."""
    data: Path | None = None
    """Recorded episodes that the critic learns from; collected in the world without."""
    surprise_rate: float = 0.01
    """Share of usual steps that may count as a surprise."""
    reach_rate: float = 0.05
    """Share of reachable goals that may be called out of reach; 0 does not ask."""
    together: int = 10
    """Episodes side by side."""
    seed: int = 0
    """All randomness follows from it."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Act, arguments, "act")
    from craik import plan_run
    from craik.act_run import Asked, act
    from craik.plan_run.report import keep

    planning = plan_run.Asked(
        run=options.run,
        env=options.env,
        episodes=options.episodes,
        seed=options.seed,
        max_steps=options.max_steps,
        distance=options.distance,
        together=options.together,
        horizon=options.horizon,
        execute=options.execute,
        solver=options.solver,
        samples=options.samples,
        iterations=options.iterations,
        cost=options.cost,
        seconds=options.seconds,
        data=options.data,
        device=options.device,
    )
    asked = Asked(
        planning=planning,
        rounds=options.rounds,
        mode=options.mode,
        policy=options.policy,
        fresh=options.fresh,
        surprise_rate=options.surprise_rate,
        reach_rate=options.reach_rate,
    )
    report = act(asked, say)
    return finish(options, report, keep(report.to_json(), asked.folder / f"{asked.mode}.json"), arguments)


def finish(options: Act, report: ActReport, out: Path, typed: list[str]) -> int:
    """Tell what became of it and what to do next; the exit code."""
    if options.json:
        print(json.dumps(report.to_json()))
    else:
        show(report)
    say(f"every episode and all settings: {out}")
    run, lived = quoted(options.run), report.settings["lived"]
    again = " ".join(["craik act", *(quoted(a) for a in typed if a != "--fresh" or not lived)])
    kept = f"What it learned in {lived:,} finished episodes is kept in {quoted(out.parent)}." if lived else ""
    if report.failure is not None:
        say(f"craik act: {report.failure} {kept} Go on: {again}")
        return 1
    if report.stopped:
        say(f"interrupted: episodes that had not ended are left out, with those beside them. {kept} Go on: {again}")
        return 130
    more = f"craik act {run} --env {quoted(options.env)} --rounds 2"
    say(f"Next: {more}   (it learns on)   or, in your own loop: craik.act_run.open_agent({str(options.run)!r})")
    return 0


def show(report: ActReport) -> None:
    """The table and what belongs to it."""
    from rich.console import Console

    console = Console(highlight=False)
    for line in report.lines():
        console.print(line, markup=False, soft_wrap=True)
    console.print(report.table())
