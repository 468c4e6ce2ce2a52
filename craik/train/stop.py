"""SIGTERM and Ctrl-C ask a run to save and stop; a second Ctrl-C stops it at once."""

import signal
from types import FrameType, TracebackType


class StopSignal:
    """While entered, remembers that the process was asked to stop."""

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> "StopSignal":
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._previous[number] = signal.signal(number, self._ask)
            except ValueError:  # not the main thread, as in some notebooks: signals stay as they are
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
