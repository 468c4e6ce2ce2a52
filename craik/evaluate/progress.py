"""A progress bar for work that turns out to be long, and nothing for work that does not."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PATIENCE = 2.0  # how long a command may be silent [s]
_T = TypeVar("_T")


def watch(items: Iterable[_T], total: int, label: str, *, enabled: bool) -> Iterator[_T]:
    """Yield the items; once they take longer than `PATIENCE`, show a bar on standard error."""
    if not enabled:
        yield from items
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(label, total=total)
    begin, shown = time.monotonic(), False
    try:
        for done, item in enumerate(items, start=1):
            yield item
            if not shown and time.monotonic() - begin > PATIENCE:
                bar.start()
                shown = True
            bar.update(task, completed=done)
    finally:
        if shown:  # stopping a bar that never began prints an empty line
            bar.stop()
