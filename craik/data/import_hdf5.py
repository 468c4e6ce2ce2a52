"""Recordings in HDF5: arrays at the top, or one group per episode as in data/demo_0/obs/image."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from craik.data.import_arrays import Arrays, from_arrays
from craik.data.recording import NAMES, Columns, Recording
from craik.errors import UsageError

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".h5", ".hdf5", ".he5")


def open_hdf5(files: Sequence[Path], name: str, columns: Columns) -> Recording:
    """Recordings in HDF5 files. The files stay open while they are imported.

    Raises:
        UsageError: h5py is not installed, a file cannot be read, or it holds no frames.
    """
    try:
        import h5py
    except ImportError:
        raise UsageError("reading HDF5 needs h5py: pip install 'craik[envs]'") from None
    groups = []
    for path in files:
        try:
            file = h5py.File(path, "r")
        except OSError as error:
            raise UsageError(f"{path}: not a readable HDF5 file ({error}). Copy or write it again.") from None
        groups += [(f"{path.stem}/{group}".rstrip("/"), arrays) for group, arrays in _groups(file)]
    if not groups:
        raise UsageError(f"{name}: it holds no array at all")
    return from_arrays(groups, name, "HDF5", columns)


def _groups(file: "h5py.File") -> list[tuple[str, Arrays]]:
    """The arrays of each group that holds actions or frames; one group for all of them where they are at the top."""
    import h5py

    found: dict[str, h5py.Dataset] = {}

    def note(path: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.shape:
            found[path] = item

    file.visititems(note)
    tops = sorted({_top(path, found) for path in found}, key=_natural)
    marked = [top for top in tops if any(_last(path) in NAMES["actions"] for path in found if _inside(path, top))]
    return [
        (top, {p[len(top) :].lstrip("/"): a for p, a in found.items() if _inside(p, top)}) for top in marked or tops
    ]


def _top(path: str, found: dict[str, "h5py.Dataset"]) -> str:
    """The nearest folder around an array that holds actions, else the one that the array lies in."""
    parts = path.split("/")[:-1]
    for depth in range(len(parts), -1, -1):
        folder = "/".join(parts[:depth])
        if any(f"{folder}/{usual}".lstrip("/") in found for usual in NAMES["actions"]):
            return folder
    return "/".join(parts)


def _inside(path: str, top: str) -> bool:
    return not top or path.startswith(f"{top}/")


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1].lower()


def _natural(text: str) -> list[tuple[int, str]]:
    """demo_2 comes before demo_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
