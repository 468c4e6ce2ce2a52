"""The surprise test: how startled a model is by what cannot be, and by what only looks new."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from craik.report.bands import Line, draw_lines
from craik.report.curves import log_scale
from craik.report.style import BAD, GOOD, INK, RANDOM, Picture, enlarge, headline, sheet, show, styled

UNTOUCHED, TELEPORT, RECOLOR = GOOD, BAD, "#CC79A7"
KINDS = (("untouched", UNTOUCHED), ("teleport", TELEPORT), ("recolor", RECOLOR))


class Aucs(NamedTuple):
    """What one model makes of it; each (value, low, high) in 0 to 1."""

    model: str
    teleport: tuple[float, float, float]
    recolor: tuple[float, float, float]


class Example(NamedTuple):
    """Frames around the moment of one window, told in three ways, [K] each; the change is first seen in the last."""

    untouched: Sequence[Picture]
    teleport: Sequence[Picture]
    recolor: Sequence[Picture]


@styled
def surprise_figure(curves: Sequence[Line], moment: int, aucs: Sequence[Aucs], example: Example) -> Figure:
    """Frames of one window, surprise over time, and the AUC of each model.

    Args:
        curves: Mean surprise at each predicted frame, of the three ways.
        moment: Where among these frames the change is first seen.
        aucs: Of the models, the trained one first.
        example: One window.
    """
    figure, _ = sheet(1, 1, 5.6)
    figure.clear()
    headline(figure, "Surprise at what cannot be, and at what only looks new")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.7))
    draw_example(top.subplots(1, sum(len(part) for part in example)), example)
    left, right = bottom.subplots(1, 2, width_ratios=(1.5, 1))
    draw_lines(left, curves, first=-moment)
    left.axvline(0, color="#888888", linewidth=1)
    left.set(
        title="Surprise over time, trained",
        xlabel="frames after the change [model steps]",
        ylabel="squared error over the\nvariance of the latents [1]",
    )
    log_scale(left)
    left.legend(loc="upper left")
    draw_aucs(right, aucs)
    return figure


def draw_example(places: np.ndarray, example: Example) -> None:
    """The frames of each way beside each other."""
    every = iter(places)
    for (name, color), frames in zip(KINDS, example, strict=True):
        for number, picture in enumerate(frames):
            last = number == len(frames) - 1
            show(next(every), enlarge(picture, 128), name if last else "before", color if last else INK)


def draw_aucs(place: Axes, aucs: Sequence[Aucs]) -> None:
    """A bar per model and kind, from chance on."""
    kinds = (("teleport", TELEPORT), ("recolor", RECOLOR))
    for row, found in enumerate(aucs):
        for shift, (kind, color) in zip((-0.2, 0.2), kinds, strict=True):
            value, low, high = getattr(found, kind)
            place.barh(row + shift, value - 0.5, 0.34, left=0.5, color=color, alpha=1 if row == 0 else 0.45)
            place.plot([low, high], [row + shift] * 2, color=INK, linewidth=1.2)
            place.text(1.04, row + shift, f"{kind} {value:.2f}", va="center", fontsize=9)
    place.axvline(0.5, color=RANDOM, linewidth=1)
    place.set(title="AUC against untouched", xlim=(0, 1.42), xticks=(0, 0.5, 1), xlabel="0.5: not surprised at all")
    place.set_yticks(range(len(aucs)), [found.model for found in aucs])
    place.invert_yaxis()
    place.grid(axis="y", visible=False)
