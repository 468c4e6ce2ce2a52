"""Frames of episodes as they are read: raw in a memory map, or JPEG that is decoded when asked for."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from craik.data.episode_layout import Layout
from craik.data.growing import mapped
from craik.errors import UsageError

_FEW = 64  # JPEG frames that are decoded without threads
_THREADS = 4
_MODES = {1: "L", 3: "RGB"}


class Frames(Protocol):
    """Every frame of a data set, by its row."""

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The frames of some rows int64 [...], uint8 [..., H, W, C]."""


class RawFrames:
    """Frames in one memory-mapped array."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.array = mapped(folder / "frames.npy", np.uint8, layout.frame, layout.rows)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The frames of some rows int64 [...], uint8 [..., H, W, C]."""
        return self.array.take(rows, axis=0)


class JpegFrames:
    """Frames that are JPEG files in one memory-mapped file."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.path, self.shape = folder / "frames.jpg", layout.frame
        self.ends = mapped(folder / "jpegs.npy", np.int64, (), layout.rows)
        if not self.path.exists() or self.path.stat().st_size < layout.jpeg_bytes:
            raise UsageError(f"{self.path}: is missing or cut short. Restore it from a copy, or collect it again.")
        self.bytes = np.memmap(self.path, mode="r") if layout.jpeg_bytes else np.empty(0, np.uint8)
        self._threads: ThreadPoolExecutor | None = None

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The frames of some rows int64 [...], uint8 [..., H, W, C].

        Raises:
            UsageError: A frame that is no JPEG of the size that the data has.
        """
        wanted, back = np.unique(rows, return_inverse=True)  # frames of overlapping windows are decoded once
        out = np.empty((len(wanted), *self.shape), dtype=np.uint8)
        jobs = zip(out, wanted.tolist(), strict=True)
        if len(wanted) <= _FEW:
            for place, row in jobs:
                self._decode(place, row)
        else:
            self._threads = self._threads or ThreadPoolExecutor(_THREADS, thread_name_prefix="craik-jpeg")
            list(self._threads.map(lambda job: self._decode(*job), jobs, chunksize=_FEW))
        return out[back.reshape(rows.shape)]

    def _decode(self, place: np.ndarray, row: int) -> None:
        begin = int(self.ends[row - 1]) if row else 0
        try:
            with Image.open(io.BytesIO(self.bytes[begin : int(self.ends[row])].tobytes()), formats=("JPEG",)) as image:
                place[...] = np.asarray(image).reshape(self.shape)
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.path}: frame {row} cannot be read ({error}). Restore it from a copy.") from None


def open_frames(folder: Path, layout: Layout) -> Frames:
    """The frames of a folder of episodes."""
    return RawFrames(folder, layout) if layout.storage == "raw" else JpegFrames(folder, layout)


def as_jpeg(frame: np.ndarray, quality: int) -> bytes:
    """A frame uint8 [H, W, 1 or 3] as a JPEG file."""
    buffer = io.BytesIO()
    picture = frame[..., 0] if frame.shape[-1] == 1 else frame
    Image.fromarray(picture, _MODES[frame.shape[-1]]).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
