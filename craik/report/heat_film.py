"""Surprise over a video: its curve with the band of ordinary clips, and below it frames with the heat of their patches.

The picture of a frame is gray where nothing was surprising, so that color means surprise alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from craik.report.style import BAD, DPI, GOOD, INK, RANDOM, TRAINED, WIDTH, Picture, enlarge, label, show, styled

COLORS = "inferno"
MOST = 10  # frames on a sheet
COVER = 0.8  # how strongly the greatest surprise covers the picture
Floats = NDArray[np.float32]


class Ordinary(NamedTuple):
    """What ordinary clips surprise by."""

    low: float
    median: float
    high: float
    level: float
    """Share of them below `high`."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Surprise of a clip over time."""

    name: str
    seconds: Sequence[float]
    """Middle of the frames that each window predicted [s]."""
    surprise: Sequence[float]
    """Of each window."""
    end: float
    """Length of the clip [s]."""
    ordinary: Ordinary | None = None
    threshold: float | None = None
    events: Sequence[tuple[float, float]] = ()
    """Beginning and end of each [s]."""

    @property
    def span(self) -> tuple[float, float]:
        """Least and greatest value to be drawn, with some room."""
        known = [*self.surprise, *(self.ordinary or ())[:3], *([] if self.threshold is None else [self.threshold])]
        room = 0.08 * (max(known) - min(known)) or 0.1 * max(known) or 1.0
        return min(known) - room, max(known) + room


class Cell(NamedTuple):
    """A frame and how much its patches surprised."""

    seconds: float
    picture: Picture
    """uint8 [S, S, 3]."""
    heat: Floats | None
    """[h, w]; None where the frame was never predicted."""


def heated(picture: Picture, heat: Floats | None, low: float, high: float) -> Picture:
    """A gray picture [S, S, 3] with the map [h, w] over it, from `low`, which leaves it as it is, to `high`."""
    gray = picture.astype(np.float64).mean(-1, keepdims=True).repeat(3, -1)
    if heat is None:
        return (0.35 * gray + 0.65 * 255).round().astype(np.uint8)
    rows, columns = ((np.arange(side) * cells) // side for side, cells in zip(gray.shape, heat.shape, strict=False))
    scaled = np.clip((heat - low) / max(high - low, 1e-12), 0, 1)[rows][:, columns]
    color = matplotlib.colormaps[COLORS](0.25 + 0.7 * scaled)[..., :3] * 255
    cover = COVER * scaled[..., None] ** 0.7
    return ((1 - cover) * gray + cover * color).round().astype(np.uint8)


@styled
def heat_film(curve: Curve, cells: Sequence[Cell], low: float, high: float) -> Figure:
    """The curve above, a line of frames below it, and the same frames with their heat.

    Args:
        curve: Surprise over time.
        cells: Up to `MOST` frames, in order.
        low: Error of a patch that leaves the picture gray.
        high: Error of the strongest color.

    Raises:
        ValueError: If there is no frame, or more than `MOST`.
    """
    if not 0 < len(cells) <= MOST:
        raise ValueError(f"{len(cells)} frames for a film strip: give 1 to {MOST}")
    margin, gap, left = 0.22, 0.06, 0.75
    side = (WIDTH - left - margin - (MOST - 1) * gap) / MOST
    plot, head, texts, foot = 2.0, 0.72, 0.62, 0.78
    height = head + plot + texts + 2 * side + 0.1 + foot
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    figure.text(
        0.01,
        1 - 0.1 / height,
        f"Surprise over time: {label(curve.name, 60)}",
        va="top",
        fontsize=12.5,
        fontweight="bold",
    )
    axes = figure.add_axes((left / WIDTH, 1 - (head + plot) / height, (WIDTH - left - margin) / WIDTH, plot / height))
    draw_curve(axes, curve)
    for line, top in enumerate((head + plot + texts, head + plot + texts + side + 0.1)):
        text = ("frame", "heat")[line]
        figure.text(0.01, 1 - (top + side / 2) / height, text, va="center", fontsize=9.5, color=RANDOM)
        for column, cell in enumerate(cells):
            box = (left + column * (side + gap), height - top - side, side, side)
            x, y, w, h = (v / whole for v, whole in zip(box, (WIDTH, height, WIDTH, height), strict=True))
            large = enlarge(cell.picture, 128)
            drawn = heated(large, cell.heat, low, high) if line else large
            show(figure.add_axes((x, y, w, h)), drawn, "" if line else f"{cell.seconds:.2f} s")
    scale(figure, low, high, height)
    return figure


def draw_curve(axes: Axes, curve: Curve) -> None:
    """Surprise of each window at the middle of what it predicted; the band, the threshold and events."""
    for number, (begin, end) in enumerate(curve.events):
        axes.axvspan(begin, end, color=BAD, alpha=0.14, linewidth=0, label="event" if not number else None)
    if curve.ordinary is not None:
        low, median, high, level = curve.ordinary
        axes.axhspan(low, high, color=GOOD, alpha=0.14, linewidth=0, label=f"ordinary, {1 - level:.0%} to {level:.0%}")
        axes.axhline(median, color=GOOD, linewidth=1)
    if curve.threshold is not None:
        axes.axhline(curve.threshold, color=BAD, linewidth=1.2, linestyle="--", label="threshold")
    axes.plot(curve.seconds, curve.surprise, color=TRAINED, marker="o", markersize=3.5, label="surprise")
    axes.set(xlim=(0, curve.end), ylim=curve.span)
    axes.set_ylabel("surprise [1]")
    axes.set_xlabel("middle of the predicted frames [s]", labelpad=1)
    axes.legend(loc="lower right", bbox_to_anchor=(1.005, 1.0), ncols=4, fontsize=8.5, borderaxespad=0.1)


def scale(figure: Figure, low: float, high: float, height: float) -> None:
    """The colors of the heat, at the bottom."""
    colors = matplotlib.colormaps[COLORS](np.linspace(0.25, 0.95, 256))
    bar = ScalarMappable(Normalize(low, high), matplotlib.colors.ListedColormap(colors))
    place = figure.add_axes((0.3, 0.5 / height, 0.4, 0.12 / height))
    figure.colorbar(bar, cax=place, orientation="horizontal")
    place.set_xlabel("error of a patch [1]; gray: no more than usual; pale: never predicted", fontsize=9, color=INK)
    place.tick_params(labelsize=8.5)
