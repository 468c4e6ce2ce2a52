"""The report of a run: opens it, looks at its data with its model, draws, and writes media/ and report.html."""

from pathlib import Path
from typing import Any

import numpy as np

from craik.api import Model
from craik.data.images import ImageData
from craik.report.curves import curves
from craik.report.measures import verdict
from craik.report.page import Plate, page
from craik.report.record import Json, Record
from craik.report.style import png
from craik.report_run.plates import draw_scene
from craik.report_run.scene import Scene, look, open_data, open_model
from craik.train.health import Failure, grace_steps
from craik.train.recall import recall
from craik.train.run import write_atomic


def report(run: Path, *, data: str | None = None, limit: int = 2000, device: str = "auto") -> Path:
    """Draw a run and write media/*.png and report.html into its folder.

    Works on finished and stopped runs, and while one is training. What cannot be drawn is left out and said.

    Args:
        run: The run folder.
        data: Images to look at instead of the run's own.
        limit: Most images that are embedded.
        device: Where the encoders run.

    Returns:
        The path of report.html.

    Raises:
        UsageError: If there is no run, or `data` was given and cannot be read.
    """
    record, notes = Record.read(run), list[str]()
    model = open_model(run, device, notes)
    images = None if model is None else open_data(model, record, data, limit, notes)
    scene = None if model is None or images is None else look(model, images, limit, record)
    plates = [*draw_record(record, model, notes), *(draw_scene(scene, run, notes) if scene is not None else [])]
    for plate in plates:
        write_atomic(run / "media" / f"{plate.name}.png", plate.png)
    facts = data_facts(record, images, scene)
    write_atomic(run / "report.html", page(record, verdict(record, still_active(record)), plates, facts, notes))
    return run / "report.html"


def draw_record(record: Record, model: Model | None, notes: list[str]) -> list[Plate]:
    """The curves, where there are metrics."""
    if not record.metrics:
        notes.append("No metrics were recorded yet.")
        return []
    encoder: Any = None if model is None else model.encoder
    caption = (
        "Green is healthy, orange is not; numbered dashed lines are alarms. Judge a run by rank, spread and score: "
        "the loss of a collapsed model is the lowest of all."
    )
    width = None if encoder is None else int(encoder.width)
    return [Plate("curves", "Curves", caption, png(curves(record, width)))]


def data_facts(record: Record, images: ImageData | None, scene: Scene | None) -> list[tuple[str, str]]:
    """The data in a few lines."""
    stored: Json = record.config.get("data") or {}
    unit = "windows" if "windows" in stored else "images"
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
