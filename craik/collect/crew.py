"""Jobs done by several processes, and handed back in order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from craik.collect.simulate import Done, Job, Simulator, simulate
from craik.errors import CraikError

Make = Callable[[], Simulator]
"""Makes an environment; it can be pickled, so that any process does."""

_world: Simulator | None = None  # of this process, where it is a worker


def carry_out(jobs: Iterable[Job], make: Make, workers: int, stop: Callable[[], bool]) -> Iterator[Done]:
    """Does jobs in `workers` processes, or in this one; results come in the order of the jobs.

    Args:
        jobs: What to do.
        make: Makes the world.
        workers: How many processes; 1 does everything here.
        stop: Asked before each job; from then on only jobs that are under way are finished.

    Raises:
        CraikError: A process died, for example because memory ran out.
    """
    if workers == 1:
        world = make()
        for each in jobs:
            if stop():
                return
            yield simulate(world, each)
        return
    waiting: deque[Future[Done]] = deque()
    source = iter(jobs)
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    with ProcessPoolExecutor(workers, multiprocessing.get_context(kind), begin, (make,)) as pool:
        try:
            while True:
                while len(waiting) < workers + 1 and not stop() and (job := next(source, None)) is not None:
                    waiting.append(pool.submit(work, job))
                if not waiting:
                    return
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise CraikError(
                "a worker process ended by itself, most likely for lack of memory. What was finished is kept; "
                "go on with fewer of them: --workers 1"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def begin(make: Make) -> None:
    """Makes a worker ready. Ctrl-C is for its parent, which lets it finish the job; it ends when the parent does."""
    global _world
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _world = make()


def _end_with_parent() -> None:
    """A parent that was killed cannot tell its workers, which would wait for jobs for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def work(job: Job) -> Done:
    """Does a job in a worker."""
    assert _world is not None
    return simulate(_world, job)


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
