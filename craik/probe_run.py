"""Probing from start to end: a run, labeled images, and a report with baselines."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from craik import api
from craik.data.clip import Clip
from craik.data.clips import load_clips
from craik.data.decode import UnreadableImage
from craik.data.decode import decode as decode_image
from craik.data.images import ImageData, load_images
from craik.data.labels import LabelSpec
from craik.data.source import open_source
from craik.evaluate.attentive import AttentiveOptions
from craik.evaluate.features import Featurizer, Pool
from craik.evaluate.probe import probe
from craik.evaluate.scores import ProbeOptions, ProbeReport
from craik.pretrain import storage_side
from craik.report.contact import Hit
from craik.report.style import Picture


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Labeled images and where their labels are."""

    path: str
    labels: LabelSpec | None = None
    split: str | None = None
    limit: int | None = None
    max_bad_fraction: float = 0.05


def read(source: Source, view: int, clip: Clip | None = None, *, labels_required: bool = False) -> ImageData:
    """The images of a source, kept at the size that the view of a model needs; clips where the model takes these."""
    if clip is not None:
        return load_clips(
            source.path,
            clip=clip,
            view=view,
            labels=source.labels,
            split=source.split,
            limit=source.limit,
            max_bad_fraction=source.max_bad_fraction,
            labels_required=labels_required,
        )
    side = storage_side(source.path, view, labels=source.labels, split=source.split)
    return load_images(
        source.path,
        size=side,
        labels=source.labels,
        split=source.split,
        limit=source.limit,
        max_bad_fraction=source.max_bad_fraction,
        labels_required=labels_required,
    )


def hits(
    source: Source, images: ImageData, rows: Sequence[int], scores: Sequence[float | None] | None = None
) -> list[Hit]:
    """Some images as a contact sheet shows them, with their cosines where these are given."""
    pictures = {} if images.moving else originals(source, [images.paths[i] for i in rows])
    scores = scores or [None] * len(rows)
    found = []
    for row, score in zip(rows, scores, strict=True):
        picture = pictures.get(images.paths[row])
        if picture is None:
            picture = unsquash(images, row)
        found.append(Hit(picture, images.paths[row], images.class_of(row), score))
    return found


def originals(source: Source, paths: Sequence[str], side: int = 256) -> dict[str, Picture]:
    """Images read again at up to `side` px, since stored canvases are small and squashed; toy data has only these."""
    if source.path.startswith("toy:"):
        return {}
    opened = open_source(source.path, labels=source.labels, split=source.split)
    place = {path: i for i, path in enumerate(opened.paths)}
    found = {}
    for path in paths:
        try:
            picture = decode_image(opened.raw(place[path]))
        except UnreadableImage:  # it could be read a moment ago: show what was kept of it
            continue
        picture.thumbnail((side, side))
        found[path] = np.asarray(picture)
    return found


def unsquash(images: ImageData, row: int) -> Picture:
    """A stored canvas in the aspect of its original, uint8 [H, W, 3]; of a clip its middle frame."""
    canvas, (height, width) = images.take(np.array([row]))[0], images.sizes[row].tolist()
    canvas = canvas[len(canvas) // 2] if images.moving else canvas
    scale = images.side / max(height, width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    return np.asarray(Image.fromarray(canvas).resize(size))


def encoders(model: api.Model) -> dict[str, Any]:
    """The encoders of a model by the names they have in a report."""
    learner: Any = model.recipe.model
    if model.encoder is learner.encoder:
        return {"encoder": learner.encoder}
    return {"target encoder": model.encoder, "online encoder": learner.encoder}


def featurizers(model: api.Model, which: str = "all") -> tuple[dict[str, Featurizer], Featurizer]:
    """What is measured: each encoder and pooling by its name in the report; and the random baseline."""
    if model.recipe.window is not None:
        latents, encoder = model.featurizer(), model.featurizer(Pool.LAST_FOUR)
        layers = {"encoder, last 4 layers": encoder} if hasattr(model.encoder, "layers") else {}
        return {"latent": latents, **layers}, model.untrained().featurizer()
    template = model.featurizer()
    found = {name: e for name, e in encoders(model).items() if which == "all" or name.startswith(which)}
    trained = {
        f"{name}, {label}": replace(template, encoder=encoder, pool=pool)
        for name, encoder in found.items()
        for label, pool in (("last layer", Pool.MEAN), ("last 4 layers", Pool.LAST_FOUR))
    }
    return trained, replace(template, encoder=model.untrained().encoder)


def run_probe(
    model: api.Model,
    train: ImageData,
    test: ImageData,
    *,
    which: str = "target",
    attentive: bool = False,
    progress: bool = True,
    seed: int = 0,
) -> ProbeReport:
    """Measure a model on labeled images beside random encoder, raw pixels and majority class.

    Args:
        model: The loaded model.
        train: Images that probes are fitted on.
        test: Images that they are scored on.
        which: "target" encoder (the one in use), "online" encoder, or "all".
        attentive: Also train attentive probes, which takes far longer.
        progress: Show bars for what takes long.
        seed: Draws validation splits, label subsets and resamples.
    """
    if len(encoders(model)) == 1:
        which = "all"
    trained, random = featurizers(model, which)
    options = ProbeOptions(attentive=AttentiveOptions() if attentive else None, seed=seed, progress=progress)
    return probe(train, test, trained, random, options)


def probe_path(run: str | Path) -> Path:
    """Where the result of a probe is kept."""
    return Path(run) / "probe.json"
