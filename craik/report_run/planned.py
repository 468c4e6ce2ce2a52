"""Planning in a report: tables of what was evaluated, and the pictures that the evaluation left behind."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craik.api import Model
from craik.data.episode import Episodes
from craik.errors import UsageError
from craik.evaluate.bank import Bank, bank_of, spread_rows
from craik.evaluate.openloop import squared_error, variance
from craik.plan.recorded import Recorded
from craik.report.episodes import as_picture
from craik.report.film import Strip, film_sheet
from craik.report.iterations import iterations_figure, joined
from craik.report.page import Ledger, Plate
from craik.report.planning_gif import planning_gif
from craik.report.style import png, spread_over
from craik.train.run import Json, write_atomic

FOLDER = "planning"
BANK = 1500  # frames of the training data that imagined latents are shown with
NUM_STRIPS, STRIP_LENGTH = 3, 9


def planning_parts(run: Path, notes: list[str]) -> Iterator[Plate | Ledger]:
    """What `craik plan` left in RUN/planning: a table for each result, and its pictures."""
    folder = run / FOLDER
    for path in sorted(folder.glob("*.json")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(found, dict) and "policies" in found:
                yield planning_table(path.stem, found)
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"{path} cannot be read ({type(error).__name__}: {error}), so its table is left out.")
    yield from (kept(path) for path in sorted(folder.glob("*.gif")))
    yield from (kept(path) for path in sorted(folder.glob("*.png")))


def planning_table(name: str, found: Json) -> Ledger:
    """One result as a table: a row per policy."""
    settings, plan = found["settings"], found["settings"].get("planning", {})
    head = ("policy", "episodes", "reached at any step [%]", "at the last step [%]", "median steps", "s/episode")
    rows = [
        (
            str(row["policy"]),
            f"{row['episodes']:,}",
            share(row["reached"]),
            share(row["stayed"]),
            number(row["median_steps"], 0),
            number(row["seconds_per_episode"], 2),
        )
        for row in found["policies"]
    ]
    how = ", ".join(
        f"{key} {plan[key]}" for key in ("solver", "samples", "iterations", "horizon", "cost") if key in plan
    )
    interrupted = " It was interrupted." if found.get("interrupted") else ""
    caption = (
        f"{settings['env']}, seed {settings['seed']}, budget {settings['budget']} steps. {settings['success']} "
        f"Goal: {settings['goal']} {how}. 95 % intervals.{interrupted}"
    )
    return Ledger(f"planning-{name}", f"Planning in {settings['env']}", caption, head, rows)


def share(interval: Json) -> str:
    """An interval as `61.2 (60.3-62.1)`, times 100."""
    value, low, high = (100 * float(interval[key]) for key in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f}-{high:.1f})"


def number(value: Any, digits: int) -> str:
    """A number, or nothing where there is none."""
    return "" if value is None else f"{float(value):.{digits}f}"


def kept(path: Path) -> Plate:
    """A picture that lies in RUN/planning."""
    captions = {
        "cost": (
            "Cost while planning",
            "The best cost so far after each iteration: median and middle half of the plans.",
        ),
        "film": (
            "Plans and what came of them",
            "Above, what the agent saw; below, what its plan imagined, as the nearest real frames. Numbers are squared "
            "errors over the variance of the latents. Only the first actions of a plan are carried out before the next "
            "is made, so what came may differ by right.",
        ),
    }
    episode = f"Planned episode {path.stem.rpartition('-')[2]}"
    moving = "The agent, the goal it was shown, and below what it imagines: the nearest real frames to its latents."
    title, caption = captions.get(path.stem.rpartition("-")[2], (episode, moving))
    title = f"{title}: {path.stem.rpartition('-')[0]}"
    return Plate(f"{FOLDER}-{path.stem}", title, caption, path.read_bytes(), path.suffix[1:])


def draw_planning(model: Model, recorded: Sequence[Recorded], folder: Path, name: str) -> list[Path]:
    """Write pictures of planned episodes: a GIF of each, film strips of some plans, and the cost per iteration.

    Args:
        model: That planned.
        recorded: Episodes as `craik.evaluate.recorder` keeps them.
        folder: Where to, RUN/planning.
        name: Of the evaluation; every file begins with it.

    Returns:
        The files.
    """
    written: list[Path] = []
    if not recorded:
        return written

    def write(path: Path, content: bytes) -> None:
        write_atomic(path, content)
        written.append(path)

    bank = planning_bank(model, recorded)
    for one in recorded:
        write(folder / f"{name}-{one.number}.gif", planning_gif(one, lambda z: bank.pictures(bank.nearest(z).rows)))
    traces = [d.trace.numpy().astype(np.float64) for one in recorded for d in one.decisions if len(d.trace)]
    if traces:
        write(folder / f"{name}-cost.png", png(iterations_figure({"planner": joined(traces)})))
    strips = [strip for one in recorded[:NUM_STRIPS] if (strip := plan_strip(model, one, bank)) is not None]
    if strips:
        write(folder / f"{name}-film.png", png(film_sheet(strips, "Plans and what came of them")))
    return written


def planning_bank(model: Model, recorded: Sequence[Recorded]) -> Bank:
    """Frames of the training data, where it can be read, and of the episodes themselves."""
    frames = [np.concatenate([one.frames, one.goal_frame[None]]) for one in recorded]
    source = model_data(model)
    if source is not None:
        try:
            episodes = Episodes.open(source)
        except UsageError:  # moved or deleted since: the episodes themselves will do
            return bank_of(model, *frames)
        if episodes.layout.frame == recorded[0].frames.shape[1:]:
            frames.append(episodes.frames.read(spread_rows(episodes, BANK)))
    return bank_of(model, *frames)


def model_data(model: Model) -> str | None:
    """Where the episodes of a run are, as its record says."""
    path = Path(model.source) / "config.json"
    if not path.is_file():
        return None
    stored = json.loads(path.read_text(encoding="utf-8")).get("data") or {}
    return stored.get("data")


def plan_strip(model: Model, one: Recorded, bank: Bank) -> Strip | None:
    """The first plan of an episode beside what came; None where nothing did."""
    if not one.decisions:
        return None
    plan = one.decisions[0]
    times = plan.step + one.block * np.arange(1, len(plan.imagined) + 1)
    times = times[times < len(one.frames)]
    if not len(times):
        return None
    chosen = spread_over(len(times), STRIP_LENGTH)
    came = torch.from_numpy(one.frames[times]).permute(0, 3, 1, 2).unsqueeze(1)
    real: Tensor = model.encode(came)[:, 0].cpu().unsqueeze(0)
    errors = squared_error(plan.imagined[: len(times)].unsqueeze(0), real)[0] / variance(bank.latents.unsqueeze(1))
    rows = bank.nearest(plan.imagined[: len(times)]).rows
    return Strip(
        name=f"episode {one.number}",
        seen=[as_picture(one.frames[plan.step])],
        real=[as_picture(one.frames[times[i]]) for i in chosen],
        imagined=[as_picture(bank.frames[rows[i]]) for i in chosen],
        steps=[i + 1 for i in chosen],
        error=[float(errors[i]) for i in chosen],
    )
