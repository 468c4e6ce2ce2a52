"""What a run trains on, whatever it is made of; `on_images.py`, `on_clips.py` and `on_episodes.py` have the kinds."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from craik.agent.encoded import Watch
from craik.data.images import Skipped
from craik.data.stream import Stream
from craik.recipes import Method
from craik.train.check import Checker
from craik.train.loop import Probe
from craik.train.recipe import Recipe, Sampled
from craik.train.runtime import Runtime

Json = dict[str, Any]


class Material(Protocol):
    """Samples of one kind, with what is measured on them during a run."""

    @property
    def unit(self) -> str:
        """What it is made of, in the plural: images, clips, windows."""

    @property
    def fingerprint(self) -> str:
        """The same for the same data on any machine."""

    @property
    def skipped(self) -> Sequence[Skipped]:
        """Files that could not be read, and why."""

    def __len__(self) -> int: ...

    def summary(self) -> str:
        """One line for people."""

    def notes(self) -> Iterator[str]:
        """What people should know of it before they train on it."""

    def stream(self, batch: int, seed: int, rank: int, world: int) -> Stream[Any]:
        """Shuffled batches without end, `batch` samples per rank."""

    def some(self, num: int) -> Sampled:
        """The first few samples."""

    def checker(self, recipe: Recipe, runtime: Runtime) -> Checker:
        """What looks at the representation, on the same samples every time."""

    def settled(self, recipe: Recipe, runtime: Runtime) -> AbstractContextManager[None]:
        """Inside, the model is as it is to be used; all ranks enter it together."""

    def probe(self, method: Method, record: Json, recipe: Recipe, runtime: Runtime) -> Probe | None:
        """A quick score while training, beside its baselines; None where there is nothing to measure."""

    def second_stage(self, recipe: Recipe, runtime: Runtime, rng: torch.Generator, watch: Watch) -> None:
        """What the recipe trains after the last step; only where it has such a stage."""
