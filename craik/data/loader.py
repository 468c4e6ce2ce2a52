"""Batches of images or clips, as a stream that can be resumed to the sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from craik.data.clips import ClipPixels
from craik.data.images import ImageData
from craik.data.stream import Stream


class Images(Protocol):
    """What a loader needs of a set of images; `ImageData` is one."""

    @property
    def sizes(self) -> np.ndarray:
        """(height, width) of the originals [px], int32 [N, 2]."""

    @property
    def labels(self) -> np.ndarray | None:
        """int64 [N], -1 where an image has none; None without labels."""

    @property
    def name(self) -> str:
        """What people call them."""

    @property
    def paths(self) -> Sequence[str]:
        """A name of each that is shown to people."""

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The canvases of these images, uint8 [B, S, S, 3], or [B, T, S, S, 3] of clips."""


@dataclass(frozen=True, slots=True)
class Samples:
    """A batch as it comes from the disk.

    Attributes:
        x: canvases, uint8 [B, 3, S, S], or [B, T, 3, S, S] of clips.
        sizes: (height, width) of the originals [px], int32 [B, 2].
        index: which images these are, int64 [B].
        label: int64 [B], -1 where an image has none; None without labels.
    """

    x: Tensor
    sizes: Tensor
    index: Tensor
    label: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device | str) -> "Samples":
        """The same batch on a device; copies from pinned memory do not wait."""
        label = None if self.label is None else self.label.to(device, non_blocking=True)
        x, sizes = self.x.to(device, non_blocking=True), self.sizes.to(device, non_blocking=True)
        return Samples(x, sizes, self.index.to(device, non_blocking=True), label)

    def pin_memory(self) -> "Samples":
        """The same batch in page-locked memory."""
        label = None if self.label is None else self.label.pin_memory()
        return Samples(self.x.pin_memory(), self.sizes.pin_memory(), self.index.pin_memory(), label)


def read_samples(images: Images, indices: np.ndarray) -> Samples:
    """Reads some images as a batch: `indices` int64 [B]."""
    return as_samples(images, indices, images.take(indices))


def as_samples(images: Images, indices: np.ndarray, canvases: np.ndarray) -> Samples:
    """A batch of canvases that were read already, uint8 [B, S, S, 3] or [B, T, S, S, 3]."""
    return Samples(
        x=torch.from_numpy(np.ascontiguousarray(np.moveaxis(canvases, -1, -3))),
        sizes=torch.from_numpy(np.ascontiguousarray(images.sizes[indices])),
        index=torch.from_numpy(np.array(indices, dtype=np.int64)),
        label=None if images.labels is None else torch.from_numpy(np.ascontiguousarray(images.labels[indices])),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Images, or clips, as something to make a stream of."""

    images: Images
    unit: str = "images"

    @property
    def name(self) -> str:
        return self.images.name

    @property
    def paths(self) -> Sequence[str]:
        return self.images.paths

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: np.ndarray) -> Samples:
        return read_samples(self.images, indices)


class Loader(Stream[Samples]):
    """An endless stream of batches of images; a thread reads ahead."""

    def __init__(self, images: Images, batch: int, *, seed: int, rank: int = 0, world: int = 1) -> None:
        """Prepares the stream of these images; all arguments are those of `Stream`."""
        super().__init__(_Reader(images), batch, seed=seed, rank=rank, world=world)


class ClipLoader(Stream[Samples]):
    """An endless stream of batches of clips; in each epoch each clip begins at another place of its video."""

    def __init__(self, clips: ImageData, batch: int, *, seed: int, rank: int = 0, world: int = 1) -> None:
        """Prepares the stream of clips as `load_clips` gives them; all arguments are those of `Stream`."""
        super().__init__(_Reader(clips, "clips"), batch, seed=seed, rank=rank, world=world)
        self.clips = clips

    def fetch(self, epoch: int, indices: np.ndarray) -> Samples:
        """Reads a batch of clips from the places that belong to the epoch."""
        pixels = self.clips.pixels
        if not isinstance(pixels, ClipPixels):  # a few chosen clips, which stay where they are
            return self.data.read(indices)
        canvases, rows = pixels.draw(indices, self.seed, epoch)
        return as_samples(self.clips, rows, canvases)
