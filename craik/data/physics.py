"""Intuitive physics: scenes that could happen, and scenes that could not, made of the very same frames.

Two possible scenes A and B look exactly alike at some moment (a thing is behind a screen, a screen hides what stands
behind it, a rolling thing is where another rolls the other way). Cut there and swapped, their halves give two
impossible clips: A that goes on as B, and B that goes on as A. So of the four clips

- each frame of an impossible one is, at the same time, a frame of a possible one, and so is each pair of frames in a
  row: whoever judges frames, or motion from one frame to the next, is right in exactly half of the pairs;
- a pair, possible and impossible, is alike up to the cut and differs in what could follow.

After the quadruplets of IntPhys (Riochet et al. 2018, arXiv 1803.07616), in numpy, at 64 px (exact from 32 px up).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from craik.data.toy import OUTLINES, PALETTE, SHAPES, SPLITS

FRAMES = (16, 32)  # fewest and most of a clip
FLOOR = 0.80  # height at which things stand, as a fraction of the side from above
FOOT = 0.06  # how far screens reach below that, so that no shadow shows under them
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What there is to see, back to front; lengths are fractions of the side, y goes down.

    Attributes:
        look: colors of the backdrop, the floor, the fixtures and the screens, float32 [4, 3] in [0, 1].
        fixtures: boxes (left, top, right, bottom) that stand still.
        x: center of the thing in each frame, [T].
        y: as `x`.
        shown: whether it exists in each frame, bool [T].
        shape: its number in `toy.SHAPES`.
        color: its number in `toy.COLORS`.
        radius: half of its size.
        screens: boxes in front, [K, T, 4].
    """

    look: np.ndarray
    fixtures: tuple[Box, ...]
    x: np.ndarray
    y: np.ndarray
    shown: np.ndarray
    shape: int
    color: int
    radius: float
    screens: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Twins:
    """Two possible scenes that look alike in the frames `cuts`; there their halves are swapped."""

    a: Scene
    b: Scene
    cuts: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PhysicsPairs:
    """Pairs of clips that are alike up to a moment; then one goes on as it can, the other as nothing can.

    Pairs 2 i and 2 i + 1 are of one quadruplet: together, their possible clips have the frames of the impossible ones.

    Attributes:
        possible: uint8 [P, T, S, S, 3].
        impossible: as `possible`.
        property: number of the principle that is violated, in `PROPERTIES`, int64 [P].
        cut: the first frame that differs, int64 [P].
    """

    possible: np.ndarray
    impossible: np.ndarray
    property: np.ndarray
    cut: np.ndarray


def physics_pairs(
    num: int,
    *,
    frames: int = 24,
    size: int = 64,
    seed: int = 0,
    split: str = "test",
    only: str | None = None,
) -> PhysicsPairs:
    """Pairs of clips to measure surprise on.

    Args:
        num: pairs P, even; the properties take turns in quadruplets of two pairs.
        frames: of a clip T, 16 to 32.
        size: side S [px].
        seed: the same seed gives the same pairs; a larger `num` only appends.
        split: train, val or test, which share no scene.
        only: of this property alone.

    Raises:
        ValueError: An odd number, an unknown property or split, a number of frames out of range.
    """
    if num < 2 or num % 2 or split not in SPLITS or (only is not None and only not in PROPERTIES):
        raise ValueError(f"{num} pairs of {only or 'all properties'}, split {split}: pairs come in twos")
    step = 1 if only is None else len(PROPERTIES)
    first = 0 if only is None else PROPERTIES.index(only)
    numbers = [first + step * i for i in range(num // 2)]
    fours = np.stack([quadruplet(i, frames, size, seed=seed, stream=SPLITS[split]) for i in numbers])
    possible = fours[:, :2].reshape(num, *fours.shape[2:])
    impossible = fours[:, 2:].reshape(num, *fours.shape[2:])
    differ = (possible != impossible).reshape(num, frames, -1).any(-1)
    kinds = np.repeat([property_of(i) for i in numbers], 2)
    return PhysicsPairs(possible, impossible, kinds, differ.argmax(1))


def property_of(number: int | np.ndarray) -> Any:
    """The property, as its number in `PROPERTIES`, that a quadruplet is about."""
    return number % len(PROPERTIES)


def quadruplet(number: int, frames: int, size: int, *, seed: int = 0, stream: int = 0) -> np.ndarray:
    """Four clips of the same frames: possible A and B, impossible A that becomes B, and B that becomes A.

    Args:
        number: of the quadruplet; it says which property is violated.
        frames: of a clip T, 16 to 32.
        size: side S [px].
        seed: of all of them.
        stream: streams share no scene (train, val, test).

    Returns:
        uint8 [4, T, S, S, 3].
    """
    return np.stack([clip_of(number, which, np.arange(frames), frames, size, (seed, stream)) for which in range(4)])


def clip_of(number: int, which: int, chosen: np.ndarray, frames: int, size: int, seed: tuple[int, int]) -> np.ndarray:
    """Some frames of one clip of a quadruplet, uint8 [T', S, S, 3]; `which` as in `quadruplet`, seed and stream."""
    twins, flip = draw_twins(number, frames, seed)
    halves = np.searchsorted(np.array(twins.cuts), chosen, side="right") % 2 if which >= 2 else np.zeros(len(chosen))
    from_b = (halves + which) % 2 == 1
    out = np.empty((len(chosen), size, size, 3), dtype=np.uint8)
    for scene, rows in ((twins.a, ~from_b), (twins.b, from_b)):
        if rows.any():
            out[rows] = render(scene, chosen[rows], size)
    return out[:, :, ::-1] if flip else out


def draw_twins(number: int, frames: int, seed: tuple[int, int]) -> tuple[Twins, bool]:
    """The two scenes of a quadruplet, and whether to mirror them.

    Raises:
        ValueError: Fewer frames than the scenes need, or more.
    """
    if not FRAMES[0] <= frames <= FRAMES[1]:
        raise ValueError(f"scenes of physics have {FRAMES[0]} to {FRAMES[1]} frames, not {frames}")
    rng = np.random.default_rng([*seed, number])
    flip = bool(rng.integers(2))
    return _MAKERS[PROPERTIES[property_of(number)]](frames, rng), flip


# The scenes. Times are fractions of the clip, so that 16 and 32 frames show the same.


def _rolling(frames: int, rng: np.random.Generator, start: float = -0.14, stop: float = 1.14) -> Scene:
    """A thing that rolls from left to right over an empty floor."""
    hue = rng.uniform(-0.07, 0.07, (4, 3))
    light = np.array([rng.uniform(0.70, 0.86), rng.uniform(0.42, 0.56), rng.uniform(0.3, 0.4), rng.uniform(0.5, 0.68)])
    tint = np.array([[0, 0, 0.03], [0.05, 0, -0.06], [0.02, 0.0, 0.0], [0.12, 0.02, -0.14]])
    radius = float(rng.uniform(0.085, 0.105))
    return Scene(
        look=np.clip(light[:, None] + hue + tint, 0, 1).astype(np.float32),
        fixtures=(),
        x=np.linspace(start, stop, frames),
        y=np.full(frames, FLOOR - radius),
        shown=np.ones(frames, dtype=bool),
        shape=int(rng.integers(len(SHAPES))),
        color=int(rng.integers(len(PALETTE))),
        radius=radius,
        screens=np.zeros((0, frames, 4)),
    )


def _still(box: Box, frames: int) -> np.ndarray:
    """A screen that stands still, [1, T, 4]."""
    return np.tile(np.array(box), (1, frames, 1))


def _rising(box: Box, frames: int) -> np.ndarray:
    """A screen that comes up through the floor in the first third of a clip, [1, T, 4]."""
    up = np.clip((np.arange(frames) / (frames - 1) - 0.10) / 0.20, 0.0, 1.0)
    boxes = np.tile(np.array(box), (frames, 1))
    boxes[:, 1] = box[3] + up * (box[1] - box[3])
    return boxes[None]


def _behind_one(frames: int, rng: np.random.Generator) -> tuple[Scene, int]:
    """A thing that rolls behind a screen and comes out again, and the frame in which it is in its middle."""
    scene = _rolling(frames, rng)
    middle = float(rng.uniform(0.46, 0.6))
    half = scene.radius + float(rng.uniform(0.075, 0.11))
    top = FLOOR - 2 * scene.radius - float(rng.uniform(0.06, 0.16))
    screens = _still((middle - half, top, middle + half, FLOOR + FOOT), frames)
    return replace(scene, screens=screens), int(np.abs(scene.x - middle).argmin())


def _permanence(frames: int, rng: np.random.Generator) -> Twins:
    """It goes behind the screen and is gone; or it comes from behind a screen where nothing was."""
    scene, cut = _behind_one(frames, rng)
    return Twins(scene, replace(scene, shown=np.zeros(frames, dtype=bool)), (cut,))


def _shape(frames: int, rng: np.random.Generator) -> Twins:
    """It comes out in another shape."""
    scene, cut = _behind_one(frames, rng)
    other = (scene.shape + int(rng.integers(1, len(SHAPES)))) % len(SHAPES)
    return Twins(scene, replace(scene, shape=other), (cut,))


def _color(frames: int, rng: np.random.Generator) -> Twins:
    """It comes out in another color."""
    scene, cut = _behind_one(frames, rng)
    distance = np.linalg.norm(PALETTE - PALETTE[scene.color], axis=1)
    other = int(rng.choice(np.flatnonzero(distance > 0.45)))
    return Twins(scene, replace(scene, color=other), (cut,))


def _continuity(frames: int, rng: np.random.Generator) -> Twins:
    """It goes behind one screen and comes out of the next without having been between them; or is only there."""
    scene = _rolling(frames, rng)
    half = scene.radius + float(rng.uniform(0.04, 0.05))
    wanted = float(rng.uniform(0.26, 0.29)), float(rng.uniform(0.71, 0.74))
    cuts = tuple(int(np.abs(scene.x - middle).argmin()) for middle in wanted)
    top = FLOOR - 2 * scene.radius - float(rng.uniform(0.06, 0.16))
    boxes = [_still((scene.x[cut] - half, top, scene.x[cut] + half, FLOOR + FOOT), frames) for cut in cuts]
    scene = replace(scene, screens=np.concatenate(boxes))
    return Twins(scene, replace(scene, shown=np.zeros(frames, dtype=bool)), cuts)


def _inertia(frames: int, rng: np.random.Generator) -> Twins:
    """In plain sight and untouched, it turns around, or stops, or sets off."""
    scene = _rolling(frames, rng, -0.02, 1.02)
    cut = round(float(rng.uniform(0.42, 0.58)) * (frames - 1))
    there = scene.x[cut]
    steps = scene.x - there
    x = there - steps if rng.integers(2) else np.full(frames, there)
    return Twins(scene, replace(scene, x=x), (cut,))


def _solidity(frames: int, rng: np.random.Generator) -> Twins:
    """A wall is seen before a screen comes up: it rolls through the wall; or it bounces off no wall."""
    scene = _rolling(frames, rng)
    wall = float(rng.uniform(0.60, 0.64))
    top = FLOOR - 2 * scene.radius - 0.05
    hidden = _rising((wall - 0.30, top - 0.06, wall + 0.14 + scene.radius, FLOOR + FOOT), frames)
    # It is still outside when the screen has come up, whichever way it goes on.
    time = np.clip((np.arange(frames) / (frames - 1) - 0.10) / 0.90, 0.0, 1.0)
    straight = 0.06 + 1.08 * time
    touch = wall - 0.03 - scene.radius
    a = replace(scene, x=straight, screens=hidden)
    back = replace(a, x=np.minimum(straight, 2 * touch - straight), fixtures=((wall - 0.03, top, wall + 0.03, FLOOR),))
    return Twins(a, back, (int(np.abs(straight - touch).argmin()),))


def _support(frames: int, rng: np.random.Generator) -> Twins:
    """A shelf that ends is seen before a screen hides its end: it rolls on over nothing; or sinks through the shelf."""
    scene = _rolling(frames, rng)
    shelf, end = float(rng.uniform(0.46, 0.54)), float(rng.uniform(0.40, 0.46))
    time = np.clip((np.arange(frames) / (frames - 1) - 0.10) / 0.90, 0.0, 1.0)
    x = 0.14 + 0.80 * time
    y = np.full(frames, shelf - scene.radius)
    # The screen reaches a little over the edge of the shelf, which does not tell whether it goes on.
    hides = _rising((end - 0.07, shelf - 0.035, 1.2, FLOOR + FOOT), frames)
    fall = np.clip(time - (end + 0.02 - 0.14) / 0.80, 0.0, None)
    down = np.minimum(y + 4.2 * fall**2, FLOOR - scene.radius)
    a = replace(scene, x=x, y=y, screens=hides, fixtures=((-0.2, shelf, 1.2, shelf + 0.05),))
    b = replace(a, y=down, fixtures=((-0.2, shelf, end, shelf + 0.05),))
    return Twins(a, b, (int(np.flatnonzero(fall <= 0)[-1]),))


_MAKERS: dict[str, Callable[[int, np.random.Generator], Twins]] = {
    "permanence": _permanence,
    "continuity": _continuity,
    "solidity": _solidity,
    "support": _support,
    "shape": _shape,
    "color": _color,
    "inertia": _inertia,
}
PROPERTIES = tuple(_MAKERS)


# The painter.


def render(scene: Scene, numbers: np.ndarray, size: int) -> np.ndarray:
    """Paints some frames of a scene: numbers int64 [T'], uint8 [T', S, S, 3]; edges are anti-aliased."""
    axis = ((np.arange(size) + 0.5) / size).astype(np.float32)
    image = np.repeat(_stage(scene, axis)[None], len(numbers), axis=0)
    shown = np.flatnonzero(scene.shown[numbers])
    if len(shown):
        painted = image[shown]
        _thing(painted, scene, numbers[shown], axis)
        image[shown] = painted
    for boxes in scene.screens:
        _panel(image, boxes[numbers].astype(np.float32), scene.look[3], axis)
    return np.clip(image * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)


def _stage(scene: Scene, axis: np.ndarray) -> np.ndarray:
    """Backdrop, floor and fixtures, float32 [S, S, 3]."""
    size = len(axis)
    height = axis[:, None, None]
    back = scene.look[0] * (1.08 - 0.22 * height)
    floor = scene.look[1] * (0.80 + 0.9 * (height - FLOOR))
    ground = np.clip((height - FLOOR) * size + 0.5, 0.0, 1.0)
    image = np.broadcast_to(back + ground * (floor - back), (size, size, 3))[None].copy()
    for box in scene.fixtures:
        _panel(image, np.array([box], dtype=np.float32), scene.look[2], axis)
    return image[0]


def _panel(image: np.ndarray, boxes: np.ndarray, color: np.ndarray, axis: np.ndarray) -> None:
    """Paints a box (left, top, right, bottom) [T, 4] with a darker frame onto each image [T, S, S, 3]."""
    size = len(axis)
    first, last = _pixels(boxes[:, :2].min(0), size), _pixels(boxes[:, 2:].max(0), size) + 2
    columns, rows = axis[first[0] : last[0]], axis[first[1] : last[1]]
    left, top, right, bottom = (boxes[:, i, None] for i in range(4))
    across = np.minimum(columns - left, right - columns) * size
    down = np.where(bottom - top > 1e-6, np.minimum(rows - top, bottom - rows) * size, -1.0)
    inside = np.minimum(across[:, None, :], down[:, :, None])
    cover = np.clip(inside + 0.5, 0.0, 1.0)[..., None]
    edge = np.clip(inside - 0.6, 0.0, 1.0)[..., None]
    paint = color * (0.72 + 0.28 * edge) * (1.06 - 0.12 * rows[:, None, None])
    part = image[:, first[1] : last[1], first[0] : last[0]]
    part += cover * (paint - part)


def _pixels(at: np.ndarray, size: int) -> np.ndarray:
    """The pixels that places lie in, and one before, inside the image; int64."""
    return np.clip(np.floor(at * size).astype(np.int64) - 1, 0, size)


def _thing(image: np.ndarray, scene: Scene, numbers: np.ndarray, axis: np.ndarray) -> None:
    """Paints the thing and its shadow onto images [T, S, S, 3]: a window [W, W] around it in each."""
    size, radius = len(axis), np.float32(scene.radius)
    reach = int(np.ceil(1.25 * scene.radius * size)) + 1
    place = np.stack([scene.y[numbers], scene.x[numbers]], axis=1)
    corner = np.floor(place * size).astype(np.int64) - reach
    window = np.arange(2 * reach + 1)
    down, right = ((corner[:, i, None] + window + 0.5) / size for i in range(2))
    v = ((down - place[:, :1]) / radius)[:, :, None].astype(np.float32)
    u = ((right - place[:, 1:]) / radius)[:, None, :].astype(np.float32)
    low = np.clip(1.4 - np.abs((down - FLOOR - 0.004) * 40.0), 0.0, 1.0)[:, :, None]
    near = np.clip(1.0 - 3.0 * (FLOOR - radius - place[:, 0]), 0.0, 1.0)[:, None, None]
    shadow = (0.4 * near * low * np.clip(1.25 * (1.0 - (u / 0.95) ** 2), 0.0, 1.0))[..., None]
    u, v = np.broadcast_arrays(u, v)
    cover = np.clip(0.5 - OUTLINES[scene.shape](u, v) * radius * size, 0.0, 1.0)[..., None]
    glow = 1.0 + 0.22 * np.clip(1.0 - np.hypot(u + 0.35, v + 0.4), 0.0, 1.0) - 0.14 * np.clip(v, -0.5, 1.0)
    paint = np.clip(PALETTE[scene.color] * glow[..., None], 0.0, 1.0)
    for at, (top, left) in enumerate(corner.tolist()):
        rows, columns = _overlap(top, len(window), size), _overlap(left, len(window), size)
        part = image[at, top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
        shade, ink = shadow[at, rows, columns], cover[at, rows, columns]
        part *= 1.0 - shade
        part += ink * (paint[at, rows, columns] - part)


def _overlap(start: int, length: int, size: int) -> slice:
    """The part of a window from `start` on that lies in an image of that size."""
    first = min(max(-start, 0), length)
    return slice(first, max(first, min(length, size - start)))
