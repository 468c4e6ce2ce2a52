"""One episode in memory, and what has to hold before it is stored: the messages are for the people who made it."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from craik.errors import UsageError


@dataclass(frozen=True, slots=True)
class ActionSpace:
    """Which actions there are."""

    kind: Literal["box", "discrete"]
    size: int
    """A: the numbers in an action, or how many discrete actions there are. A model gets A numbers in either case,
    one-hot where they are discrete."""
    low: tuple[float, ...] | None = None
    """Bounds [A] in units of the environment; None where nobody told them."""
    high: tuple[float, ...] | None = None
    max_norm: float | None = None
    """Greatest length of an action."""

    @property
    def columns(self) -> int:
        """Numbers stored per action: the number of the action itself where they are discrete."""
        return 1 if self.kind == "discrete" else self.size

    def __str__(self) -> str:
        return f"{self.size} discrete actions" if self.kind == "discrete" else f"actions of {self.size}"


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """One episode of N frames. `actions[t]` is taken between frame t and frame t + 1.

    Attributes:
        frames: uint8 [N, H, W, C].
        actions: float [N - 1, A] or [N, A], whose last row says nothing that can be seen; whole numbers [N - 1] or
            [N] where actions are discrete; None without actions.
        states: float [N, K], what a simulator or a robot knows beside the frames.
        rewards: float [N - 1] or [N]; rewards[t] comes of actions[t].
        done: bool [N - 1] or [N]; whether actions[t] ended the episode.
    """

    frames: np.ndarray
    actions: np.ndarray | None = None
    states: np.ndarray | None = None
    rewards: np.ndarray | None = None
    done: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.frames)


def aligned(trajectory: Trajectory, name: str, space: ActionSpace | None = None) -> Trajectory:
    """The same episode as it is stored: every column of N rows, an action, reward or end that is missing NaN or False.

    Args:
        trajectory: As its maker gave it.
        name: What to call it in messages.
        space: The actions there are; by default as many numbers as came.

    Raises:
        UsageError: No frame, numbers of rows that do not go together, another action size, NaN.
    """
    frames = as_pixels(trajectory.frames, name)
    num = len(frames)
    if not num:
        raise UsageError(f"{name}: it has no frame. Leave empty episodes out.")
    if trajectory.states is not None and len(trajectory.states) != num:
        raise UsageError(
            f"{name}: states are {_shape(trajectory.states)} but frames are N={num}; expected one state per frame."
        )
    states = None if trajectory.states is None else np.asarray(trajectory.states, dtype=np.float32).reshape(num, -1)
    return replace(
        trajectory,
        frames=frames,
        actions=None if trajectory.actions is None else _actions(trajectory.actions, num, name, space),
        states=states,
        rewards=None if trajectory.rewards is None else _column(trajectory.rewards, num, np.nan, "rewards", name),
        done=None if trajectory.done is None else _column(trajectory.done, num, 0, "done", name).astype(bool),
    )


def space_of(actions: np.ndarray) -> ActionSpace:
    """The action space that actions look like; whole numbers in one column are discrete."""
    if actions.dtype.kind in "iub" and (actions.ndim == 1 or actions.shape[-1] == 1):
        return ActionSpace("discrete", int(actions.max(initial=0)) + 1)
    return ActionSpace("box", 1 if actions.ndim == 1 else int(actions.shape[-1]))


def as_pixels(frames: np.ndarray, name: str) -> np.ndarray:
    """Frames uint8 [N, H, W, C] of any numbers: whole in 0 to 255, or real in 0 to 1 or in 0 to 255.

    Raises:
        UsageError: Another shape, NaN, or numbers outside these ranges.
    """
    if frames.ndim != 4 or not 1 <= frames.shape[-1] <= 4:
        raise UsageError(f"{name}: frames are {_shape(frames)}; expected [N, height, width, 1 to 4 channels], uint8")
    if frames.dtype == np.uint8:
        return frames
    if frames.dtype.kind not in "iufb":
        raise UsageError(f"{name}: frames are of type {frames.dtype}; expected uint8, or real numbers in 0 to 1")
    if frames.dtype.kind == "f" and not (finite := np.isfinite(frames)).all():
        frame = int(np.argmax(~finite.all(axis=(1, 2, 3))))
        raise UsageError(
            f"{name}: NaN or infinity in the observation of frame {frame}. Observations have to be finite: "
            "look at what made it, or leave the episode out."
        )
    low, high = (float(frames.min()), float(frames.max())) if frames.size else (0.0, 0.0)
    if low < 0 or high > 255:
        raise UsageError(
            f"{name}: observations range from {low:g} to {high:g}; expected 0 to 1, or 0 to 255. "
            "Store frames before they are normalized."
        )
    scale = 255.0 if frames.dtype.kind in "fb" and high <= 1.0 else 1.0
    return np.rint(frames * scale).astype(np.uint8)


def _actions(actions: np.ndarray, num: int, name: str, space: ActionSpace | None) -> np.ndarray:
    """Float32 [N, A], or [N, 1] with numbers of discrete actions."""
    if len(actions) not in (num - 1, num):
        raise UsageError(
            f"{name}: actions are {_shape(actions)} but frames are N={num}; expected N-1 or N actions, "
            "actions[t] taken between frame t and t+1. See craik inspect DATA"
        )
    space = space or space_of(actions)
    rows = actions.reshape(len(actions), int(np.prod(actions.shape[1:]))).astype(np.float32)
    if rows.shape[1] != space.columns:
        raise UsageError(
            f"{name}: actions are {_shape(actions)}, {rows.shape[1]} numbers each, but this data has {space}. "
            "All episodes of a data set share one action size: write these to another folder (-o)."
        )
    if not (good := np.isfinite(rows[: num - 1]).all(axis=1)).all():
        raise UsageError(
            f"{name}: NaN or infinity in the action at frame {int(np.argmin(good))}. Only the last of N actions "
            "may be missing: repair the recording, or leave the episode out."
        )
    known = rows[: num - 1]
    if space.kind == "discrete" and len(known) and not (0 <= known.min() and known.max() < space.size):
        raise UsageError(
            f"{name}: action {known.min():g} to {known.max():g}, but there are {space.size} actions, "
            f"0 to {space.size - 1}. Name the number of actions when the data set is begun."
        )
    last = rows[num - 1 :] if len(rows) == num else np.full((1, rows.shape[1]), np.nan, dtype=np.float32)
    return np.concatenate([known, np.where(np.isfinite(last), last, np.nan)]).astype(np.float32)


def _column(values: np.ndarray, num: int, missing: float, what: str, name: str) -> np.ndarray:
    """Float32 [N] of a column of N or N - 1 values."""
    column = np.asarray(values, dtype=np.float32)
    if len(column) not in (num - 1, num) or column.size != len(column):
        raise UsageError(f"{name}: {what} are {_shape(values)} but frames are N={num}; expected [N-1] or [N]")
    return np.append(column.reshape(-1), np.full(num - len(column), missing, dtype=np.float32))


def _shape(array: np.ndarray) -> str:
    return f"({', '.join(str(n) for n in np.shape(array))})"
