"""Lines with the bands of their intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from craik.report.curves import log_scale
from craik.report.style import sheet, styled

STYLES = ("-", "--", "-.", ":")


class Line(NamedTuple):
    """A named quantity over x, with its interval; [M] each."""

    name: str
    color: str
    value: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@styled
def ahead_figure(lines: Sequence[Line], title: str) -> Figure:
    """Open-loop error against the steps ahead, 1 to M, on a logarithmic axis; 1 is as good as the mean latent."""
    figure, axes = sheet(1, 1, 4.4)
    place = axes[0, 0]
    draw_lines(place, lines, first=1)
    place.axhline(1, color="#888888", linewidth=1, linestyle=(0, (1, 1)))
    place.set(
        title=title,
        xlabel="steps ahead, open loop [model steps]",
        ylabel="squared error over the variance\nof the latents [1]",
    )
    log_scale(place)
    place.legend(loc="lower right")
    return figure


def draw_lines(place: Axes, lines: Sequence[Line], first: int = 0) -> None:
    """Lines over whole numbers from `first` on."""
    for line, style in zip(lines, STYLES * len(lines), strict=False):
        x = np.arange(first, first + len(line.value))
        place.fill_between(x, line.low, line.high, color=line.color, alpha=0.18, linewidth=0)
        marker = "o" if len(x) < 30 else None
        place.plot(x, line.value, style, color=line.color, label=line.name, marker=marker, markersize=3.5)
    place.xaxis.set_major_locator(MaxNLocator(integer=True))
