"""Energy landscapes over two numbers of the action, with the action that was taken."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from craik.report.curves import plain_numbers
from craik.report.style import BAD, INK, Picture, enlarge, headline, sheet, show, styled

LEAST = 1e-6  # energies below are drawn as this
COLORS = "viridis"


class Ground(NamedTuple):
    """One step of an episode."""

    before: Picture
    after: Picture
    x: NDArray[np.float64]
    """Values of the first number tried, [G]."""
    y: NDArray[np.float64]
    """[G]."""
    energy: NDArray[np.float32]
    """[G, G], row by y; over the variance of the latents."""
    true: tuple[float, float]
    """The action that was taken."""
    lowest: tuple[float, float]
    """That of the lowest energy."""


@styled
def landscape_sheet(grounds: Sequence[Ground], names: tuple[str, str], title: str = "Energy over actions") -> Figure:
    """Frames before and after, and below them the energy of what would have come of every other action.

    Args:
        grounds: Up to about five steps, one column each.
        names: Of the two numbers of the action.
        title: Of the sheet.

    Raises:
        ValueError: If there is nothing to show.
    """
    if not grounds:
        raise ValueError("a sheet of landscapes wants at least one")
    columns = len(grounds)
    figure, _ = sheet(1, 1, 1.5 + 15.5 / max(columns, 2))
    figure.clear()
    headline(figure, title)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 2))
    pictures = top.subplots(1, 2 * columns, squeeze=False)[0]
    places = bottom.subplots(1, columns, squeeze=False)[0]
    every = np.concatenate([ground.energy.ravel() for ground in grounds])
    norm = LogNorm(max(LEAST, float(every.min())), max(float(every.max()), 10 * LEAST))
    for number, ground in enumerate(grounds):
        show(pictures[2 * number], enlarge(ground.before, 128), "before")
        show(pictures[2 * number + 1], enlarge(ground.after, 128), "after")
        draw_ground(places[number], ground, norm, names)
    for place in places[1:]:
        place.set_ylabel("")
    scale = ScalarMappable(norm, COLORS)
    bar = bottom.colorbar(
        scale, ax=list(places), orientation="horizontal", aspect=50, label="energy over the variance [1]"
    )
    plain_numbers(bar.ax.xaxis)
    handles, texts = places[0].get_legend_handles_labels()
    bottom.legend(handles, texts, loc="outside upper center", ncols=2)
    return figure


def draw_ground(place: Axes, ground: Ground, norm: LogNorm, names: tuple[str, str]) -> None:
    """Energies as colors, the true action and the lowest energy marked."""
    place.pcolormesh(
        ground.x, ground.y, ground.energy.clip(LEAST), norm=norm, cmap=COLORS, shading="nearest", rasterized=True
    )
    style = {"edgecolor": "white", "linewidth": 1.2}
    place.scatter(*ground.lowest, s=75, marker="o", color=INK, label="lowest energy", **style)
    place.scatter(*ground.true, s=90, marker="X", color=BAD, label="taken", **style)
    place.set(xlabel=names[0], ylabel=names[1], aspect="equal")
    place.grid(False)
