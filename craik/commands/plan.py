"""craik plan: does a world model plan?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from craik.commands.arguments import parse, quoted, say
from craik.errors import UsageError

if TYPE_CHECKING:
    from craik.plan_run import PlanReport


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Plan to goals in a world with the world model of a run, beside baselines on the same episodes.

    The planner sees frames, and its goal as a picture. Success is printed with 95 % intervals, beside random actions,
    doing nothing, going straight, and the exact shortest path. Before that, a second tells whether the latent distance
    is worth planning with. Numbers of planning that are not given are those of the run's recipe.
    """

    run: tyro.conf.Positional[Path]
    """Run folder, or a model folder."""
    env: str | None = None
    """World, such as two_rooms or maze; or your own, my.py:MyWorld."""
    data: Path | None = None
    """Without --env: recorded episodes to predict, no simulator. With --cost critic: episodes that it learns from, in
    place of those of the run."""
    episodes: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 50
    """Episodes to play."""
    max_steps: int | None = None
    """Steps in which a goal is to be reached; by default as many as the world allows."""
    distance: tuple[float, float] | None = None
    """Least and greatest distance from start to goal, along the shortest path [units of the world]."""
    stay: int = 20
    """Steps to go on after a goal was reached, to see whether the agent stays there."""
    horizon: int | None = None
    """Steps of the model to look ahead."""
    execute: int | None = None
    """Steps of the model to carry out before planning again."""
    solver: Literal["icem", "cem", "mppi", "gradient", "shooting"] | None = None
    """Search; icem and cem choose among discrete actions too."""
    samples: int | None = None
    """Plans tried in each iteration of the search."""
    iterations: int | None = None
    """Iterations of the search."""
    cost: Literal["terminal", "summed", "critic"] | None = None
    """Latent distance to the goal at the end of a plan, or over all its steps; or steps to go, by a learned critic."""
    hold: bool | None = None
    """Hold one action over a step of the model, or search one for each step of the environment inside."""
    detour: float | None = None
    """A random move where a step missed what was imagined by this share of the way, squared; 0 for none."""
    seconds: float | None = None
    """Budget of one decision in one episode [s], in place of a number of iterations."""
    together: int = 10
    """Episodes side by side."""
    compare: Path | None = None
    """Another run, on the same episodes."""
    vary: tuple[str, ...] = ()
    """Also plan where one factor of the world is other: agent_color, door, distractor, ...; or all."""
    reach: bool = False
    """Also calibrate when to say that a goal cannot be reached, and try it."""
    pictures: int = 0
    """Draw so many episodes: what was imagined beside what came."""
    seed: int = 0
    """All randomness follows from it."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Where to write the result; RUN/planning/ENV-SEED.json by default. Never over a result of other settings."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Plan, arguments, "plan")
    run = quoted(options.run)
    if options.env is None and options.data is None:
        raise UsageError(
            f"where is it to plan? craik plan {run} --env two_rooms; without a simulator, on recorded episodes: "
            f"craik plan {run} --data EPISODES"
        )
    if options.env is None:
        return offline(options)
    if options.data is not None and options.cost != "critic":
        raise UsageError("--data beside --env is what a critic learns from: give --cost critic too, or leave one out")
    from craik.plan_run import Asked, plan_run, write

    asked = Asked(
        run=options.run,
        env=options.env,
        episodes=options.episodes,
        seed=options.seed,
        max_steps=options.max_steps,
        distance=options.distance,
        stay=options.stay,
        together=options.together,
        horizon=options.horizon,
        execute=options.execute,
        solver=options.solver,
        samples=options.samples,
        iterations=options.iterations,
        cost=options.cost,
        detour=options.detour,
        hold=options.hold,
        seconds=options.seconds,
        data=options.data,
        compare=options.compare,
        vary=options.vary,
        reach=options.reach,
        pictures=options.pictures,
        device=options.device,
    )
    report = plan_run(asked, say)
    return finish(options, report, write(report, options.out, options.run), arguments)


def finish(options: Plan, report: PlanReport, out: Path, typed: list[str]) -> int:
    """Tell what was found and what to do next; the exit code."""
    if options.json:
        print(json.dumps(report.to_json()))
    else:
        show(report)
    say(f"every episode and all settings: {out}")
    for picture in draw(options, report, out):
        say(f"picture: {picture}")
    again = " ".join(["craik plan", *(quoted(a) for a in typed)])
    if report.failure is not None:
        say(f"craik plan: {report.failure} What had ended is kept. Again: {again}")
        return 1
    if report.stopped:
        say(f"interrupted: episodes that had not ended are left out, with those beside them. Again: {again}")
        return 130
    say(f"Next: craik report {quoted(options.run)}")
    return 0


def draw(options: Plan, report: PlanReport, out: Path) -> list[Path]:
    """The pictures of the episodes that were recorded, in RUN/planning, where the report of the run finds them."""
    if not report.recorded:
        return []
    from craik import api
    from craik.report_run.planned import FOLDER, draw_planning

    model = api.load(options.run, device=options.device)
    return draw_planning(model, report.recorded, options.run / FOLDER, out.stem)


def show(report: PlanReport) -> None:
    """The tables and what belongs to them."""
    from rich.console import Console

    console = Console(highlight=False)
    for line in report.lines():
        console.print(line, markup=False, soft_wrap=True)
    for table in (report.distance_table(), report.table(), report.band_table()):
        if table.row_count:
            console.print(table)


def offline(options: Plan) -> int:
    """Without a simulator: how well recorded episodes are predicted."""
    from craik.plan_run.offline import evaluate, write

    report = evaluate(options.run, options.data, seed=options.seed, device=options.device)
    out = write(report, options.out, options.run)
    if options.json:
        print(json.dumps(report.to_json()))
    else:
        from rich.console import Console

        console = Console(highlight=False)
        console.print(report.table())
        for line in report.summary():
            console.print(line, markup=False, soft_wrap=True)
    say(f"all figures: {out}")
    say(f"Next: craik plan {quoted(options.run)} --env ENV, where there is a simulator")
    return 0
