"""Batches without end: shuffled by (seed, epoch) alone, shared among ranks, resumable to the sample."""

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch

from craik.errors import UsageError

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class Readable(Protocol[S_co]):
    """What a stream needs of its data."""

    @property
    def name(self) -> str:
        """What people call the data."""

    @property
    def unit(self) -> str:
        """What it is made of, in the plural: images, windows."""

    @property
    def paths(self) -> Sequence[str]:
        """A name of each sample that is shown to people."""

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> S_co:
        """The batch of some samples, int64 [B]."""


class Stream(Generic[S]):
    """An endless stream of batches; a thread reads ahead.

    The order of epoch `e` follows from (seed, e) alone. A global batch is `batch * world` samples in a row of
    that order, and each rank takes its own slice of it, so W ranks see together what one process would see
    with a batch W times as large.

    Attributes:
        epoch: the epoch of the next batch.
        step: its number in that epoch.
        wait_s: seconds for which the consumer has waited for data.
    """

    def __init__(
        self,
        data: Readable[S],
        batch: int,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        prefetch: int = 2,
    ) -> None:
        """Prepares the stream; nothing is read yet.

        Args:
            data: what to read.
            batch: samples per step and rank.
            seed: of the order.
            rank: of this process.
            world: how many processes share each global batch.
            prefetch: batches to read ahead.

        Raises:
            UsageError: fewer samples than one global batch.
        """
        if batch < 1 or not 0 <= rank < world or prefetch < 1:
            raise ValueError(f"batch {batch}, rank {rank} of {world}, prefetch {prefetch} make no loader")
        self.data, self.batch, self.seed, self.rank, self.world = data, batch, seed, rank, world
        self.prefetch = prefetch
        self.epoch, self.step, self.wait_s = 0, 0, 0.0
        if not len(self):
            fit = max(1, len(data) // world)
            ranks = f" on {world} processes" if world > 1 else ""
            raise UsageError(
                f"{data.name}: {len(data):,} {data.unit} do not fill one batch of {batch * world:,}{ranks}. "
                f"Use --batch {fit} or less, or more {data.unit}."
            )

    def __len__(self) -> int:
        """Steps per epoch; a last, smaller batch is left out."""
        return len(self.data) // (self.batch * self.world)

    def order(self, epoch: int) -> np.ndarray:
        """The samples of an epoch in their order, for all ranks; int64 [N]."""
        state = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0]
        rng = torch.Generator().manual_seed(int(state) >> 1)
        return torch.randperm(len(self.data), generator=rng).numpy()

    def indices(self, epoch: int, step: int) -> np.ndarray:
        """The samples of this rank's batch at a step of an epoch, int64 [B]."""
        return self._slice(self.order(epoch), step)

    def _slice(self, order: np.ndarray, step: int) -> np.ndarray:
        start = (step * self.world + self.rank) * self.batch
        return order[start : start + self.batch]

    def state_dict(self) -> dict[str, int]:
        """Where the next batch is; valid at any moment between two batches."""
        return {"epoch": self.epoch, "step": self.step, "seed": self.seed, self.data.unit: len(self.data)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues where `state_dict` was taken; iterate anew afterwards.

        Raises:
            UsageError: the state belongs to other data or to another order.
        """
        here = {"seed": self.seed, self.data.unit: len(self.data)}
        for key, value in here.items():
            if state[key] != value:
                raise UsageError(
                    f"{self.data.name}: the run was made with {key} {state[key]}, this is {key} {value}. "
                    "Resume with the data and seed of the run, or start a new one with --out."
                )
        if not 0 <= state["step"] < len(self):
            raise UsageError(
                f"{self.data.name}: the run stopped at step {state['step']} of an epoch of {len(self)} steps. "
                "Resume with the batch size of the run."
            )
        self.epoch, self.step = state["epoch"], state["step"]

    def __iter__(self) -> Generator[S, None, None]:
        """Batches without end, from `epoch` and `step` on; close it to end the thread."""
        places = self._batches(self.epoch, self.step)
        reader = ThreadPoolExecutor(1, thread_name_prefix="craik-loader")
        try:
            ahead = deque(reader.submit(self.fetch, *next(places)) for _ in range(self.prefetch))
            while True:
                begin = time.perf_counter()
                samples = ahead.popleft().result()
                self.wait_s += time.perf_counter() - begin
                ahead.append(reader.submit(self.fetch, *next(places)))
                self.step += 1
                if self.step == len(self):
                    self.epoch, self.step = self.epoch + 1, 0
                yield samples
        finally:
            reader.shutdown(wait=True, cancel_futures=True)

    def fetch(self, epoch: int, indices: np.ndarray) -> S:
        """Reads the samples of a batch, int64 [B]; what is drawn at random in them may depend on the epoch."""
        return self.data.read(indices)

    def _batches(self, epoch: int, step: int) -> Iterator[tuple[int, np.ndarray]]:
        """The epoch and the samples of this rank's batches, int64 [B], without end."""
        while True:
            order = self.order(epoch)
            for number in range(step, len(self)):
                yield epoch, self._slice(order, number)
            epoch, step = epoch + 1, 0
