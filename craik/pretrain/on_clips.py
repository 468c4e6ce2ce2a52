"""Clips of videos as what a run trains on: images with frames, drawn anew from their videos in each epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from craik.data.clips import ClipPixels, hold
from craik.data.images import Skipped
from craik.data.loader import ClipLoader, Samples, read_samples
from craik.pretrain.on_images import FEW_IMAGES, OnImages
from craik.pretrain.score import make_probe
from craik.recipes import Method
from craik.train.check import Checker
from craik.train.loop import Probe
from craik.train.recipe import Recipe
from craik.train.runtime import Runtime

CHECKED, PROBED = (32, 384), (64, 1300)  # fewest and most clips that checks and probes look at
CHECKED_BYTES, PROBED_BYTES = 256 << 20, 512 << 20  # what these may take: floats in the view, bytes on canvases


@dataclass(frozen=True, slots=True)
class OnClips(OnImages):
    """A `Material` of clips, as `load_clips` gives them."""

    unit: str = "clips"

    @property
    def skipped(self) -> Sequence[Skipped]:
        """Videos that could not be read or are too short, and those that failed later, while clips were drawn."""
        pixels = self.images.pixels
        if not isinstance(pixels, ClipPixels):
            return self.images.skipped
        first = {row: row * pixels.clip.per_file for row in sorted(pixels.late)}
        late = [Skipped(self.images.paths[at], pixels.late[row]) for row, at in first.items()]
        return (*self.images.skipped, *late)

    def notes(self) -> Iterator[str]:
        """Notes of the data, and whether there is enough of it."""
        yield from self.images.notes
        if len(self) < FEW_IMAGES:
            yield (
                f"{len(self)} clips: pretraining from scratch will not generalize. "
                "Start from weights (--init RUN_OR_WEIGHTS) or add videos"
            )

    def stream(self, batch: int, seed: int, rank: int, world: int) -> ClipLoader:
        """Shuffled batches without end, in each epoch from other places of the videos."""
        return ClipLoader(self.images, batch, seed=seed, rank=rank, world=world)

    def some(self, num: int) -> Samples:
        """The first few clips."""
        few = hold(self.images, np.arange(min(num, len(self))))
        return read_samples(few, np.arange(len(few)))

    def checker(self, recipe: Recipe, runtime: Runtime) -> Checker:
        """Looks at clips spread over the data."""
        each = 4 * 3 * self.images.length * recipe.view.size**2
        num = min(within(CHECKED, CHECKED_BYTES, each), len(self))
        chosen = hold(self.images, np.linspace(0, len(self) - 1, num).astype(np.int64))
        return Checker.create(recipe, runtime, chosen, num)

    def probe(self, method: Method, record: dict[str, Any], recipe: Recipe, runtime: Runtime) -> Probe:
        """Accuracy of kNN with labels, agreement of two crops without; on a sample of the clips, decoded once."""
        num = min(within(PROBED, PROBED_BYTES, 3 * self.images.length * self.images.side**2), len(self))
        rows = np.sort(np.random.default_rng(0).permutation(len(self))[:num])
        return make_probe(method, record, recipe, hold(self.images, rows), runtime)


def within(limits: tuple[int, int], memory: int, each: int) -> int:
    """How many things of `each` bytes fit into some memory, between two limits."""
    return min(max(limits[0], memory // each), limits[1])
