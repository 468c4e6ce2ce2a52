"""Batches of images: shuffled by (seed, epoch) alone, shared among ranks, resumable to the sample."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from craik.errors import UsageError


class Images(Protocol):
    """What a loader needs of a set of images; `ImageData` is one."""

    sizes: np.ndarray
    labels: np.ndarray | None
    name: str
    paths: Sequence[str]

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The canvases of these images, uint8 [B, S, S, 3]."""


@dataclass(frozen=True, slots=True)
class Samples:
    """A batch as it comes from the disk.

    Attributes:
        x: canvases, uint8 [B, 3, S, S].
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
    canvases = torch.from_numpy(np.ascontiguousarray(images.take(indices)))
    return Samples(
        x=canvases.permute(0, 3, 1, 2).contiguous(),
        sizes=torch.from_numpy(np.ascontiguousarray(images.sizes[indices])),
        index=torch.from_numpy(np.array(indices, dtype=np.int64)),
        label=None if images.labels is None else torch.from_numpy(np.ascontiguousarray(images.labels[indices])),
    )


class Loader:
    """An endless stream of batches; a thread reads ahead.

    The order of epoch `e` follows from (seed, e) alone. A global batch is `batch * world` images in a row of
    that order, and each rank takes its own slice of it, so W ranks see together what one process would see
    with a batch W times as large.

    Attributes:
        epoch: the epoch of the next batch.
        step: its number in that epoch.
        wait_s: seconds for which the consumer has waited for data.
    """

    def __init__(
        self,
        images: Images,
        batch: int,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = True,
        shuffle: bool = True,
        prefetch: int = 2,
    ) -> None:
        """Prepares the stream; nothing is read yet.

        Args:
            images: the data.
            batch: images per step and rank.
            seed: of the order.
            rank: of this process.
            world: how many processes share each global batch.
            drop_last: leave out the last, smaller batch of an epoch; several ranks always do.
            shuffle: draw a new order each epoch.
            prefetch: batches to read ahead.

        Raises:
            UsageError: fewer images than one global batch.
        """
        if batch < 1 or not 0 <= rank < world or prefetch < 1:
            raise ValueError(f"batch {batch}, rank {rank} of {world}, prefetch {prefetch} make no loader")
        self.images, self.batch, self.seed, self.rank, self.world = images, batch, seed, rank, world
        self.drop_last, self.shuffle, self.prefetch = drop_last or world > 1, shuffle, prefetch
        self.epoch, self.step, self.wait_s = 0, 0, 0.0
        if not len(self):
            fit = max(1, len(images) // world)
            ranks = f" on {world} processes" if world > 1 else ""
            raise UsageError(
                f"{images.name}: {len(images):,} images do not fill one batch of {batch * world:,}{ranks}. "
                f"Use --batch {fit} or less, or more images."
            )

    def __len__(self) -> int:
        """Steps per epoch."""
        whole, rest = divmod(len(self.images), self.batch * self.world)
        return whole + (1 if rest and not self.drop_last else 0)

    def order(self, epoch: int) -> np.ndarray:
        """The images of an epoch in their order, for all ranks; int64 [N]."""
        if not self.shuffle:
            return np.arange(len(self.images))
        state = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0]
        rng = torch.Generator().manual_seed(int(state) >> 1)
        return torch.randperm(len(self.images), generator=rng).numpy()

    def indices(self, epoch: int, step: int) -> np.ndarray:
        """The images of this rank's batch at a step of an epoch, int64 [B]."""
        return self._slice(self.order(epoch), step)

    def _slice(self, order: np.ndarray, step: int) -> np.ndarray:
        start = (step * self.world + self.rank) * self.batch
        return order[start : start + self.batch]

    def state_dict(self) -> dict[str, int]:
        """Where the next batch is; valid at any moment between two batches."""
        return {"epoch": self.epoch, "step": self.step, "seed": self.seed, "images": len(self.images)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues where `state_dict` was taken; iterate anew afterwards.

        Raises:
            UsageError: the state belongs to other data or to another order.
        """
        here = {"seed": self.seed, "images": len(self.images)}
        for key, value in here.items():
            if state[key] != value:
                raise UsageError(
                    f"{self.images.name}: the run was made with {key} {state[key]}, this is {key} {value}. "
                    "Resume with the data and seed of the run, or start a new one with --out."
                )
        if not 0 <= state["step"] < len(self):
            raise UsageError(
                f"{self.images.name}: the run stopped at step {state['step']} of an epoch of {len(self)} steps. "
                "Resume with the batch size of the run."
            )
        self.epoch, self.step = state["epoch"], state["step"]

    def __iter__(self) -> Iterator[Samples]:
        """Batches without end, from `epoch` and `step` on."""
        batches = self._batches(self.epoch, self.step)
        reader = ThreadPoolExecutor(1, thread_name_prefix="craik-loader")
        try:
            ahead = deque(reader.submit(read_samples, self.images, next(batches)) for _ in range(self.prefetch))
            while True:
                begin = time.perf_counter()
                samples = ahead.popleft().result()
                self.wait_s += time.perf_counter() - begin
                ahead.append(reader.submit(read_samples, self.images, next(batches)))
                self.step += 1
                if self.step == len(self):
                    self.epoch, self.step = self.epoch + 1, 0
                yield samples
        finally:
            reader.shutdown(wait=True, cancel_futures=True)

    def _batches(self, epoch: int, step: int) -> Iterator[np.ndarray]:
        """The images of this rank's batches, int64 [B], without end."""
        while True:
            order = self.order(epoch)
            for number in range(step, len(self)):
                yield self._slice(order, number)
            epoch, step = epoch + 1, 0
