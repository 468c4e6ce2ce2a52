"""Progress of a collection or an import, for people: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PATIENCE = 1.0  # seconds before anything is shown
_PLAIN = 15.0  # seconds between plain lines


class Bar:
    """Episodes done, frames (or another unit) per second and the time left, on standard error."""

    def __init__(self, what: str, unit: str = "frames") -> None:
        """Names the work; nothing is shown yet."""
        self.what, self.unit = what, unit
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
        self._bar.update(self._task, completed=episodes, total=wanted, rate=f"{rate:,.0f} {self.unit}/s")
        if self._console.is_terminal and not self._shown and now - self._began > _PATIENCE:
            self._bar.start()
            self._shown = True
        elif not self._console.is_terminal and now - self._told > _PLAIN:
            self._told = now
            new = episodes - self._first
            left = f"about {(now - self._began) / new * (wanted - episodes):,.0f} s" if new else "unknown time"
            line = f"{self.what}: {episodes:,} of {wanted:,} episodes, {rate:,.0f} {self.unit}/s, {left} left"
            self._console.print(line, markup=False)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._bar.stop()
