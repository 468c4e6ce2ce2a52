"""What an import reads: somebody else's recording, one episode at a time, and what its parts are called there."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from craik.data.trajectory import ActionSpace, Trajectory
from craik.errors import UsageError

NAMES: dict[str, tuple[str, ...]] = {
    "frames": (
        "observations",
        "observation",
        "frames",
        "images",
        "image",
        "pixels",
        "obs",
        "rgb",
        "observation.image",
        "image_0",
    ),
    "actions": ("actions", "action", "act"),
    "states": ("states", "state", "observation.state", "proprio", "proprioception", "robot_state", "qpos"),
    "rewards": ("rewards", "reward", "next.reward"),
    "done": ("dones", "done", "terminals", "terminal", "terminated", "next.done", "is_terminal"),
    "episode": ("episode", "episode_index", "episode_id", "ep_idx", "traj", "trajectory", "traj_id"),
    "step": ("step", "frame_index", "step_idx", "t", "timestep"),
}
"""Names that parts of a recording go by, in the order of preference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Names of the parts to import, where they are not the usual ones, and the size of the frames."""

    frames_column: str | None = None
    """Name of the array or column with the frames; one camera of several."""
    action_column: str | None = None
    """Name of the actions."""
    state_column: str | None = None
    """Name of the states."""
    size: int | None = None
    """Scale frames to this side [px]; by default they stay as they are."""

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ValueError(f"--size {self.size}: give at least 1 pixel")

    def wanted(self, role: str) -> str | None:
        """The name that the user gave to frames, actions or states."""
        return {"frames": self.frames_column, "actions": self.action_column, "states": self.state_column}.get(role)

    def find(self, role: str, have: Iterable[str], name: str) -> str | None:
        """Which of these names is the frames, actions, ...: the user's choice, else the most usual; or None.

        A name with folders in it, such as `obs/image`, is known by its last part.

        Raises:
            UsageError: The user named one that is not there.
        """
        names = list(have)
        if (wanted := self.wanted(role)) is not None:
            if wanted in names:
                return wanted
            near = difflib.get_close_matches(wanted, names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            option = {"frames": "frames", "actions": "action", "states": "state"}[role]
            raise UsageError(f"{name}: no {wanted!r} (--{option}-column), but {', '.join(names)}.{hint}")
        by_last = {full.rsplit("/", 1)[-1].lower(): full for full in reversed(names)}
        return next((by_last[usual] for usual in NAMES[role] if usual in by_last), None)


@dataclass(frozen=True, slots=True)
class Recording:
    """Episodes in somebody else's layout."""

    name: str
    layout: str
    """What kind it is: npz, HDF5, parquet, LeRobot 2.1."""
    episodes: Sequence[str]
    """A name for each."""
    read: Callable[[int], Trajectory]
    """Reads one of them."""
    action: ActionSpace | None = None
    """Which actions there are; None lets the first episode decide."""
    state_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    """Lines for people: what was taken, what was left out."""


def taken(layout: str, roles: dict[str, str | None], have: Iterable[str]) -> tuple[str, ...]:
    """What is taken of a recording and what is left out, for people."""
    used = {role: column for role, column in roles.items() if column is not None}
    rest = sorted(set(have) - set(used.values()))
    lines = [f"{layout}: " + ", ".join(f"{role} from {column!r}" for role, column in used.items())]
    if rest:
        lines.append(f"left out: {', '.join(rest[:12])}{', ...' if len(rest) > 12 else ''}")
    if "actions" not in used:
        lines.append("no actions found: name them with --action-column, or train on frames alone")
    return tuple(lines)


def discrete_space(actions: np.ndarray) -> ActionSpace | None:
    """The space of discrete actions of a whole recording; None where they are no whole numbers in one column."""
    if actions.dtype.kind in "iub" and int(np.prod(actions.shape[1:])) == 1 and len(actions):
        return ActionSpace("discrete", int(actions.max()) + 1)
    return None


def resized(frames: np.ndarray, size: int | None) -> np.ndarray:
    """Frames [N, H, W, C] of uint8, scaled to squares of `size` px."""
    if size is None or frames.shape[1:3] == (size, size) or frames.dtype != np.uint8:
        return frames
    out = np.empty((len(frames), size, size, frames.shape[-1]), dtype=np.uint8)
    for place, frame in zip(out, frames, strict=True):
        for channel in range(frame.shape[-1]):
            picture = Image.fromarray(np.ascontiguousarray(frame[..., channel]))
            place[..., channel] = np.asarray(picture.resize((size, size), Image.Resampling.BOX))
    return out
