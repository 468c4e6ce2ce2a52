"""Where latents lie: a map colored by the true place, and latent distance against distance in time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from craik.report.curves import plain_numbers
from craik.report.scatter import project
from craik.report.style import BAD, GOOD, INK, TRAINED, headline, label, sheet, styled

MOST_COLUMNS = 4  # of the state that maps are colored by
MOST_POINTS = 2000  # drawn of pairs
COLORS = "viridis"


@styled
def latent_map(latents: Tensor, states: NDArray[np.float64], names: Sequence[str]) -> Figure:
    """Latents [N, D] on their two strongest directions, once for each of the first few columns of the true state.

    Args:
        latents: Of single frames.
        states: True state of each frame, [N, K].
        names: Of the K columns; the first ones are drawn.

    Raises:
        ValueError: If there is no column.
    """
    num = min(len(names), MOST_COLUMNS)
    if not num:
        raise ValueError("a latent map is colored by states, and there are none")
    points, shares = project(latents)
    columns = min(num, 2)
    rows = -(-num // columns)
    figure, axes = sheet(rows, columns, 4.2 * rows + 0.5)
    headline(figure, f"Map of {len(points):,} latents, colored by the true state")
    for place in axes.flat[num:]:
        place.set_visible(False)
    for column, place in zip(range(num), axes.flat, strict=False):
        dots = place.scatter(*points.T, c=states[:, column], s=9, cmap=COLORS, alpha=0.8, linewidth=0)
        figure.colorbar(dots, ax=place, label=label(names[column]))
        place.set(xlabel=f"first direction ({shares[0]:.0%} of the variance)", ylabel=f"second ({shares[1]:.0%})")
    return figure


class Step(NamedTuple):
    """A band of pairs, low to high steps apart."""

    low: int
    high: int
    """The first that is no longer in it."""
    median: float
    rises: bool
    """Whether pairs of this band mostly look farther than those of the band before."""


@styled
def usability_figure(
    distance: NDArray[np.float64], steps: NDArray[np.int64], bands: Sequence[Step], verdict: str
) -> Figure:
    """Squared latent distance [P] of pairs of states against the steps between them [P], with the medians of bands.

    Args:
        distance: Of pairs, over that of unrelated ones.
        steps: Between them.
        bands: Their medians, joined by a line; one that does not rise is marked.
        verdict: Whether it is usable, in a sentence.
    """
    figure, axes = sheet(1, 1, 4.8)
    place = axes[0, 0]
    some = np.linspace(0, len(steps) - 1, min(len(steps), MOST_POINTS)).astype(np.int64)
    jitter = 1 + 0.12 * np.random.default_rng(0).uniform(-1, 1, len(some))
    place.scatter(steps[some] * jitter, distance[some], s=6, color=TRAINED, alpha=0.2, linewidth=0, label="pairs")
    middle = [np.sqrt(band.low * max(band.high - 1, band.low)) for band in bands]
    place.plot(middle, [band.median for band in bands], color=INK, label="median of a band")
    for rises, color, text in ((True, GOOD, "farther than the band before"), (False, BAD, "not clearly farther")):
        at = [i for i, band in enumerate(bands) if band.rises is rises]
        if at:
            x, y = [middle[i] for i in at], [bands[i].median for i in at]
            place.scatter(x, y, s=70, color=color, marker="o" if rises else "X", zorder=3, label=text)
    place.axhline(1, color="#888888", linewidth=1, linestyle=(0, (1, 1)))
    place.set(
        xscale="log",
        xlabel="steps between two states of an episode [steps of the environment]",
        ylabel="squared latent distance over\nthat of unrelated states [1]",
    )
    place.set_title(verdict, fontsize=10, wrap=True)
    plain_numbers(place.xaxis)
    place.legend(loc="upper left")
    return figure
