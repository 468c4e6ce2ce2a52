"""Progress of a collection or an import, for people: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PATIENCE = 1.0  # seconds before anything is shown
_PLAIN = 15.0  # seconds between plain lines


class Bar:
    """Episodes done, frames per second and the time left, on standard error."""

    def __init__(self, what: str) -> None:
        """Names the work; nothing is shown yet."""
        self.what = what
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
        self._task = self._bar.add_task(what, total=None, rate="")
        self._began = self._told = time.monotonic()
        self._first: int | None = None
        self._shown = False

    def advance(self, episodes: int, wanted: int, frames: int) -> None:
        """Shows how far it is."""
        self._first = episodes if self._first is None else self._first
        now = time.monotonic()
        rate = frames / max(now - self._began, 1e-9)
        self._bar.update(self._task, completed=episodes, total=wanted, rate=f"{rate:,.0f} frames/s")
        if self._console.is_terminal and not self._shown and now - self._began > _PATIENCE:
            self._bar.start()
            self._shown = True
        elif not self._console.is_terminal and now - self._told > _PLAIN:
            self._told = now
            left = (now - self._began) / max(episodes - self._first, 1) * (wanted - episodes)
            line = f"{self.what}: {episodes:,} of {wanted:,} episodes, {rate:,.0f} frames/s, about {left:,.0f} s left"
            self._console.print(line, markup=False)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._bar.stop()
