"""Contact sheets of episodes: a line of frames for each."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from craik.report.style import Picture, fit, picture_sheet, show, styled

SIDE = 160  # longer side of a frame on a sheet [px]


@styled
def episode_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]], labels: Sequence[Sequence[str]], title: str = "Episodes"
) -> Figure:
    """One line per episode, its frames from the first to the last.

    Args:
        rows: Frames [H, W, C] of each episode, with 1 to 4 channels.
        labels: A text above each frame.
        title: Of the sheet.

    Raises:
        ValueError: If there is nothing to show.
    """
    if not rows:
        raise ValueError("a sheet of episodes wants at least one")
    figure, axes = picture_sheet(len(rows), max(len(row) for row in rows), title)
    for frames, texts, places in zip(rows, labels, axes, strict=True):
        for frame, text, place in zip(frames, texts, places, strict=False):
            show(place, fit(as_picture(frame), SIDE), text)
    return figure


def as_picture(frame: NDArray[np.uint8]) -> Picture:
    """A frame [H, W, C] as a picture [H, W, 3]: gray, red and green for two channels, three as they are."""
    channels = frame.shape[-1]
    if channels == 1:
        return frame.repeat(3, axis=-1)
    if channels == 2:
        return np.concatenate([frame, np.zeros_like(frame[..., :1])], axis=-1)
    return frame[..., :3]
