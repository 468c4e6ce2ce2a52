"""Episodes: recorded sequences of frames, actions and what is known beside them, read from memory-mapped files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from craik.data.episode_layout import Layout, Moments, read_layout
from craik.data.frames import Frames, open_frames
from craik.data.growing import mapped
from craik.data.listing import digest
from craik.data.trajectory import Trajectory
from craik.errors import UsageError

_LEAST_STD = 1e-6  # of an action that counts as moving


@dataclass(frozen=True, eq=False)
class Episodes:
    """Some episodes of a folder; every array is read from the disk when it is asked for.

    Letters: E episodes, N frames of one of them, A numbers of an action, K of a state.

    Attributes:
        folder: Where they are.
        layout: What the folder holds.
        table: int64 [E, 2], first row and number of frames of each of these episodes.
        numbers: int64 [E], the number of each in the folder.
        frames: Reads frames by row.
        actions: float32 [rows, A] of the whole folder, NaN where there is none; None without actions. Discrete
            actions are [rows, 1] with their numbers.
        states: float32 [rows, K]; None without.
        rewards: float32 [rows]; None without.
        done: bool [rows]; None without.
    """

    folder: Path
    layout: Layout
    table: np.ndarray
    numbers: np.ndarray
    frames: Frames
    actions: np.ndarray | None
    states: np.ndarray | None
    rewards: np.ndarray | None
    done: np.ndarray | None

    @classmethod
    def open(cls, folder: Path | str) -> "Episodes":
        """The episodes of a folder; also while another process adds to it.

        Raises:
            UsageError: There are none, or files are missing, cut short, or do not go together.
        """
        folder = Path(folder).expanduser()
        layout = read_layout(folder)
        if not layout.episodes:
            raise UsageError(f"{folder}: it holds no finished episode yet. Collect some: craik collect --help")
        table = np.array(mapped(folder / "episodes.npy", np.int64, (2,), layout.episodes))
        first, length = table[:, 0], table[:, 1]
        if (length < 1).any() or (first[1:] != first[:-1] + length[:-1]).any() or table[-1].sum() != layout.rows:
            raise UsageError(f"{folder}/episodes.npy: damaged, its episodes are not in a row. Restore it from a copy.")
        columns = {
            name: mapped(folder / f"{name}.npy", dtype, shape, layout.rows)
            for name, (dtype, shape) in layout.columns().items()
            if name not in ("frames", "jpegs")
        }
        names = ("actions", "states", "rewards", "done")
        frames = open_frames(folder, layout)
        return cls(folder, layout, table, np.arange(len(table)), frames, *(columns.get(name) for name in names))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def name(self) -> str:
        """What people call the data."""
        return str(self.folder)

    @property
    def lengths(self) -> np.ndarray:
        """Frames in each episode, int64 [E]."""
        lengths: np.ndarray = self.table[:, 1]
        return lengths

    @property
    def num_frames(self) -> int:
        """Frames of these episodes together."""
        return int(self.lengths.sum())

    @property
    def action_size(self) -> int:
        """A, the numbers that a model gets per action, one-hot where they are discrete; 0 without actions."""
        return 0 if self.layout.action is None else self.layout.action.size

    @property
    def discrete(self) -> bool:
        """Whether actions are numbers of actions."""
        return self.layout.action is not None and self.layout.action.kind == "discrete"

    def subset(self, episodes: Sequence[int] | np.ndarray) -> "Episodes":
        """These episodes alone, in this order."""
        rows = np.asarray(episodes, dtype=np.int64)
        return replace(self, table=self.table[rows], numbers=self.numbers[rows])

    def split(self, fraction: float, seed: int = 0) -> tuple["Episodes", "Episodes"]:
        """Splits whole episodes at random; the first part holds `fraction` of them, and each part at least one.

        Raises:
            UsageError: There is only one episode.
        """
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"fraction has to lie between 0 and 1, not {fraction}")
        if len(self) < 2:
            raise UsageError(f"{self.name}: one episode cannot be split; collect more")
        order = np.random.default_rng(seed).permutation(len(self))
        cut = min(max(round(fraction * len(self)), 1), len(self) - 1)
        return self.subset(np.sort(order[:cut])), self.subset(np.sort(order[cut:]))

    def episode(self, index: int) -> Trajectory:
        """One whole episode, copied into memory; its actions [N, A] as they are stored."""
        rows = self.rows(index)
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        columns = (self.actions, self.states, self.rewards, self.done)
        return Trajectory(self.frames.read(rows), *(None if c is None else np.array(c[part]) for c in columns))

    def rows(self, index: int) -> np.ndarray:
        """The rows of an episode, int64 [N]."""
        first, length = self.table[index].tolist()
        return np.arange(first, first + length)

    @cached_property
    def every_row(self) -> np.ndarray:
        """The rows of all these episodes, int64 [frames]."""
        starts = np.repeat(self.table[:, 0], self.lengths)
        within = np.arange(self.num_frames) - np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)
        every: np.ndarray = starts + within
        return every

    def known_actions(self) -> np.ndarray:
        """Actions taken between two frames of these episodes, float32 [n, A].

        Raises:
            UsageError: One of them is NaN, or there are no actions.
        """
        if self.actions is None:
            raise UsageError(f"{self.name}: it has no actions. Collect or import data with actions.")
        last = np.zeros(self.num_frames, dtype=bool)
        last[np.cumsum(self.lengths) - 1] = True
        found = self.actions[self.every_row[~last]]
        if not (good := np.isfinite(found).all(axis=1)).all():
            at = int(np.repeat(np.arange(len(self)), self.lengths)[~last][np.argmin(good)])
            frame = int(self.every_row[~last][np.argmin(good)] - self.table[at, 0])
            raise UsageError(
                f"{self.name}: NaN in the action of episode {self.numbers[at]}, frame {frame}. "
                f"See craik inspect {self.name}"
            )
        return found

    def action_moments(self) -> Moments:
        """Mean, deviation and range of the actions of these episodes, each [A]: what z-scores need.

        A deviation of zero becomes 1, so that an action that never moves stays zero. Discrete actions, which a model
        gets one-hot, have mean 0 and deviation 1.

        Raises:
            UsageError: There are no actions, or one of them is NaN.
        """
        known = self.known_actions()
        if self.discrete:
            zero, one = (0.0,) * self.action_size, (1.0,) * self.action_size
            return Moments(len(known), zero, one, zero, one)
        moments = Moments.of(known)
        if moments is None:
            raise UsageError(f"{self.name}: no episode has two frames, so there is no action between any")
        return replace(moments, std=tuple(s if s > _LEAST_STD else 1.0 for s in moments.std))

    @cached_property
    def fingerprint(self) -> str:
        """The same for the same episodes on any machine, from their lengths, their actions and some of their frames."""
        some = self.every_row[np.linspace(0, self.num_frames - 1, min(self.num_frames, 64)).astype(np.int64)]
        columns = [c[self.every_row].tobytes() for c in (self.actions, self.states) if c is not None]
        parts = [self.lengths.tobytes(), self.frames.read(some).tobytes(), *columns]
        return digest(str(self.layout.frame), *(digest(part.hex()) for part in parts))

    def summary(self) -> str:
        """One line: `data/: 1,000 episodes, 92,000 frames of 64 x 64 x 3, 92 frames each, actions of 2`."""
        height, width, channels = self.layout.frame
        low, high = int(self.lengths.min()), int(self.lengths.max())
        each = f"{low} frames each" if low == high else f"{low} to {high} frames each"
        actions = "no actions" if self.layout.action is None else str(self.layout.action)
        noun = "episode" if len(self) == 1 else "episodes"
        return (
            f"{self.name}: {len(self):,} {noun}, {self.num_frames:,} frames of {height} x {width} x {channels}, "
            f"{each}, {actions}"
        )
