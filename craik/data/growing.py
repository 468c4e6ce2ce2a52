"""A .npy file that grows: rows are appended, and count from the moment they are committed."""

import io
import os
import struct
from pathlib import Path

import numpy as np

from craik.errors import UsageError

HEADER = 128
"""Bytes before the first row of every file written here, as numpy itself writes them for such arrays."""


def header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The head of a .npy file, `HEADER` bytes whatever the number of rows, so that it can be rewritten in place."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    body = text.ljust(HEADER - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body.encode("latin1")


class GrowingArray:
    """Rows of one shape, appended to a .npy file that numpy can load at any time.

    Attributes:
        path: The file.
        count: Rows in it, those included that are not committed.
    """

    def __init__(self, path: Path, dtype: np.dtype | type, shape: tuple[int, ...], count: int = 0) -> None:
        """Opens the file with its first `count` rows; what lies behind them is cut off.

        Args:
            path: The file; made when `count` is 0.
            dtype: Of the numbers.
            shape: Of one row.
            count: Rows to keep.

        Raises:
            UsageError: The file is shorter than that.
        """
        self.path, self.dtype, self.shape, self.count = path, np.dtype(dtype), shape, count
        self._row_bytes = self.dtype.itemsize * int(np.prod(shape))
        if count and (not path.exists() or path.stat().st_size < self._size(count)):
            raise UsageError(f"{path}: shorter than the {count:,} rows it has to hold. Restore it from a copy.")
        self._file = open(path, "r+b" if count else "w+b")
        self._file.write(header(self.dtype, (count, *shape)))
        self.rewind(count)

    def append(self, rows: np.ndarray) -> None:
        """Adds rows [n, ...]; they do not count before `commit`."""
        if rows.shape[1:] != self.shape:
            raise ValueError(f"rows of {rows.shape[1:]} do not fit {self.path.name} with rows of {self.shape}")
        self._file.write(np.ascontiguousarray(rows, dtype=self.dtype).data)
        self.count += len(rows)

    def rewind(self, count: int) -> None:
        """Drops the rows behind the first `count`."""
        self._file.flush()
        self._file.truncate(self._size(count))
        self._file.seek(0, io.SEEK_END)
        self.count = count

    def commit(self) -> None:
        """Writes the rows to the disk, then their number into the head of the file."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.seek(0)
        self._file.write(header(self.dtype, (self.count, *self.shape)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.seek(0, io.SEEK_END)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _size(self, count: int) -> int:
        return HEADER + count * self._row_bytes


def mapped(path: Path, dtype: np.dtype | type, shape: tuple[int, ...], count: int) -> np.ndarray:
    """The first `count` rows of such a file, memory-mapped for reading; [count, *shape].

    Raises:
        UsageError: The file is absent, or shorter than that.
    """
    size = HEADER + count * np.dtype(dtype).itemsize * int(np.prod(shape))
    if not path.exists() or path.stat().st_size < size:
        state = "is missing" if not path.exists() else f"is cut short ({path.stat().st_size:,} of {size:,} bytes)"
        raise UsageError(f"{path}: {state}. Restore it from a copy, or collect the data again with --overwrite.")
    if not count:
        return np.empty((0, *shape), dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=HEADER, shape=(count, *shape)))
