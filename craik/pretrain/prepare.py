"""What is done before anything is written: images, the parts of the method, and doubts about how they go together."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from craik.data.images import ImageData, load_images
from craik.data.labels import LabelSpec
from craik.data.loader import Loader, read_samples
from craik.data.native import native_side
from craik.errors import UsageError
from craik.pretrain.options import Conduct, Data
from craik.recipes import Method
from craik.train.progress import Reporter
from craik.train.recipe import Recipe
from craik.train.runtime import Runtime, step_rng

FEW_IMAGES = 100
FEW_SAMPLES = 64  # in a batch


def prepare(method: Method, config: Any, data: Data, conduct: Conduct, reporter: Reporter) -> tuple[ImageData, Recipe]:
    """Load the images and build the model, and say what they are."""
    if not data.data:
        raise UsageError(f"craik train {method} needs images: --data PATH, or --data toy:shapes to try it out")
    recipe = build(method, config, conduct)
    began = time.perf_counter()
    images = load_images(
        data.data,
        size=storage_side(data.data, recipe.view.size, labels=data.spec(), split=data.split),
        labels=data.spec(),
        split=data.split,
        limit=data.limit,
        max_bad_fraction=data.max_bad_fraction,
        workers=conduct.workers,
    )
    reporter.say(f"{images.summary()} (read in {time.perf_counter() - began:.1f} s)")
    for skipped in images.skipped[:3]:
        reporter.say(f"  unreadable: {skipped.path}: {skipped.reason}", style="yellow")
    for note in (*images.notes, *doubts(images, recipe, conduct)):
        reporter.say(note, style="yellow")
    return images, recipe


def build(method: Method, config: Any, conduct: Conduct) -> Recipe:
    """The parts of the method, with weights that follow from the seed."""
    torch.manual_seed(conduct.seed)
    try:
        recipe: Recipe = method.build(config)
    except ValueError as error:  # values that do not go together are the user's, as a size that a patch does not divide
        raise UsageError(f"{method}: {error}. See craik train {method} --help") from None
    if recipe.batch < 1 or recipe.batch % conduct.accumulate:
        raise UsageError(f"--batch {recipe.batch} does not divide into --accumulate {conduct.accumulate} equal pieces")
    if not recipe.epochs > 0:
        raise UsageError(f"--epochs {recipe.epochs:g} has to be above 0")
    return recipe


def doubts(images: ImageData, recipe: Recipe, conduct: Conduct) -> Iterator[str]:
    """What will hardly work, and what to do instead."""
    if len(images) < FEW_IMAGES:
        yield (
            f"{len(images)} images: pretraining from scratch will not generalize. "
            "Start from weights (--init RUN_OR_WEIGHTS) or add images"
        )
    piece = recipe.batch // conduct.accumulate
    if piece < FEW_SAMPLES and (recipe.momentum is None or getattr(recipe.model, "regularizers", None)):
        pieces = f" in {conduct.accumulate} pieces" if conduct.accumulate > 1 else ""
        yield (
            f"batch {recipe.batch}{pieces}: the regularizer's batch statistics are noise below about {FEW_SAMPLES} "
            f"samples; use --batch {FEW_SAMPLES * conduct.accumulate} or more, or a method that needs none (ijepa)"
        )


def try_out(recipe: Recipe, images: ImageData) -> None:
    """Prepare two samples before anything is written: crops and masks that cannot be drawn are found now."""
    samples = read_samples(images, np.arange(min(2, len(images))))
    try:
        recipe.prepare(samples, step_rng(0, 0))
    except ValueError as error:
        raise UsageError(f"these settings give no batch: {error}") from None


def storage_side(path: str, view: int, *, labels: LabelSpec | None = None, split: str | None = None) -> int:
    """Side at which images are kept: their own when small, else with room for random crops of the view [pixels]."""
    if path.startswith("toy:"):
        return view
    return min(native_side(path, labels=labels, split=split), round(1.25 * view))


def make_loader(images: ImageData, recipe: Recipe, conduct: Conduct, runtime: Runtime) -> Loader:
    """Batches of this rank."""
    if recipe.batch % runtime.world:
        raise UsageError(f"--batch {recipe.batch} does not divide among {runtime.world} ranks")
    return Loader(images, recipe.batch // runtime.world, seed=conduct.seed, rank=runtime.rank, world=runtime.world)
