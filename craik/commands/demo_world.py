"""craik demo world: collect, learn a world model from pixels, and plan with it; offline."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from craik.commands.arguments import free_folder, parse, quoted, say
from craik.errors import UsageError

if TYPE_CHECKING:
    from craik.plan_run import PlanReport
    from craik.pretrain import Result

RECIPE, WORLD = "compass:tiny", "two_rooms"
POLICIES = ("mixed", "random")  # in equal parts: experts use the door, who acts at random runs into walls
EPISODE = 24  # actions of a collected episode: short, for each has walls of its own, and many walls generalize
PICTURES = 2  # episodes that are drawn
TOGETHER = 25  # episodes that are planned side by side


@dataclass(frozen=True, kw_only=True)
class DemoWorld:
    """Collect episodes in two rooms, learn a world model from their frames, and plan to goals in the other room."""

    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder to make, for data and run; runs/demo-world, or the next free name."""
    collect: int = 5000
    """Episodes to collect."""
    steps: int = 600
    """Optimizer steps of perception and predictor together."""
    second_steps: int = 2500
    """Optimizer steps of the predictor alone, and then of the critic, on the latents of perception."""
    episodes: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 50
    """Episodes to plan in."""
    seed: int = 0
    """All randomness follows from it."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(DemoWorld, arguments, "demo world")
    if min(options.steps, options.second_steps, options.episodes) < 1 or options.collect < 2:
        raise UsageError(
            "the demo wants --steps, --second-steps and --episodes of at least 1 and --collect of at least 2"
        )
    began = time.perf_counter()
    out = options.out or free_folder(Path("runs/demo-world"))
    data, run = out / "data", out / "run"
    say(
        f"1/4  collecting {options.collect:,} episodes of {EPISODE} steps in {WORLD}, walking, at random, or as experts"
    )
    if not gather(options, data):
        return stopped(out)
    say(f"2/4  training {RECIPE} on their frames and actions; no rewards, no positions")
    if train(options, data, run).outcome.interrupted:
        return stopped(out)
    say(f"3/4  planning in {options.episodes} episodes, the goal a picture of the other room; beside four baselines")
    report, row = plan(options, run)
    if report.stopped:
        return stopped(out)
    say("4/4  drawing the pictures and the report")
    pictures, page = picture(options, run, report, row)
    minutes = (time.perf_counter() - began) / 60
    if options.json:
        print(json.dumps({"run": str(run), "report": str(page), "minutes": minutes, "planning": report.to_json()}))
    else:
        from craik.commands.plan import show

        show(report)
    tell(run, page, pictures, minutes)
    return 0


def gather(options: DemoWorld, data: Path) -> bool:
    """Collect, as craik collect would; whether all of it was collected."""
    from craik.collect import Plan, collect, num_cores
    from craik.collect.bar import Bar
    from craik.train.stop import StopSignal

    for number, policy in enumerate(POLICIES):
        num = (options.collect + number) // len(POLICIES)
        asked = Plan(env=WORLD, episodes=num, policy=policy, steps=EPISODE, seed=options.seed)
        with StopSignal() as signal, Bar(f"collecting {WORLD}, {policy}") as bar:
            outcome = collect(
                asked,
                data,
                "append" if number else "error",
                workers=num_cores(),
                advance=bar.advance,
                stop=lambda signal=signal: signal.asked,  # type: ignore[misc]
            )
        if outcome.interrupted:
            return False
    return True


def train(options: DemoWorld, data: Path, run: Path) -> Result:
    """Train, as craik train would."""
    from craik.pretrain import Budget, Conduct, Data, pretrain
    from craik.recipes import find

    method = find(RECIPE)
    given = method.config
    config = replace(
        given,
        dynamics=replace(given.dynamics, num_steps=options.second_steps),
        metric=replace(given.metric, num_steps=options.second_steps),
    )
    conduct = Conduct(seed=options.seed)
    return pretrain(method, config, run, Data(data=str(data)), Budget(steps=options.steps), conduct)


def plan(options: DemoWorld, run: Path) -> tuple[PlanReport, Path]:
    """Plan, as craik plan would, in worlds that were not collected in; what came of it, and where it was written."""
    from craik.plan_run import Asked, plan_run, write

    asked = Asked(
        run=run,
        env=WORLD,
        episodes=options.episodes,
        seed=options.seed + 1_000_003,
        together=TOGETHER,
        pictures=min(PICTURES, options.episodes),
    )
    report = plan_run(asked, say)
    return report, write(report, None, run)


def picture(options: DemoWorld, run: Path, report: PlanReport, row: Path) -> tuple[list[Path], Path]:
    """The pictures of the recorded episodes, and the page."""
    from craik.report_run import report as draw
    from craik.report_run.planned import FOLDER, draw_planning

    pictures = draw_planning(report.model, report.recorded, run / FOLDER, row.stem) if report.recorded else []
    return pictures, draw(run)


def stopped(out: Path) -> int:
    """What is told of an interrupted demo; the exit code."""
    say(f"{out}: interrupted; what was finished is kept. Again from the beginning: craik demo world")
    return 130


def tell(run: Path, page: Path, pictures: list[Path], minutes: float) -> None:
    """What came of it, and what to do next."""
    for path in pictures:
        say(f"picture: {path}")
    say(f"done in {minutes:.1f} min. Open {page} in a browser.")
    say("Next, longer, and in your own world:")
    say(f"  craik plan {quoted(run)} --env {WORLD} --vary all")
    say(f"  craik collect {WORLD} -n 6000 --policy mixed --steps {EPISODE} -o data/rooms")
    say(f"  craik collect {WORLD} -n 6000 --policy random --steps {EPISODE} -o data/rooms --append")
    say("  craik train compass:tiny --data data/rooms --out runs/rooms --steps 1200")
    say("  craik collect my.py:MyWorld -o data/mine")
