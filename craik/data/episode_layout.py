"""Episodes on the disk: which files a folder holds, and what its meta.json says.

    DATA/  meta.json      this file's `Layout`; written last and atomically, so what it counts is whole
           episodes.npy   int64 [E, 2]: first row and number of frames of each episode
           frames.npy     uint8 [rows, H, W, C], where frames are stored raw
           frames.jpg     JPEG files one after the other, and jpegs.npy int64 [rows]: where each of them ends
           actions.npy    float32 [rows, A]; [rows, 1] with their numbers where actions are discrete
           states.npy     float32 [rows, K]     optional
           rewards.npy    float32 [rows]        optional
           done.npy       bool [rows]           optional

Row t of an episode is one step: frame t, the state at it, and the action taken between frame t and frame t + 1, with
the reward and the end that came of it. The last action of an episode is NaN where N frames have N - 1 actions. Every
.npy file can be loaded with numpy. A file may be longer than meta.json says while somebody is writing, or after a
writer was killed: readers take as many rows as meta.json counts, and the next writer cuts off the rest.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from craik.data.trajectory import ActionSpace
from craik.errors import UsageError

FORMAT = "craik episodes"
VERSION = 1
META = "meta.json"
FILES = (
    META,
    "episodes.npy",
    "frames.npy",
    "frames.jpg",
    "jpegs.npy",
    "actions.npy",
    "states.npy",
    "rewards.npy",
    "done.npy",
    ".lock",
)
"""Every file that such a folder may hold."""

Storage = Literal["raw", "jpeg"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where some episodes in a row come from."""

    source: str
    """The environment, or the file that was imported."""
    policy: str | None = None
    """random, expert or mixed; None where the data was imported."""
    settings: Mapping[str, Any] | None = None
    """Of environment and policy."""
    seed: int | None = None
    first: int = 0
    """Number of the first episode."""
    wanted: int | None = None
    """How many episodes the data is to hold when the collection is finished."""
    streams: int = 0
    """Streams of random numbers used so far; a collection goes on with the next one."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and deviation of the actions, for z-scores; each [A]. Discrete actions have none."""

    count: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, actions: np.ndarray) -> "Moments | None":
        """Of the rows of actions [n, A] that are numbers; None when there are none."""
        known = actions[np.isfinite(actions).all(axis=1)].astype(np.float64)
        if not len(known):
            return None
        parts = (known.mean(0), known.std(0), known.min(0), known.max(0))
        return cls(len(known), *(tuple(part.tolist()) for part in parts))

    def joined(self, other: "Moments | None") -> "Moments":
        """Of both sets of actions together."""
        if other is None:
            return self
        total, a, b = self.count + other.count, np.array(self.mean), np.array(other.mean)
        share = other.count / total
        mean = a + (b - a) * share
        spread = np.square(self.std) * (1 - share) + np.square(other.std) * share
        std = np.sqrt(spread + np.square(b - a) * share * (1 - share))
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Moments(total, *(tuple(part.tolist()) for part in (mean, std, low, high)))


@dataclass(frozen=True, slots=True)
class Layout:
    """What meta.json says."""

    frame: tuple[int, int, int]
    """Height [px], width [px] and channels."""
    storage: Storage = "raw"
    episodes: int = 0
    rows: int = 0
    """Frames of all episodes together."""
    action: ActionSpace | None = None
    moments: Moments | None = None
    state_names: tuple[str, ...] | None = None
    """What the K columns of states.npy are; None without states."""
    rewards: bool = False
    done: bool = False
    jpeg_bytes: int = 0
    """Bytes of frames.jpg that count."""
    origins: tuple[Origin, ...] = ()

    def columns(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Type and shape of a row of each .npy file but episodes.npy, by its name."""
        found: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        if self.storage == "raw":
            found["frames"] = (np.dtype(np.uint8), self.frame)
        else:
            found["jpegs"] = (np.dtype(np.int64), ())
        if self.action is not None:
            found["actions"] = (np.dtype(np.float32), (self.action.columns,))
        if self.state_names is not None:
            found["states"] = (np.dtype(np.float32), (len(self.state_names),))
        if self.rewards:
            found["rewards"] = (np.dtype(np.float32), ())
        if self.done:
            found["done"] = (np.dtype(bool), ())
        return found


def is_episodes(path: Path | str) -> bool:
    """Whether a folder holds episodes in this layout."""
    meta = Path(path).expanduser() / META
    if not meta.is_file():
        return False
    try:
        content = json.loads(meta.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def read_layout(folder: Path) -> Layout:
    """What the meta.json of a folder says.

    Raises:
        UsageError: No such folder, no episodes in it, or written by a newer version.
    """
    meta = folder / META
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder. Collect data: craik collect two_rooms -n 1000 -o {folder}")
    if not meta.is_file():
        raise UsageError(
            f"{folder}: no episodes here (it has no {META}). Collect some: craik collect two_rooms -n 1000 -o DATA, "
            "or import: craik import SRC -o DATA"
        )
    try:
        content = json.loads(meta.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UsageError(f"{meta}: not of episodes. Import what is here: craik import {folder} -o DATA")
        if content["version"] > VERSION:
            raise UsageError(f"{meta}: version {content['version']}, this craik reads {VERSION}. Update craik.")
        return _decode(content)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{meta}: damaged ({error}). Restore it from a copy, or collect the data again.") from None


def write_layout(folder: Path, layout: Layout) -> None:
    """Writes meta.json, whole or not at all: from here on, what it counts is part of the data."""
    content = {"format": FORMAT, "version": VERSION, **asdict(layout)}
    path, temporary = folder / META, folder / f".{META}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _decode(content: Mapping[str, Any]) -> Layout:
    given = {field.name: content[field.name] for field in fields(Layout)}
    action, moments, names = given["action"], given["moments"], given["state_names"]
    given["frame"] = tuple(int(n) for n in given["frame"])
    given["action"] = None if action is None else ActionSpace(**{k: _frozen(v) for k, v in action.items()})
    given["moments"] = None if moments is None else Moments(**{k: _frozen(v) for k, v in moments.items()})
    given["state_names"] = None if names is None else tuple(names)
    given["origins"] = tuple(Origin(**origin) for origin in given["origins"])
    if given["storage"] not in get_args(Storage) or len(given["frame"]) != 3:
        raise ValueError(f"frames {given['frame']} stored as {given['storage']!r}")
    return Layout(**given)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
