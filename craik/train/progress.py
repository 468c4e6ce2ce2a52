"""The progress of a run, for people: a live line on a terminal, plain lines elsewhere."""

import sys
import time
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


def clock(seconds: float) -> str:
    """Seconds as 41:07 or 3:20:05."""
    minutes, s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes:02}:{s:02}"


@dataclass(frozen=True, slots=True)
class Status:
    """What the progress line shows."""

    step: int
    total: int
    epoch: float
    loss: float
    terms: dict[str, float]
    rank: float | None
    width: int | None
    verdict: str
    probe: str
    rate: float
    """Samples per second."""
    unit: str
    """What a sample is, in the plural."""
    wait_share: float
    left_s: float

    def __str__(self) -> str:
        parts = [f"step {self.step:,}/{self.total:,}", f"epoch {self.epoch:.1f}", f"loss {self.loss:.3f}"]
        if len(self.terms) > 1:
            parts[-1] += " (" + ", ".join(f"{name} {value:.3f}" for name, value in self.terms.items()) + ")"
        if self.rank is not None:
            parts.append(f"rank {self.rank:.0f}/{self.width} {self.verdict}")
        if self.probe:
            parts.append(self.probe)
        parts += [f"{self.rate:,.0f} {self.unit}/s", f"wait {self.wait_share:.0%}", f"left {clock(self.left_s)}"]
        return "  ".join(parts)


class Shown(Protocol):
    """Something in progress; as text, its line."""

    @property
    def step(self) -> int:
        """Steps done."""

    @property
    def total(self) -> int:
        """Steps in all."""


@dataclass(slots=True)
class Reporter:
    """Shows the status of a run; silent on all ranks but the first."""

    enabled: bool = True
    console: Console = field(default_factory=lambda: Console(file=sys.stderr, highlight=False, soft_wrap=True))
    plain_every_s: float = 10.0
    _live: Progress | None = None
    _task: TaskID = TaskID(0)
    _last: float = float("-inf")

    def start(self, total: int, done: int) -> None:
        """Begin with the bar at `done` of `total` steps."""
        if self.enabled and self.console.is_terminal:
            self._live = Progress(BarColumn(bar_width=20), TextColumn("{task.description}"), console=self.console)
            self._task = self._live.add_task("starting", total=total, completed=done)
            self._live.start()

    def show(self, status: Shown) -> None:
        """The newest status; plain lines come at most every few seconds."""
        if not self.enabled:
            return
        if self._live is not None:
            self._live.update(self._task, completed=status.step, description=str(status))
        elif time.monotonic() - self._last > self.plain_every_s or status.step == status.total:
            self._last = time.monotonic()
            self.console.print(str(status), markup=False)

    def say(self, line: str, style: str = "") -> None:
        """A line that stays."""
        if self.enabled:
            self.console.print(line, style=style, markup=False)

    def stop(self) -> None:
        """End the live line."""
        if self._live is not None:
            self._live.stop()
            self._live = None
