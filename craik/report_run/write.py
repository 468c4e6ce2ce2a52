"""The report of a run: opens it, looks at its data with its model, draws, and writes media/ and report.html."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from craik.api import Model
from craik.data.images import ImageData
from craik.report.curves import curves
from craik.report.measures import verdict
from craik.report.page import Ledger, Plate, page
from craik.report.record import Json, Record
from craik.report.style import png
from craik.report_run.clip_plates import draw_clips
from craik.report_run.planned import planning_parts
from craik.report_run.plates import draw_scene
from craik.report_run.scene import Scene, look, open_data, open_model
from craik.report_run.world_plates import draw_world
from craik.report_run.world_scene import look_at_world, open_world_data
from craik.train.health import Failure, grace_steps
from craik.train.recall import recall
from craik.train.run import finite, write_atomic

WORLD_FIGURES = "world.json"


def report(run: Path, *, data: str | None = None, limit: int = 2000, device: str = "auto") -> Path:
    """Draw a run and write media/*.png and report.html into its folder.

    Works on finished and stopped runs, and while one is training. What cannot be drawn is left out and said.

    Args:
        run: The run folder.
        data: Images or, of a world model, episodes to look at instead of the run's own.
        limit: Most images that are embedded.
        device: Where the model runs.

    Returns:
        The path of report.html.

    Raises:
        UsageError: If there is no run, or `data` was given and cannot be read.
    """
    record, notes = Record.read(run), list[str]()
    model = open_model(run, device, notes)
    parts: list[Plate | Ledger] = [*draw_record(record, model, notes), *planning_parts(run, notes)]
    if model is not None and model.recipe.window is not None:
        pictured, facts = world_parts(record, model, data, notes)
    else:
        pictured, facts = image_parts(record, model, data, limit, notes)
    parts += pictured
    for part in parts:
        if isinstance(part, Plate):
            write_atomic(run / "media" / f"{part.name}.{part.kind}", part.content)
    write_atomic(run / "report.html", page(record, verdict(record, still_active(record)), parts, facts, notes))
    return run / "report.html"


def image_parts(
    record: Record, model: Model | None, data: str | None, limit: int, notes: list[str]
) -> tuple[list[Plate | Ledger], list[tuple[str, str]]]:
    """Pictures of a model of images, and the data in a few lines."""
    images = None if model is None else open_data(model, record, data, limit, notes)
    if model is not None and images is not None and images.moving:
        notes.append("The model takes videos: neighbors, the map of embeddings and attention are not drawn of clips.")
        return [*draw_clips(model, images, record)], data_facts(record, images, None)
    scene = None if model is None or images is None else look(model, images, limit, record)
    plates: list[Plate | Ledger] = [] if scene is None else [*draw_scene(scene, record.path, notes)]
    return plates, data_facts(record, images, scene)


def world_parts(
    record: Record, model: Model, data: str | None, notes: list[str]
) -> tuple[list[Plate | Ledger], list[tuple[str, str]]]:
    """Pictures and tables of a world model, whose figures go to media/world.json; and the data in a few lines."""
    parts: list[Plate | Ledger] = []
    facts, episodes = data_facts(record, None, None), open_world_data(model, record, data, notes)
    if episodes is not None:
        figures: Json = {}
        parts += draw_world(look_at_world(model, record, episodes), notes, figures)
        write_atomic(record.path / "media" / WORLD_FIGURES, json.dumps(finite(figures), indent=1) + "\n")
        facts.append(("summary", episodes.every.summary()))
    return parts, facts


def draw_record(record: Record, model: Model | None, notes: list[str]) -> list[Plate]:
    """The curves, where there are metrics."""
    if not record.metrics:
        notes.append("No metrics were recorded yet.")
        return []
    caption = (
        "Green is healthy, orange is not; numbered dashed lines are alarms. Judge a run by rank, spread and score: "
        "the loss of a collapsed model is the lowest of all."
    )
    return [Plate("curves", "Curves", caption, png(curves(record, None if model is None else width_of(model))))]


def width_of(model: Model) -> int:
    """The most directions that its features can use: numbers in a latent, or in a token of the encoder."""
    if model.recipe.window is not None:
        return int(model.encode(torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8)).shape[-1])
    encoder: Any = model.encoder
    return int(encoder.width)


def data_facts(record: Record, images: ImageData | None, scene: Scene | None) -> list[tuple[str, str]]:
    """The data in a few lines."""
    stored: Json = record.config.get("data") or {}
    unit = next((name for name in ("windows", "clips") if name in stored), "images")
    rows = [("trained on", str(stored.get("data", "unknown"))), (f"{unit} in training", f"{stored.get(unit, 0):,}")]
    if images is None or scene is None:
        return rows
    low, high = images.sizes.min(0), images.sizes.max(0)
    span = f"{low[1]} x {low[0]}" + ("" if (low == high).all() else f" to {high[1]} x {high[0]}")
    rows += [("summary", images.summary()), ("width x height [px]", span)]
    rows += [("unreadable", f"{len(images.skipped):,}")] if images.skipped else []
    if images.labels is not None and images.class_names is not None:
        counts = np.bincount(images.labels[images.labels >= 0], minlength=images.num_classes)
        most = [f"{images.class_names[i]} {counts[i]:,}" for i in np.argsort(-counts, kind="stable")[:12]]
        rest = "" if images.num_classes <= 12 else f", and {images.num_classes - 12:,} more"
        rows.append(("classes", ", ".join(most) + rest))
    return [*rows, ("looked at for this report", f"{len(scene.images):,} images")]


def still_active(record: Record) -> frozenset[str]:
    """Failures that hold at the last check: the recorded numbers shown to a sentinel once more."""
    sentinel = recall(record.metrics, grace_steps(record.total or 0)).sentinel
    # Nothing is recorded after a loss that is not a number: it holds until the run goes on past it.
    stopped = {a.name for a in record.alarms if a.name == Failure.non_finite and a.step >= record.step}
    return frozenset(str(failure) for failure in sentinel.active) | stopped
