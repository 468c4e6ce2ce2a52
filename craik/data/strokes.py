"""Handwritten digits that nobody wrote: strokes of each, bent, slanted and drawn with another pen every time."""

import numpy as np
from PIL import Image, ImageDraw

_FINE = 4  # pixels are drawn so many times finer, then averaged
_POINTS = 9  # of a stroke, between its knots

Point = tuple[float, float]
Stroke = tuple[Point, ...]

# Ways to write each digit: strokes through knots (x to the right, y down) in a box of 1 x 1.4.
_WAYS: tuple[tuple[Stroke, ...], ...] = (
    (((0.55, 0.0), (0.12, 0.3), (0.08, 0.95), (0.5, 1.4), (0.92, 1.0), (0.9, 0.35), (0.5, 0.0)),),
    (((0.5, 0.0), (0.5, 0.7), (0.5, 1.4)),),
    (((0.08, 0.35), (0.4, 0.0), (0.85, 0.3), (0.6, 0.8), (0.08, 1.4)), ((0.08, 1.4), (0.92, 1.38))),
    (((0.12, 0.18), (0.5, 0.0), (0.85, 0.32), (0.42, 0.65)), ((0.42, 0.65), (0.92, 0.98), (0.5, 1.4), (0.08, 1.2))),
    (((0.68, 0.0), (0.05, 0.95)), ((0.05, 0.95), (0.98, 0.95)), ((0.68, 0.0), (0.68, 1.4))),
    (
        ((0.85, 0.02), (0.2, 0.02)),
        ((0.2, 0.02), (0.14, 0.6)),
        ((0.14, 0.6), (0.6, 0.5), (0.9, 0.95), (0.5, 1.4), (0.06, 1.2)),
    ),
    (((0.75, 0.0), (0.25, 0.45), (0.1, 1.0), (0.5, 1.4), (0.88, 1.05), (0.5, 0.72), (0.12, 1.0)),),
    (((0.06, 0.04), (0.92, 0.04)), ((0.92, 0.04), (0.55, 0.7), (0.35, 1.4))),
    (
        (
            (0.5, 0.66),
            (0.14, 0.32),
            (0.5, 0.0),
            (0.86, 0.32),
            (0.5, 0.66),
            (0.08, 1.04),
            (0.5, 1.4),
            (0.92, 1.04),
            (0.5, 0.66),
        ),
    ),
    (((0.86, 0.36), (0.5, 0.0), (0.12, 0.36), (0.5, 0.7), (0.86, 0.36)), ((0.86, 0.36), (0.82, 0.9), (0.6, 1.4))),
)
_OTHER: dict[int, tuple[Stroke, ...]] = {
    1: (((0.2, 0.3), (0.52, 0.0)), ((0.52, 0.0), (0.52, 1.4)), ((0.2, 1.4), (0.84, 1.4))),
    2: (((0.1, 0.3), (0.5, 0.0), (0.85, 0.35), (0.3, 1.2), (0.1, 1.3), (0.3, 1.12), (0.6, 1.36), (0.95, 1.3)),),
    4: (((0.2, 0.0), (0.1, 0.75)), ((0.1, 0.75), (0.9, 0.72)), ((0.78, 0.05), (0.74, 1.4))),
    7: (((0.06, 0.06), (0.92, 0.04)), ((0.92, 0.04), (0.55, 0.7), (0.38, 1.4)), ((0.3, 0.7), (0.85, 0.68))),
    9: (((0.86, 0.3), (0.45, 0.0), (0.12, 0.4), (0.5, 0.72), (0.86, 0.3), (0.9, 0.95), (0.5, 1.4), (0.15, 1.22)),),
}


def draw_digits(digits: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Draws digits, each by another hand.

    Args:
        digits: 0 to 9, int64 [N].
        side: S of the square that a digit fills [px].
        rng: draws the hands.

    Returns:
        How much ink covers each pixel, uint8 [N, S, S].
    """
    return np.stack([_draw(int(digit), side, rng) for digit in digits])


def _draw(digit: int, side: int, rng: np.random.Generator) -> np.ndarray:
    ways = (_WAYS[digit], _OTHER[digit]) if digit in _OTHER else (_WAYS[digit],)
    strokes = [_smooth(np.array(stroke)) for stroke in ways[int(rng.integers(len(ways)))]]
    pen = rng.uniform(0.10, 0.2)  # of the box
    slant, turn, lean = rng.uniform(-0.1, 0.35), rng.uniform(-0.12, 0.12), rng.uniform(0.8, 1.15)
    waves = rng.normal(0.0, 0.035, (2, 3)), rng.uniform(0.0, 2 * np.pi, (2, 3))
    bent = [_bend(line, slant, turn, lean, waves) for line in strokes]
    every = np.concatenate(bent)
    low, high = every.min(0), every.max(0)
    scale = side * _FINE / ((high - low).max() + 1.25 * pen)
    middle = side * _FINE / 2 - scale * (low + high) / 2
    page = Image.new("L", (side * _FINE, side * _FINE))
    draw, radius = ImageDraw.Draw(page), 0.5 * pen * scale
    for line in bent:
        points = [tuple(point) for point in (line * scale + middle).tolist()]
        draw.line(points, fill=255, width=round(2 * radius), joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(page.reduce(_FINE))


def _smooth(knots: np.ndarray) -> np.ndarray:
    """A curve through the knots [K, 2] (Catmull-Rom), round where it closes; a straight line through two."""
    if len(knots) == 2:
        return knots[0] + np.linspace(0, 1, _POINTS)[:, None] * (knots[1] - knots[0])
    closed = bool((knots[0] == knots[-1]).all())
    before, behind = (knots[-2], knots[1]) if closed else (2 * knots[0] - knots[1], 2 * knots[-1] - knots[-2])
    ends = np.concatenate([before[None], knots, behind[None]])
    t = np.linspace(0, 1, _POINTS, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*pieces, knots[-1:]])


def _bend(line: np.ndarray, slant: float, turn: float, lean: float, waves: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """A stroke [P, 2] as one hand writes it: narrower or wider, slanted, turned, and never quite straight."""
    x, y = (line[:, 0] - 0.5) * lean, line[:, 1] - 0.7
    heights, phases = waves
    for number in range(3):
        dx = heights[0, number] * np.sin((number + 1) * 2.2 * y + phases[0, number])
        dy = heights[1, number] * np.sin((number + 1) * 2.6 * x + phases[1, number])
        x, y = x + dx, y + dy
    x = x - slant * y
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
