"""Windows of episodes: T frames in a row, a frame skip apart, with every action between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craik.data.episode import Episodes
from craik.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """A batch of windows as it comes from the disk.

    Letters: B windows, T frames of each, s the frame skip, A numbers of an action, K of a state.

    Attributes:
        frames: uint8 [B, T, C, H, W].
        index: which windows these are, int64 [B].
        actions: float32 [B, T - 1, s * A]: all s actions between two frames, one after the other, in units of the
            environment; discrete ones one-hot. None where the data has no actions.
        states: of the frames, float32 [B, T, K]; None without.
        rewards: sum of the rewards between two frames, float32 [B, T - 1]; None without.
        done: whether the episode ended between two frames, bool [B, T - 1]; None without.
    """

    frames: Tensor
    index: Tensor
    actions: Tensor | None = None
    states: Tensor | None = None
    rewards: Tensor | None = None
    done: Tensor | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device | str) -> "Clips":
        """The same batch on a device; copies from pinned memory do not wait."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Clips":
        """The same batch in page-locked memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Clips":
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(t) for name, t in tensors.items() if t is not None})


@dataclass(frozen=True, eq=False)
class Windows:
    """Every window of some episodes; `Stream(windows, batch, seed=...)` draws them at random.

    A window of T frames with skip s spans (T - 1) * s + 1 frames of one episode. Actions are gathered densely:
    between two frames lie s actions, and all of them belong to the window.

    Attributes:
        episodes: the data.
        frames: T, frames of a window.
        skip: s, frames of the episode from one frame of the window to the next.
        every: frames from the start of a window to that of the next one.
    """

    episodes: Episodes
    frames: int
    skip: int = 1
    every: int = 1

    def __post_init__(self) -> None:
        if min(self.frames, self.skip, self.every) < 1:
            raise ValueError(f"frames {self.frames}, skip {self.skip}, every {self.every}: each has to be at least 1")
        if not len(self):
            raise UsageError(
                f"{self.episodes.name}: no episode has the {self.span} frames that {self.frames} frames with skip "
                f"{self.skip} span; the longest has {int(self.episodes.lengths.max())}. Use fewer frames, a smaller "
                "skip, or longer episodes."
            )
        if self.episodes.actions is not None:
            self.episodes.known_actions()  # a NaN among them is told now, not in the middle of a run

    @property
    def unit(self) -> str:
        """What a stream of it is made of."""
        return "windows"

    @property
    def name(self) -> str:
        """What people call the data."""
        return self.episodes.name

    @property
    def span(self) -> int:
        """Frames of the episode from the first to the last of a window."""
        return (self.frames - 1) * self.skip + 1

    @property
    def action_size(self) -> int:
        """The s * A numbers between two frames of a window; 0 without actions."""
        return self.skip * self.episodes.action_size

    @cached_property
    def ends(self) -> np.ndarray:
        """Windows of each episode and of all before it, int64 [E]."""
        return np.cumsum(np.maximum(self.episodes.lengths - self.span + self.every, 0) // self.every)

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def paths(self) -> Sequence[str]:
        """A name for each window that is shown to people."""
        return _Names(self)

    def locate(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """In which of the episodes each window is, int64 [B], and at which frame of it it begins, int64 [B]."""
        episode = np.searchsorted(self.ends, indices, side="right")
        before = np.where(episode > 0, self.ends[episode - 1], 0)
        return episode, (indices - before) * self.every

    def rows(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where some windows lie in the folder: rows of their frames [B, T], and of all actions [B, (T - 1) * s]."""
        episode, start = self.locate(np.asarray(indices, dtype=np.int64))
        first = (self.episodes.table[episode, 0] + start)[:, None]
        return first + np.arange(0, self.span, self.skip), first + np.arange(self.span - 1)

    def read(self, indices: np.ndarray) -> Clips:
        """The batch of some windows, int64 [B].

        Raises:
            UsageError: A frame that cannot be read.
        """
        data = self.episodes
        seen, between = self.rows(indices)
        # numpy's transpose is a third faster here than a permutation by torch.
        frames = np.ascontiguousarray(data.frames.read(seen).transpose(0, 1, 4, 2, 3))
        blocks = (len(indices), self.frames - 1, self.skip)
        return Clips(
            frames=torch.from_numpy(frames),
            index=torch.from_numpy(np.array(indices, dtype=np.int64)),
            actions=None if data.actions is None else self.blocks(data.actions[between]),
            states=None if data.states is None else torch.from_numpy(data.states[seen]),
            rewards=None if data.rewards is None else torch.from_numpy(data.rewards[between].reshape(blocks).sum(-1)),
            done=None if data.done is None else torch.from_numpy(data.done[between].reshape(blocks).any(-1)),
        )

    def blocks(self, actions: np.ndarray) -> Tensor:
        """From stored actions [B, (T - 1) * s, columns] to [B, T - 1, s * A], discrete ones one-hot."""
        found = torch.from_numpy(actions)
        if self.episodes.discrete:
            found = torch.nn.functional.one_hot(found[..., 0].long(), self.episodes.action_size).float()
        return found.reshape(len(actions), self.frames - 1, self.action_size)


@dataclass(frozen=True, slots=True)
class _Names(Sequence[str]):
    """Names of windows, made when they are asked for."""

    windows: Windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: Any) -> Any:
        episode, start = self.windows.locate(np.array([index]))
        return f"episode {self.windows.episodes.numbers[episode[0]]}, frame {start[0]}"
