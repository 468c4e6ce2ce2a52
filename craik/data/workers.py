"""Decoding in worker processes that share nothing with the parent but two pipes.

They are plain `python -m craik.data.workers` processes: they do not run the user's script again, need no
/dev/shm, work from a notebook, load no torch, and end when the parent does. Where processes cannot be
started, threads do the work.
"""

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, TypeVar

import numpy as np
from PIL import Image

from craik.data.decode import UnreadableImage, decode_canvas, quiet_pillow

CRASHED = "the decoder crashed on it"
Raw = bytes | Path | Image.Image
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Task(Protocol[R_co]):
    """Work for a worker; it and its result are pickled, and its class may not need torch."""

    def run(self) -> R_co:
        """Does the work; a file that cannot be read is told in the result."""

    def parts(self) -> Sequence[Self]:
        """The same work in pieces as small as they get, to find the one that ends a worker."""

    def crashed(self) -> R_co:
        """The result of a smallest piece that ended its worker."""

    def join(self, results: Sequence[Any]) -> R_co:
        """The result of the whole from those of its parts."""


@dataclass(frozen=True, slots=True)
class Job:
    """Some images to decode.

    Attributes:
        rows: where each belongs in the store.
        raws: the bytes or the path of each file.
        side: S, the side of the canvas [px].
        store: an .npy file uint8 [N, S, S, 3] that takes the pixels; None when they are not to be stored.
        want_pixels: whether the pixels come back in `Done`.
    """

    rows: tuple[int, ...]
    raws: tuple[Raw, ...]
    side: int
    store: str | None = None
    want_pixels: bool = False

    def run(self) -> "Done":
        """Decodes the images in this thread."""
        count = len(self.rows)
        sizes, reasons = np.zeros((count, 2), dtype=np.int32), [""] * count
        pixels = np.zeros((count, self.side, self.side, 3), dtype=np.uint8)
        with quiet_pillow():
            for at, raw in enumerate(self.raws):
                try:
                    pixels[at], sizes[at] = decode_canvas(raw, self.side)
                except UnreadableImage as error:
                    reasons[at] = error.reason
        if self.store is not None:
            store = np.load(self.store, mmap_mode="r+")
            store[np.asarray(self.rows)] = pixels
        return Done(self.rows, sizes, tuple(reasons), pixels if self.want_pixels else None)

    def parts(self) -> "list[Job]":
        """One job for each image."""
        alone = zip(self.rows, self.raws, strict=True)
        return [Job((row,), (raw,), self.side, self.store, self.want_pixels) for row, raw in alone]

    def crashed(self) -> "Done":
        """The result of one image that ended the worker."""
        blank = np.zeros((1, self.side, self.side, 3), dtype=np.uint8) if self.want_pixels else None
        return Done(self.rows, np.zeros((1, 2), dtype=np.int32), (CRASHED,), blank)

    def join(self, results: "Sequence[Done]") -> "Done":
        """One result from those of the parts."""
        pixels = np.concatenate([r.pixels for r in results if r.pixels is not None]) if self.want_pixels else None
        reasons = tuple(reason for result in results for reason in result.reasons)
        return Done(self.rows, np.concatenate([result.sizes for result in results]), reasons, pixels)


@dataclass(frozen=True, slots=True)
class Done:
    """A decoded job: (height, width) int32 [B, 2], a reason or "" for each, and pixels uint8 [B, S, S, 3]."""

    rows: tuple[int, ...]
    sizes: np.ndarray
    reasons: tuple[str, ...]
    pixels: np.ndarray | None


class DecodeWorkers:
    """A pool that carries out tasks, in processes where it can and in threads elsewhere.

    Attributes:
        notes: one line when it had to fall back to threads.
    """

    def __init__(self, num_workers: int, *, processes: bool = True) -> None:
        self.notes: tuple[str, ...] = ()
        self.num_workers = max(num_workers, 1)
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._all: list[_Process] = []
        self._processes = processes and self._start()
        self._threads = ThreadPoolExecutor(self.num_workers, thread_name_prefix="craik-decode")

    def _start(self) -> bool:
        try:
            for _ in range(self.num_workers):
                self._all.append(_Process())
            for process in self._all:
                process.wait_ready()
                self._idle.put(process)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            for process in self._all:
                process.close()
            self._all = []
            self.notes = (f"decoding in threads: worker processes do not start here ({error})",)
            return False
        return True

    def submit(self, task: Task[R]) -> "Future[R]":
        """Starts a task; its result never is an exception because of a file."""
        if self._processes:
            return self._threads.submit(self._run, task)
        return self._threads.submit(task.run)

    def map(self, tasks: Iterable[Task[R]]) -> Iterator[R]:
        """Carries out tasks and gives their results in order, with only a few of them in memory."""
        waiting: list[Future[R]] = []
        for task in tasks:
            waiting.append(self.submit(task))
            if len(waiting) > 2 * self.num_workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()

    def _run(self, task: Task[R]) -> R:
        process = self._idle.get()
        try:
            done: R = process.run(task)
        except (OSError, EOFError, pickle.UnpicklingError):  # the worker died: find the file that kills it
            process.restart()
            done = self._one_by_one(process, task)
        finally:
            self._idle.put(process)
        return done

    def _one_by_one(self, process: "_Process", task: Task[R]) -> R:
        results: list[R] = []
        for part in task.parts():
            try:
                results.append(process.run(part))
            except (OSError, EOFError, pickle.UnpicklingError):
                process.restart()
                results.append(part.crashed())
        return task.join(results)

    def close(self) -> None:
        """Ends the workers."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in self._all:
            process.close()
        self._all = []

    def __enter__(self) -> "DecodeWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Process:
    """One worker process and the two pipes to it; used by one thread at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.child = self._spawn()

    @staticmethod
    def _spawn() -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "craik.data.workers"]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, env=environment)

    def wait_ready(self) -> None:
        if self._receive() != "ready":
            raise EOFError("unexpected answer")

    def run(self, task: Task[Any]) -> Any:
        assert self.child.stdin is not None
        with self.lock:
            pickle.dump(task, self.child.stdin, protocol=5)
            self.child.stdin.flush()
            return self._receive()

    def _receive(self) -> object:
        assert self.child.stdout is not None
        return pickle.load(self.child.stdout)  # written by our own child

    def restart(self) -> None:
        self.close()
        self.child = self._spawn()
        self.wait_ready()

    def close(self) -> None:
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # the pipe of a dead worker
        try:
            self.child.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Carries out tasks until the parent closes the pipe."""
    pickle.dump("ready", answers, protocol=5)
    answers.flush()
    while True:
        try:
            task: Task[Any] = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(task.run(), answers, protocol=5)
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the pipe
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a decoder prints must not mix with the answers
    # The classes have to be pickled under the name by which the parent knows them.
    from craik.data import workers

    workers._serve(sys.stdin.buffer, answers)
