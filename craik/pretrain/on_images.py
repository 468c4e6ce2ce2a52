"""Images as what a run trains on."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from craik.agent.encoded import Watch
from craik.data.images import ImageData, Skipped
from craik.data.loader import Loader, Samples, read_samples
from craik.data.stream import Stream
from craik.errors import UsageError
from craik.pretrain.score import make_probe
from craik.recipes import Method
from craik.train.check import Checker
from craik.train.loop import Probe
from craik.train.recipe import Recipe
from craik.train.runtime import Runtime

FEW_IMAGES = 100


@dataclass(frozen=True, slots=True)
class OnImages:
    """A `Material` of images."""

    images: ImageData
    unit: str = "images"

    @property
    def fingerprint(self) -> str:
        """The same for the same files at the same size."""
        return self.images.fingerprint

    @property
    def skipped(self) -> Sequence[Skipped]:
        """Image files that could not be read."""
        return self.images.skipped

    def __len__(self) -> int:
        return len(self.images)

    def summary(self) -> str:
        """One line for people."""
        return self.images.summary()

    def notes(self) -> Iterator[str]:
        """Notes of the data, and whether there is enough of it."""
        yield from self.images.notes
        if len(self) < FEW_IMAGES:
            yield (
                f"{len(self)} images: pretraining from scratch will not generalize. "
                "Start from weights (--init RUN_OR_WEIGHTS) or add images"
            )

    def stream(self, batch: int, seed: int, rank: int, world: int) -> Stream[Samples]:
        """Shuffled batches without end."""
        return Loader(self.images, batch, seed=seed, rank=rank, world=world)

    def some(self, num: int) -> Samples:
        """The first few images."""
        return read_samples(self.images, np.arange(min(num, len(self))))

    def checker(self, recipe: Recipe, runtime: Runtime) -> Checker:
        """Looks at images spread over the data."""
        return Checker.create(recipe, runtime, self.images)

    def settled(self, recipe: Recipe, runtime: Runtime) -> AbstractContextManager[None]:
        """As it is: probes and checks choose the mode, and running statistics of encoders keep up."""
        return nullcontext()

    def probe(self, method: Method, record: dict[str, Any], recipe: Recipe, runtime: Runtime) -> Probe:
        """Accuracy of kNN with labels, agreement of two crops without."""
        return make_probe(method, record, recipe, self.images, runtime)

    def second_stage(self, recipe: Recipe, runtime: Runtime, rng: torch.Generator, watch: Watch) -> None:
        """There is none on images.

        Raises:
            UsageError: Always.
        """
        raise UsageError("the recipe has a second stage, which learns from episodes, and was given images")
