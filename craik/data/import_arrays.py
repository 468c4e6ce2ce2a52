"""Recordings that are named arrays, as in .npz and HDF5: an episode, a batch of them, or their rows in a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np

from craik.data.recording import Columns, Recording, discrete_space, resized, taken
from craik.data.trajectory import Trajectory, as_pixels
from craik.errors import UsageError

ENDS = ("episode_ends", "ep_ends")
LENGTHS = ("episode_lengths", "ep_len", "lengths", "traj_lengths")
CUTS = ("timeouts", "truncated", "truncations")
ROLES = ("frames", "actions", "states", "rewards", "done")


class Array(Protocol):
    """A numpy array, or a data set of an HDF5 file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> np.dtype:
        """Its type."""

    def __getitem__(self, index: Any) -> Any: ...


Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an episode is: in which arrays, and which part of them."""

    name: str
    arrays: Arrays
    row: int | None
    """Of a batch [E, T, ...]; None where the arrays hold rows [N, ...]."""
    part: slice


def open_npz(files: Sequence[Path], name: str, columns: Columns) -> Recording:
    """Recordings in .npz files, each with one or more episodes.

    Raises:
        UsageError: A file that cannot be read, or that holds no frames.
    """
    return from_arrays([(path.stem, _load(path)) for path in files], name, "npz", columns)


def from_arrays(groups: Sequence[tuple[str, Arrays]], name: str, layout: str, columns: Columns) -> Recording:
    """A recording from groups of named arrays that all have the same names.

    Raises:
        UsageError: There are no frames, or the arrays of a group do not go together.
    """
    first = groups[0][1]
    roles = {role: columns.find(role, first, name) for role in ROLES}
    if roles["frames"] is None or not _is_video(first[roles["frames"]].shape):
        roles["frames"] = columns.frames_column or _only_video(first, name)
    places = [place for group, arrays in groups for place in _places(arrays, roles, group, name)]
    action = roles["actions"]
    space = None
    if action is not None and first[action].dtype.kind in "iub":
        space = discrete_space(np.concatenate([np.asarray(arrays[action][:]).reshape(-1, 1) for _, arrays in groups]))

    def read(index: int) -> Trajectory:
        place = places[index]
        part = {role: _cut(place, column, role) for role, column in roles.items()}
        frames = channels_last(np.asarray(part["frames"]))
        if columns.size is not None:
            frames = resized(as_pixels(frames, place.name), columns.size)
        return Trajectory(frames, *(part[role] for role in ROLES[1:]))

    return Recording(name, layout, [p.name for p in places], read, space, None, taken(layout, roles, first))


def channels_last(frames: np.ndarray) -> np.ndarray:
    """Frames [..., H, W, C] of frames with channels first or last, or of gray ones [N, H, W]."""
    if frames.ndim == 3:
        return frames[..., None]
    return frames if frames.shape[-1] <= 4 else np.moveaxis(frames, -3, -1)


def _is_video(shape: tuple[int, ...]) -> bool:
    return len(shape) in (4, 5) and (shape[-1] <= 4 or shape[-3] <= 4)


def _only_video(arrays: Arrays, name: str) -> str:
    """The array that can only be frames."""
    found = [key for key, array in arrays.items() if _is_video(array.shape)]
    if found:
        return found[0]
    have = ", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items())
    raise UsageError(
        f"{name}: no frames, but {have}. Expected an array [frames, height, width, 3] or "
        "[episodes, frames, height, width, 3], named observations, frames or images, or by --frames-column."
    )


def _places(arrays: Arrays, roles: Mapping[str, str | None], group: str, name: str) -> list[Place]:
    """The episodes of a group of arrays."""
    column = roles["frames"]
    if column is None or column not in arrays:
        raise UsageError(f"{name}: {group} has no {column!r}, but {', '.join(arrays)}. All files need the same names.")
    shape = arrays[column].shape
    if len(shape) == 5:
        lengths = _given(arrays, LENGTHS)
        ends = np.full(shape[0], shape[1]) if lengths is None else lengths
        parts = [slice(None) if end == shape[1] else slice(0, int(end)) for end in ends]
        return [Place(f"{group} episode {row}", arrays, row, part) for row, part in enumerate(parts)]
    if len(shape) not in (3, 4):
        raise UsageError(f"{name}: {column!r} is {list(shape)}; expected [frames, height, width, channels]")
    cuts = _ends(arrays, roles, shape[0], name)
    if len(cuts) == 1:
        return [Place(group, arrays, None, slice(None))]
    for role in ROLES[1:]:
        rows = arrays[key].shape[0] if (key := roles[role]) is not None else shape[0]
        if rows != shape[0]:
            raise UsageError(
                f"{name}: {role} are {list(arrays[str(key)].shape)} but frames are {shape[0]} rows of "
                f"{len(cuts)} episodes; expected one row per frame, actions[t] taken between frame t and t+1. "
                "See craik inspect DATA"
            )
    starts = [0, *cuts[:-1]]
    return [
        Place(f"{group} episode {number}", arrays, None, slice(begin, end))
        for number, (begin, end) in enumerate(zip(starts, cuts, strict=True))
    ]


def _ends(arrays: Arrays, roles: Mapping[str, str | None], rows: int, name: str) -> list[int]:
    """The row behind each episode, of rows that are laid one after the other."""
    if (ends := _given(arrays, ENDS)) is None and (lengths := _given(arrays, LENGTHS)) is not None:
        ends = np.cumsum(lengths)
    if ends is None and (number := Columns().find("episode", arrays, name)) is not None:
        numbers = np.asarray(arrays[number][:]).reshape(-1)
        ends = np.append(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1, rows)
    if ends is None:
        flags = [f for f in (_given(arrays, CUTS), _given(arrays, (roles["done"] or "",))) if f is not None]
        if flags and all(len(f) == rows for f in flags):
            last = np.any([f.astype(bool) for f in flags], axis=0)
            ends = np.unique(np.append(np.flatnonzero(last) + 1, rows))
    if ends is None:
        return [rows]
    ends = ends.astype(np.int64)
    if not len(ends) or ends[-1] != rows or (np.diff(ends, prepend=0) < 0).any():
        raise UsageError(
            f"{name}: the ends of the episodes go to row {ends[-1] if len(ends) else 0} of {rows} rows. "
            "Expected the last episode to end with the last frame."
        )
    return [int(end) for end in np.unique(ends)]


def _given(arrays: Arrays, names: Sequence[str]) -> np.ndarray | None:
    found = next((array for key, array in arrays.items() if key.rsplit("/", 1)[-1] in names), None)
    return None if found is None else np.asarray(found[:]).reshape(-1)


def _cut(place: Place, column: str | None, role: str) -> np.ndarray | None:
    """The part of an array that belongs to an episode."""
    if column is None:
        return None
    if column not in place.arrays:
        raise UsageError(f"{place.name}: no {column!r}, but {', '.join(place.arrays)}. All episodes need the same.")
    array = place.arrays[column]
    if place.row is None:
        return np.asarray(array[place.part])
    if array.shape[0] <= place.row:
        raise UsageError(f"{place.name}: {role} are {list(array.shape)}, which are fewer episodes than frames have")
    return np.asarray(array[place.row][place.part])


def _load(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise UsageError(f"{path}: not a readable .npz file ({error}). Write it again with np.savez.") from None
