"""Film strips: what happened above, what was imagined below."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from craik.report.style import RANDOM, TRAINED, Picture, enlarge, frame, label, picture_sheet, show, styled

SIDE = 128  # of a frame on a sheet, at least [px]


class Strip(NamedTuple):
    """One window; an imagined latent is shown as the real frame whose latent is nearest to it."""

    name: str
    seen: Sequence[Picture]
    """What the model saw, the last one now."""
    real: Sequence[Picture]
    """What came, [K]."""
    imagined: Sequence[Picture]
    """[K]."""
    steps: Sequence[int]
    """How far ahead each of the K is [model steps]."""
    error: Sequence[float]
    """Of each imagined latent, squared, over the variance of the latents, [K]."""


@styled
def film_sheet(strips: Sequence[Strip], title: str = "Imagined and real") -> Figure:
    """Two lines per strip: the frames that were seen and that came, and below them what was imagined.

    Raises:
        ValueError: If there is nothing to show, or the parts of a strip differ in length.
    """
    if not strips:
        raise ValueError("a sheet of film strips wants at least one")
    for strip in strips:
        if len({len(part) for part in strip[2:]}) != 1:
            raise ValueError(f"real, imagined, steps and error of {strip.name} are of different lengths")
    columns = max(len(strip.seen) + len(strip.real) for strip in strips)
    figure, axes = picture_sheet(2 * len(strips), columns, title)
    for number, strip in enumerate(strips):
        above, below = axes[2 * number], axes[2 * number + 1]
        first = len(strip.seen)
        for place, picture, back in zip(above, strip.seen, range(first - 1, -1, -1), strict=False):
            show(place, enlarge(picture, SIDE), "now" if back == 0 else f"{-back}", color=RANDOM)
            frame(place, RANDOM, 2.0)
        for place, picture, step in zip(above[first:], strip.real, strip.steps, strict=False):
            show(place, enlarge(picture, SIDE), f"+{step}")
        for place, picture, error in zip(below[first:], strip.imagined, strip.error, strict=False):
            show(place, enlarge(picture, SIDE), f"{error:.2g}", color=TRAINED)
            frame(place, TRAINED, 2.0)
        note(below[0], strip.name)
    return figure


def note(place: Axes, name: str) -> None:
    """What the lower line is, in the place below the frames seen."""
    text = f"{label(name, 22)}\n\nimagined,\nand its error"
    place.text(0.0, 0.95, text, transform=place.transAxes, va="top", fontsize=8.5, color=TRAINED)
