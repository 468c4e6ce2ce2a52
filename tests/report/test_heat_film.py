"""Pictures of surprise over time."""

import numpy as np
import pytest

from craik.report.annotated import canvases
from craik.report.heat_film import MOST, Cell, Curve, Ordinary, heat_film, heated
from craik.report.style import png

CURVE = Curve("a.mp4", [1.0, 1.5, 2.0], [0.2, 0.9, 0.3], 3.0, Ordinary(0.1, 0.2, 0.4, 0.99), 0.4, [(1.0, 2.0)])


def cells(number: int) -> list[Cell]:
    gray = np.full((32, 32, 3), 120, dtype=np.uint8)
    heat = np.array([[0.0, 1.0], [0.0, 0.0]], dtype=np.float32)
    return [Cell(i / 4, gray, heat if i else None) for i in range(number)]


def test_color_means_surprise_alone() -> None:
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    picture[..., 0] = 240
    drawn = heated(picture, np.array([[0.0, 1.0], [0.0, 0.0]], dtype=np.float32), 0.0, 1.0)
    assert (drawn[16:] == 80).all() and (drawn[:16, :16] == 80).all()  # gray where nothing surprised
    red, _, blue = drawn[0, 16:].mean(0)
    assert red > 150 > blue
    unknown = heated(picture, None, 0.0, 1.0)
    assert (unknown[..., 0] == unknown[..., 2]).all() and unknown.mean() > 170


def test_a_film_strip_with_and_without_a_band() -> None:
    texts = [text.get_text() for text in heat_film(CURVE, cells(MOST), 0.0, 1.0).axes[0].get_legend().get_texts()]
    assert texts == ["event", "ordinary, 1% to 99%", "threshold", "surprise"]
    alone = Curve("one window", [0.5], [0.3], 1.0)
    assert png(heat_film(alone, cells(1), 0.3, 0.3)).startswith(b"\x89PNG")
    for number in (0, MOST + 1):
        with pytest.raises(ValueError, match=f"{number} frames"):
            heat_film(CURVE, cells(number), 0.0, 1.0)


def test_frames_of_the_annotated_video() -> None:
    pictures = list(canvases(CURVE, cells(4), 0.0, 1.0))
    assert len(pictures) == 4 and all(
        p.shape == pictures[0].shape and p.shape[0] % 2 == p.shape[1] % 2 == 0 for p in pictures
    )
    assert (pictures[1] != pictures[2]).any()
