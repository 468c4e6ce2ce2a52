"""The search of a planner: the best cost after each iteration."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from craik.report.bands import Line, draw_lines
from craik.report.style import CYCLE, sheet, styled


@styled
def iterations_figure(traces: Mapping[str, NDArray[np.float64]], title: str = "Cost while planning") -> Figure:
    """Median and middle half of the best cost so far, of many plans, by the name of their solver or their model.

    Args:
        traces: Best cost after each iteration, [iterations, plans].
        title: Of the figure.

    Raises:
        ValueError: If there is nothing to show.
    """
    if not traces or not all(trace.size for trace in traces.values()):
        raise ValueError("there is no plan whose cost could be drawn")
    figure, axes = sheet(1, 1, 4.2)
    place = axes[0, 0]
    lines = []
    for (name, trace), color in zip(traces.items(), CYCLE * len(traces), strict=False):
        low, middle, high = np.nanquantile(trace, (0.25, 0.5, 0.75), axis=1)
        lines.append(Line(f"{name}, {trace.shape[1]:,} plans", color, middle, low, high))
    draw_lines(place, lines, first=1)
    place.set(title=title, xlabel="iteration of the search", ylabel="best cost so far [1]")
    place.legend(loc="upper right")
    return figure


def joined(traces: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Traces [iterations] of single plans as [most iterations, plans]; one that stopped early keeps its last cost."""
    longest = max(len(trace) for trace in traces)
    return np.stack([np.pad(trace, (0, longest - len(trace)), mode="edge") for trace in traces], 1)
