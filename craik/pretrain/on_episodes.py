"""Windows of episodes as what a run trains on; a tenth of the episodes is kept back for the scores."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craik.agent.encoded import Watch
from craik.data.episode import Episodes
from craik.data.images import Skipped
from craik.data.stream import Stream
from craik.data.windows import Clips, Windows
from craik.errors import UsageError
from craik.nn.mode import evaluating
from craik.nn.statistics import settled
from craik.pretrain.foresight import make_foresight
from craik.pretrain.options import Data
from craik.recipes import Method
from craik.train.check import CHECK_SEED, Checker
from craik.train.loop import Probe
from craik.train.recipe import Recipe, Window
from craik.train.runtime import Runtime, step_rng

FEW_EPISODES = 20
TRAINED_ON = 0.9  # of the episodes
NUM_FRAMES, NUM_WINDOWS = 384, 128  # that the representation and the predictor are checked on
NUM_SETTLING = 8  # batches that running statistics are measured on


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """Episodes as they are asked for: those to train on, and those kept back."""

    every: Episodes
    train: Episodes
    held: Episodes | None
    """None where a single episode is all there is."""

    @classmethod
    def open(cls, data: Data) -> "Recorded":
        """The episodes of a folder.

        Raises:
            UsageError: If there are none, they are damaged, or options are given that only images have.
        """
        if data.spec() is not None or data.split is not None:
            raise UsageError(f"{data.data} holds episodes, which have no labels and splits: leave these options out")
        every = Episodes.open(data.data)
        if data.limit is not None:
            every = every.subset(np.arange(min(data.limit, len(every))))
        if len(every) == 1:
            return cls(every, every, None)
        return cls(every, *every.split(TRAINED_ON))


@dataclass(frozen=True, slots=True)
class OnEpisodes:
    """A `Material` of windows."""

    recorded: Recorded
    windows: Windows
    unit: str = "windows"
    skipped: Sequence[Skipped] = ()

    @classmethod
    def of(cls, recorded: Recorded, window: Window) -> "OnEpisodes":
        """Windows of the episodes to train on.

        Raises:
            UsageError: If their actions are of another size, or no episode is long enough.
        """
        episodes = recorded.train
        if episodes.action_size != window.action_size:
            raise UsageError(
                f"{episodes.name}: actions of {episodes.action_size} numbers, but the model takes "
                f"{window.action_size}. Give it the data it was made for, or start a new run on this data: "
                f"craik train RECIPE --data {episodes.name} --out DIR"
            )
        return cls(recorded, Windows(episodes, window.frames, window.skip))

    @property
    def fingerprint(self) -> str:
        """The same for the same episodes."""
        return self.recorded.every.fingerprint

    def __len__(self) -> int:
        return len(self.windows)

    def summary(self) -> str:
        """One line for people."""
        return self.recorded.every.summary()

    def notes(self) -> Iterator[str]:
        """Whether there is enough of it."""
        num = len(self.recorded.every)
        if self.recorded.held is None:
            yield "1 episode: none can be kept back, so there will be no scores. Collect more: craik collect --help"
        elif num < FEW_EPISODES:
            yield f"{num} episodes: a world model will hardly generalize. Collect more: craik collect --help"

    def stream(self, batch: int, seed: int, rank: int, world: int) -> Stream[Clips]:
        """Shuffled batches without end."""
        return Stream(self.windows, batch, seed=seed, rank=rank, world=world)

    def some(self, num: int) -> Clips:
        """The first few windows."""
        return self.windows.read(np.arange(min(num, len(self))))

    def checker(self, recipe: Recipe, runtime: Runtime) -> Checker:
        """Looks at frames and windows spread over the data."""
        episodes = self.windows.episodes
        rows = episodes.every_row[spread(episodes.num_frames, NUM_FRAMES)]
        frames = torch.from_numpy(episodes.frames.read(rows)).permute(0, 3, 1, 2)
        clips = self.windows.read(spread(len(self), NUM_WINDOWS))
        return Checker.on(recipe, runtime, recipe.view.show(frames), clips)

    def settled(self, recipe: Recipe, runtime: Runtime) -> AbstractContextManager[None]:
        """With running statistics measured anew: while a world model trains they lag far behind."""
        return settled(recipe.model, partial(self.settle, recipe, runtime))

    def settle(self, recipe: Recipe, runtime: Runtime) -> None:
        """The same few batches every time through the model."""
        batches = self.stream(recipe.batch // runtime.world, CHECK_SEED, runtime.rank, runtime.world)
        for number in range(min(NUM_SETTLING, len(batches))):
            clips = self.windows.read(batches.indices(0, number)).to(runtime.device)
            with runtime.autocast():
                recipe.model(recipe.prepare(clips, step_rng(CHECK_SEED, number)).to(runtime.device), number)

    def probe(self, method: Method, record: dict[str, Any], recipe: Recipe, runtime: Runtime) -> Probe | None:
        """Imagined futures beside copying the last frame, and true states beside a random encoder."""
        held = self.recorded.held
        return None if held is None else make_foresight(method, record, recipe, self.recorded.train, held, runtime)

    def second_stage(self, recipe: Recipe, runtime: Runtime, rng: torch.Generator, watch: Watch) -> None:
        """On the episodes to train on."""
        assert recipe.second_stage is not None

        @torch.no_grad()
        def encode(frames: Tensor) -> Tensor:
            with runtime.autocast():
                latents: Tensor = recipe.model.encode(recipe.view.show(frames.to(runtime.device)).unsqueeze(1))
            return latents[:, 0].float()

        with evaluating(recipe.model):
            recipe.second_stage(recipe.model, self.recorded.train, encode, rng, watch)


def spread(total: int, num: int) -> np.ndarray:
    """Numbers of `num` samples spread evenly over `total`, int64."""
    return np.linspace(0, total - 1, min(num, total)).astype(np.int64)
