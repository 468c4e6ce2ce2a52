"""What is done before anything is written: data, the parts of the method, and doubts about how they go together."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote
from typing import Any

import torch

from craik.data.clips import load_clips
from craik.data.episode_layout import is_episodes
from craik.data.images import load_images
from craik.data.labels import LabelSpec
from craik.data.native import native_side
from craik.data.stream import Stream
from craik.errors import UsageError
from craik.pretrain.material import Material
from craik.pretrain.on_clips import OnClips
from craik.pretrain.on_episodes import OnEpisodes, Recorded
from craik.pretrain.on_images import OnImages
from craik.pretrain.options import Conduct, Data
from craik.recipes import Method
from craik.train.progress import Reporter
from craik.train.recipe import Recipe
from craik.train.runtime import Runtime, step_rng

FEW_SAMPLES = 64  # in a batch


@dataclass(frozen=True, slots=True)
class Ready:
    """A run that can begin: nothing is written yet."""

    config: Any
    """With what only the data could tell."""
    recipe: Recipe
    material: Material


def prepare(
    method: Method, config: Any, data: Data, conduct: Conduct, reporter: Reporter, *, fitted: bool = False
) -> Ready:
    """Read data and build the model, and say what they are; `fitted` where the config knows the data already."""
    if not data.data:
        raise UsageError(
            f"craik train {method} needs data: --data PATH, of images or videos, or of episodes for a world model "
            "(craik collect two_rooms -o DATA); --data toy:shapes to try it out with images, toy:digits with videos"
        )
    began = time.perf_counter()
    if is_episodes(data.data):
        ready = read_episodes(method, config, data, conduct, fitted)
    else:
        ready = read_files(method, config, data, conduct)
    material = ready.material
    reporter.say(f"{material.summary()} (read in {time.perf_counter() - began:.1f} s)")
    for skipped in material.skipped[:3]:
        reporter.say(f"  unreadable: {skipped.path}: {skipped.reason}", style="yellow")
    for note in (*material.notes(), *doubts(ready.recipe, conduct)):
        reporter.say(note, style="yellow")
    return ready


def read_files(method: Method, config: Any, data: Data, conduct: Conduct) -> Ready:
    """A run on images, or on videos where the recipe says how to cut clips.

    Raises:
        UsageError: If the recipe trains on episodes.
    """
    recipe = build(method, config, conduct)
    if recipe.window is not None:
        raise UsageError(
            f"{method} is a world model and trains on episodes, frames with the actions between them, and {data.data} "
            "holds none. Collect some: craik collect two_rooms -o DATA, or import yours: craik import SRC -o DATA"
        )
    if recipe.clip is not None:
        clips = load_clips(
            data.data,
            clip=recipe.clip,
            view=recipe.view.size,
            labels=data.spec(),
            split=data.split,
            limit=data.limit,
            max_bad_fraction=data.max_bad_fraction,
            workers=conduct.workers,
        )
        return Ready(config, recipe, OnClips(clips))
    images = load_images(
        data.data,
        size=storage_side(data.data, recipe.view.size, labels=data.spec(), split=data.split),
        labels=data.spec(),
        split=data.split,
        limit=data.limit,
        max_bad_fraction=data.max_bad_fraction,
        workers=conduct.workers,
    )
    return Ready(config, recipe, OnImages(images))


def read_episodes(method: Method, config: Any, data: Data, conduct: Conduct, fitted: bool) -> Ready:
    """A run on windows of episodes.

    Raises:
        UsageError: If the recipe trains on images, or the episodes have no actions or others than it takes.
    """
    recorded = Recorded.open(data)
    config = config if fitted else method.fit(config, recorded.train)
    recipe = build(method, config, conduct)
    if recipe.window is None:
        kind = "images" if recipe.clip is None else "videos"
        raise UsageError(
            f"{method} trains on {kind}, and {data.data} holds episodes. Train a world model on them: "
            f"craik train leworldmodel:tiny --data {quote(data.data)} --out runs/world"
        )
    return Ready(config, recipe, OnEpisodes.of(recorded, recipe.window))


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


def doubts(recipe: Recipe, conduct: Conduct) -> Iterator[str]:
    """What will hardly work, and what to do instead."""
    piece = recipe.batch // conduct.accumulate
    if piece < FEW_SAMPLES and looks_at_batches(recipe):
        pieces = f" in {conduct.accumulate} pieces" if conduct.accumulate > 1 else ""
        on_images = recipe.window is None and recipe.clip is None
        instead = ", or a method that needs none (ijepa)" if on_images else ""
        yield (
            f"batch {recipe.batch}{pieces}: the regularizer's batch statistics are noise below about {FEW_SAMPLES} "
            f"samples; use --batch {FEW_SAMPLES * conduct.accumulate} or more{instead}"
        )


def looks_at_batches(recipe: Recipe) -> bool:
    """Whether terms of the loss are statistics of a batch: what keeps a model without a slow target from collapsing."""
    return bool(getattr(recipe.model, "regularizers", None) or getattr(recipe.model, "terms", recipe.momentum is None))


def try_out(recipe: Recipe, material: Material) -> None:
    """Prepare two samples before anything is written: crops and masks that cannot be drawn are found now."""
    samples = material.some(2)
    try:
        recipe.prepare(samples, step_rng(0, 0))
    except ValueError as error:
        raise UsageError(f"these settings give no batch: {error}") from None


def storage_side(path: str, view: int, *, labels: LabelSpec | None = None, split: str | None = None) -> int:
    """Side at which images are kept: their own when small, else with room for random crops of the view [pixels]."""
    if path.startswith("toy:"):
        return view
    return min(native_side(path, labels=labels, split=split), round(1.25 * view))


def make_stream(material: Material, recipe: Recipe, conduct: Conduct, runtime: Runtime) -> Stream[Any]:
    """Batches of this rank."""
    if recipe.batch % runtime.world:
        raise UsageError(f"--batch {recipe.batch} does not divide among {runtime.world} ranks")
    return material.stream(recipe.batch // runtime.world, conduct.seed, runtime.rank, runtime.world)
