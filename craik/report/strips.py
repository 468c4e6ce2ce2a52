"""Lines of pictures over the time of clips, with words at the left that say what they are."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from craik.report.style import DPI, RANDOM, WIDTH, Picture, enlarge, headline, label, show, styled

LEFT, MARGIN, GAP, HEAD, BREAK = 1.32, 0.12, 0.05, 0.75, 0.16  # [inches]


class Line(NamedTuple):
    """Pictures of one kind, from the first to the last moment."""

    name: str
    pictures: Sequence[Picture]


@styled
def strip_sheet(title: str, clips: Sequence[Sequence[Line]], heads: Sequence[str], least: int = 6) -> Figure:
    """The lines of each clip below each other, with room between clips.

    Args:
        title: What is seen.
        clips: For each clip its lines, all of them with a picture for each of the `heads`.
        heads: Words above the columns, such as times.
        least: Columns that there is room for at least, so that few pictures stay small.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if not clips or not heads:
        raise ValueError("a sheet of strips wants a clip and a moment at least")
    columns = max(least, len(heads))
    side = (WIDTH - LEFT - MARGIN - (columns - 1) * GAP) / columns
    height = HEAD + sum(len(lines) * (side + GAP) + BREAK for lines in clips)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    headline(figure, title)
    top = HEAD
    for number, lines in enumerate(clips):
        for row, line in enumerate(lines):
            words = label(line.name, 18)
            figure.text(0.012, 1 - (top + side / 2) / height, words, va="center", fontsize=9.5, color=RANDOM)
            for column, picture in enumerate(line.pictures):
                left = LEFT + column * (side + GAP)
                box = (left / WIDTH, 1 - (top + side) / height, side / WIDTH, side / height)
                text = heads[column] if not number and not row else ""
                show(figure.add_axes(box), enlarge(picture, 128), text)
            top += side + GAP
        top += BREAK
    return figure
