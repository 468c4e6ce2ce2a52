"""Every image of a source decoded once, into a memory-mapped file that the next run finds again."""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from craik.data.listing import Source, digest
from craik.data.workers import DecodeWorkers, Done, Job
from craik.errors import UsageError

VERSION = "1"  # of the decoding: raise it when the same file would give other pixels
MAX_CACHE = 16 << 30  # beyond this the images are decoded again whenever they are used [bytes]
IN_PROCESS = 64  # sets up to this many images are decoded by threads: processes take longer to start
IN_MEMORY = 64 << 20  # of these sets, the ones that also fit here are not kept on the disk [bytes]
_PATIENCE = 2.0  # seconds before a progress bar appears


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """All images of a source.

    Attributes:
        pixels: uint8 [N, S, S, 3]: an array, a memory map, or `LazyPixels`; zero where unreadable.
        sizes: int32 [N, 2], (height, width) of the upright originals [px].
        reasons: for each image why it cannot be read, or "".
        notes: lines for people.
    """

    pixels: "np.ndarray | LazyPixels"
    sizes: np.ndarray
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()


class LazyPixels:
    """Canvases that are decoded whenever they are asked for, for sets too large to keep decoded."""

    def __init__(self, source: Source, side: int, num_workers: int) -> None:
        self.source = source
        self.shape = (len(source), side, side, 3)
        self.num_workers = num_workers
        self._workers: DecodeWorkers | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Decodes images, uint8 [B, S, S, 3].

        Raises:
            UsageError: a file that could be read before cannot be read any more.
        """
        if self._workers is None:
            self._workers = DecodeWorkers(self.num_workers)
        rows = np.atleast_1d(np.asarray(index, dtype=np.int64))
        chunk = max(1, -(-len(rows) // (2 * self.num_workers)))
        jobs = _jobs(self.source, rows, self.shape[1], chunk, want_pixels=True)
        parts = []
        for done in self._workers.map(jobs):
            for row, reason in zip(done.rows, done.reasons, strict=True):
                if reason:
                    raise UsageError(
                        f"{self.source.paths[row]}: could be read before and cannot now ({reason}). "
                        "Keep the data unchanged during a run."
                    )
            assert done.pixels is not None
            parts.append(done.pixels)
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), dtype=np.uint8)

    def close(self) -> None:
        """Ends the workers; the next access starts new ones."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None


def decode_source(
    source: Source,
    side: int,
    *,
    workers: int | None = None,
    cache_dir: str | None = None,
    progress: bool = True,
) -> Decoded:
    """Decodes all images of a source onto canvases of `side` px, or finds them in the cache.

    Sets whose canvases would take more than `MAX_CACHE` or half the free disk are decoded once to find the
    unreadable files, and again whenever they are used.
    """
    num_workers = workers or num_cores()
    total = len(source) * side * side * 3
    if len(source) <= IN_PROCESS and total <= IN_MEMORY:
        return _decode_in_memory(source, side, num_workers, progress)
    folder = cache_folder(cache_dir)
    if folder is None:
        decoded = _decode_in_memory if total <= 4 << 30 else _survey
        return decoded(source, side, num_workers, progress)
    key = digest(VERSION, source.identity, str(side), *source.paths)
    with alone(folder / f"{key}.lock"):
        return _load(folder, key, source, side, num_workers) or _fill(folder, key, source, side, num_workers, progress)


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode_in_memory(source: Source, side: int, num_workers: int, progress: bool) -> Decoded:
    pixels = np.zeros((len(source), side, side, 3), dtype=np.uint8)

    def keep(done: Done) -> None:
        assert done.pixels is not None
        pixels[np.asarray(done.rows)] = done.pixels

    processes = len(source) > IN_PROCESS
    sizes, reasons, notes = _decode_all(source, side, num_workers, progress, keep=keep, processes=processes)
    return Decoded(pixels, sizes, reasons, notes)


def _survey(source: Source, side: int, num_workers: int, progress: bool) -> Decoded:
    """Decodes everything once and keeps only sizes and reasons."""
    sizes, reasons, notes = _decode_all(source, side, num_workers, progress)
    return Decoded(LazyPixels(source, side, num_workers), sizes, reasons, notes)


def _load(folder: Path, key: str, source: Source, side: int, num_workers: int) -> Decoded | None:
    """What the cache holds under a key; None when it holds nothing, or something damaged."""
    try:
        with np.load(folder / f"{key}.npz", allow_pickle=False) as facts:
            sizes, reasons, lazy = facts["sizes"], facts["reasons"], bool(facts["lazy"])
        if lazy:
            pixels: np.ndarray | LazyPixels = LazyPixels(source, side, num_workers)
        else:
            pixels = np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, EOFError):
        return None
    if pixels.shape != (len(source), side, side, 3) or len(sizes) != len(source):
        return None
    return Decoded(pixels, sizes, tuple(reasons.tolist()))


def _fill(folder: Path, key: str, source: Source, side: int, num_workers: int, progress: bool) -> Decoded:
    total = len(source) * side * side * 3
    lazy = total > min(MAX_CACHE, shutil.disk_usage(folder).free // 2)
    if lazy:
        decoded = _survey(source, side, num_workers, progress)
    else:
        with temporary(folder, ".npy") as path:
            shape = (len(source), side, side, 3)
            store = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
            _reserve(path)
            sizes, reasons, notes = _decode_all(source, side, num_workers, progress, store=path)
            store.flush()
            publish(path, folder / f"{key}.npy")
        pixels = np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False)
        decoded = Decoded(pixels, sizes, reasons, notes)
    with temporary(folder, ".npz") as path:
        reasons_array = np.array(decoded.reasons, dtype=np.str_)
        np.savez(path, sizes=decoded.sizes, reasons=reasons_array, lazy=np.array(lazy))
        publish(path, folder / f"{key}.npz")
    return decoded


def _decode_all(
    source: Source,
    side: int,
    num_workers: int,
    progress: bool,
    *,
    store: Path | None = None,
    keep: Callable[[Done], None] | None = None,
    processes: bool = True,
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Decodes everything into `store`, or hands it to `keep`; gives sizes, reasons and notes."""
    sizes, reasons = np.zeros((len(source), 2), dtype=np.int32), [""] * len(source)
    chunk = int(np.clip(len(source) // (8 * num_workers), 1, 256 if side <= 64 else 16))
    jobs = _jobs(source, np.arange(len(source)), side, chunk, store=store, want_pixels=keep is not None)
    with DecodeWorkers(num_workers, processes=processes) as pool, bar(len(source), progress) as advance:
        for done in pool.map(jobs):
            sizes[np.asarray(done.rows)] = done.sizes
            for row, reason in zip(done.rows, done.reasons, strict=True):
                reasons[row] = reason
            if keep is not None:
                keep(done)
            advance(len(done.rows))
        return sizes, tuple(reasons), pool.notes


def _jobs(
    source: Source,
    rows: np.ndarray,
    side: int,
    chunk: int,
    *,
    store: Path | None = None,
    want_pixels: bool = False,
) -> Iterator[Job]:
    for start in range(0, len(rows), chunk):
        part = tuple(int(row) for row in rows[start : start + chunk])
        raws = tuple(source.raw(row) for row in part)
        yield Job(part, raws, side, None if store is None else str(store), want_pixels)


def cache_folder(given: str | None = None, kind: str = "images") -> Path | None:
    """The folder of the cache, made if need be; None where nothing can be written."""
    chosen = given or os.environ.get("CRAIK_CACHE") or "~/.cache/craik"
    folder = Path(chosen).expanduser() / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if given:
            raise UsageError(f"cache folder {given}: cannot be written ({error.strerror}). Name another.") from None
        return None
    return folder if os.access(folder, os.W_OK) else None


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Holds a lock, so that the ranks of one machine decode once and share the result."""
    try:
        import fcntl
    except ImportError:  # Windows: each rank decodes, and the last one wins
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def temporary(folder: Path, suffix: str) -> Iterator[Path]:
    """A file beside its final place, which is gone afterwards unless it was published."""
    handle, name = tempfile.mkstemp(suffix=suffix, prefix=".partial-", dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _reserve(path: Path) -> None:
    """Takes the disk space now: a disk that fills up under a memory map would end the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise UsageError(
                f"{path.parent}: no room for decoded images ({error.strerror}). Set CRAIK_CACHE=FOLDER."
            ) from None


def publish(path: Path, final: Path) -> None:
    """Gives a whole file its final name."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    os.replace(path, final)


@contextlib.contextmanager
def bar(total: int, wanted: bool, noun: str = "images") -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr that appears only when the work takes longer than `_PATIENCE`."""
    begin = time.monotonic()
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(file=sys.stderr), transient=True)
    task = bar.add_task("decoding", total=total, rate="")
    done, shown = 0, False

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        passed = time.monotonic() - begin
        if wanted and not shown and passed > _PATIENCE:
            bar.start()
            shown = True
        bar.update(task, completed=done, rate=f"{done / max(passed, 1e-9):,.0f} {noun}/s")

    try:
        yield advance
    finally:
        if shown:
            bar.stop()
