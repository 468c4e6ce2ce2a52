"""All videos of a source: when their frames are shown, found once and kept; their frames, decoded when asked for."""

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from craik.data.cache import IN_PROCESS, alone, bar, cache_folder, num_cores, publish, temporary
from craik.data.listing import Source, digest
from craik.data.video import Raw, Track, UnreadableVideo, read_frames, survey
from craik.data.workers import CRASHED, DecodeWorkers

VERSION = "1"  # of the survey: raise it when the same file would give another track
Frames = np.ndarray | str
"""Frames uint8 [T, S, S, 3], or why they cannot be read."""


class Footage(Protocol):
    """Videos whose frames can be asked for."""

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """What people call a video."""

    def track(self, row: int) -> Track:
        """When the frames of a video are shown."""

    def read(self, rows: Sequence[int], stamps: Sequence[np.ndarray], side: int) -> list[Frames]:
        """Frames of some videos, of each at the time stamps int64 [T] of its own, on canvases of `side` px."""


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Tracks of many files, in a few arrays.

    Attributes:
        stamps: of all files, one after the other, int64 [sum F].
        stops: where those of each file end, int64 [N].
        ticks: float64 [N].
        ends: int64 [N].
        sizes: (height, width), int32 [N, 2].
        codecs: name of each coding; "" where a file cannot be read.
        reasons: why a file cannot be read, or "".
    """

    stamps: np.ndarray
    stops: np.ndarray
    ticks: np.ndarray
    ends: np.ndarray
    sizes: np.ndarray
    codecs: tuple[str, ...]
    reasons: tuple[str, ...]

    @classmethod
    def gather(cls, found: Sequence[Track | str]) -> "Tracks":
        """Packs tracks, or the reasons why there is none."""
        none = Track(np.zeros(0, np.int64), 1.0, 0, 0, 0, "")
        tracks = [none if isinstance(track, str) else track for track in found]
        return cls(
            stamps=np.concatenate([track.stamps for track in tracks]),
            stops=np.cumsum([len(track) for track in tracks]),
            ticks=np.array([track.tick for track in tracks]),
            ends=np.array([track.end for track in tracks], dtype=np.int64),
            sizes=np.array([(track.height, track.width) for track in tracks], dtype=np.int32),
            codecs=tuple(track.codec for track in tracks),
            reasons=tuple(track if isinstance(track, str) else "" for track in found),
        )

    def __len__(self) -> int:
        return len(self.stops)

    def __getitem__(self, row: int) -> Track:
        stop = int(self.stops[row])
        start = int(self.stops[row - 1]) if row else 0
        height, width = self.sizes[row].tolist()
        return Track(
            self.stamps[start:stop], float(self.ticks[row]), int(self.ends[row]), height, width, self.codecs[row]
        )


@dataclass(frozen=True, slots=True)
class Look:
    """A task for a worker: the tracks of some files."""

    raws: tuple[Raw, ...]

    def run(self) -> list[Track | str]:
        """A track of each file, or why there is none."""
        found: list[Track | str] = []
        for raw in self.raws:
            try:
                found.append(survey(raw))
            except UnreadableVideo as error:
                found.append(error.reason)
        return found

    def parts(self) -> "list[Look]":
        """One look for each file."""
        return [Look((raw,)) for raw in self.raws]

    def crashed(self) -> list[Track | str]:
        """The file ended its worker."""
        return [CRASHED]

    def join(self, results: Sequence[list[Track | str]]) -> list[Track | str]:
        """All in a row."""
        return [track for result in results for track in result]


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """A task for a worker: some frames of one file."""

    raw: Raw
    stamps: np.ndarray
    side: int

    def run(self) -> Frames:
        """Frames uint8 [T, S, S, 3], or why they cannot be read."""
        try:
            return read_frames(self.raw, self.stamps, self.side)
        except UnreadableVideo as error:
            return error.reason

    def parts(self) -> "list[Excerpt]":
        """It is one piece."""
        return [self]

    def crashed(self) -> Frames:
        """The file ended its worker."""
        return CRASHED

    def join(self, results: Sequence[Frames]) -> Frames:
        """It is one piece."""
        return results[0]


class VideoFiles:
    """The videos of a source, as `Footage`; workers start with the first that is read."""

    def __init__(self, source: Source, tracks: Tracks, num_workers: int) -> None:
        self.source, self.tracks, self.num_workers = source, tracks, num_workers
        self._workers: DecodeWorkers | None = None
        self._starting = threading.Lock()

    def __len__(self) -> int:
        return len(self.source)

    def name(self, row: int) -> str:
        """The path of a video."""
        return self.source.paths[row]

    def track(self, row: int) -> Track:
        """When the frames of a video are shown."""
        return self.tracks[row]

    def read(self, rows: Sequence[int], stamps: Sequence[np.ndarray], side: int) -> list[Frames]:
        """Frames of some videos, decoded side by side."""
        with self._starting:
            if self._workers is None:
                self._workers = DecodeWorkers(self.num_workers, processes=len(self.source) > IN_PROCESS)
                self._ending = weakref.finalize(self, self._workers.close)  # with the last who holds the footage
        asked = zip(rows, stamps, strict=True)
        return list(self._workers.map(Excerpt(self.source.raw(row), at, side) for row, at in asked))

    def close(self) -> None:
        """Ends the workers; the next reading starts new ones."""
        with self._starting:
            if self._workers is not None:
                self._ending()
                self._workers = None


def survey_source(
    source: Source, *, workers: int | None = None, cache_dir: str | None = None, progress: bool = True
) -> Tracks:
    """Tracks of all files of a source, or those that the cache has of them.

    Each file is read through once, without decoding more than its first frame and one near its end.
    """
    num_workers = workers or num_cores()
    folder = cache_folder(cache_dir, "videos") if len(source) > IN_PROCESS else None
    if folder is None:
        return _survey(source, num_workers, progress)
    path = folder / f"{digest(VERSION, source.identity, *source.paths)}.npz"
    with alone(path.with_suffix(".lock")):
        tracks = _load(path, len(source))
        if tracks is None:
            tracks = _survey(source, num_workers, progress)
            _save(path, tracks)
    return tracks


def _survey(source: Source, num_workers: int, progress: bool) -> Tracks:
    found: list[Track | str] = []
    chunk = int(np.clip(len(source) // (8 * num_workers), 1, 16))
    looks = (
        Look(tuple(source.raw(row) for row in range(start, min(start + chunk, len(source)))))
        for start in range(0, len(source), chunk)
    )
    pool = DecodeWorkers(num_workers, processes=len(source) > IN_PROCESS)
    with pool, bar(len(source), progress, "videos") as advance:
        for tracks in pool.map(looks):
            found += tracks
            advance(len(tracks))
    return Tracks.gather(found)


def _save(path: Path, tracks: Tracks) -> None:
    arrays: dict[str, Any] = {name: getattr(tracks, name) for name in ("stamps", "stops", "ticks", "ends", "sizes")}
    with temporary(path.parent, ".npz") as partial:
        np.savez(partial, **arrays, codecs=np.array(tracks.codecs), reasons=np.array(tracks.reasons, dtype=np.str_))
        publish(partial, path)


def _load(path: Path, count: int) -> Tracks | None:
    """What the cache holds; None when it holds nothing, or something damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in ("stamps", "stops", "ticks", "ends", "sizes")}
            codecs, reasons = tuple(kept["codecs"].tolist()), tuple(kept["reasons"].tolist())
    except (OSError, ValueError, KeyError, EOFError):
        return None
    tracks = Tracks(**arrays, codecs=codecs, reasons=reasons)
    return tracks if len(tracks) == count == len(reasons) else None
