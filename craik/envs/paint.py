"""Frames from shapes, without aliasing: a move of a tenth of a pixel changes the frame.

An axis-parallel box is a picture of rank one (how much of each row times how much of each column it covers), so one
matrix product per frame paints all boxes of a layout at once. Disks touch only the small patch around them.
"""

from collections.abc import Callable

import numpy as np

from craik.envs.world import S, count, take

Color = tuple[int, int, int]

WHITE: Color = (244, 244, 240)
SAND: Color = (225, 214, 190)
SLATE: Color = (62, 72, 88)
RED: Color = (214, 48, 49)
ORANGE: Color = (240, 147, 43)
GREEN: Color = (46, 160, 82)
BLUE: Color = (38, 103, 214)
VIOLET: Color = (130, 70, 190)
_CHUNK = 16  # frames painted together: their floats stay in the cache


def pick(colors: tuple[Color, ...], num: int, rng: np.random.Generator) -> np.ndarray:
    """One of the colors for each world, float32 [num, 3] in 0 to 255."""
    return np.array(colors, dtype=np.float32)[rng.integers(len(colors), size=num)]


def in_chunks(paint: Callable[[S], np.ndarray], state: S, shape: tuple[int, int, int]) -> np.ndarray:
    """Frames uint8 [num, *shape]; `paint` gives float32 frames of 0 to 255 for a part of the worlds."""
    num = count(state)
    frames = np.empty((num, *shape), dtype=np.uint8)
    for start in range(0, num, _CHUNK):
        rows = slice(start, min(start + _CHUNK, num))
        image = paint(take(state, rows))
        image += 0.5
        np.copyto(frames[rows], image, casting="unsafe")
    return frames


def boxes(shape: np.ndarray, color: np.ndarray, floor: np.ndarray, side: int) -> np.ndarray:
    """Frames of a floor with boxes on it.

    Args:
        shape: boxes (x low, y low, x high, y high) [px] that do not overlap, [B, W, 4]; parts outside do not show.
        color: of the boxes, [B, W, 3] or [B, 1, 3], in 0 to 255.
        floor: color of the rest, [B, 3].
        side: of the frame [px].

    Returns:
        float32 [B, side, side, 3].
    """
    part = cover(shape, side)
    rows, columns = part[:, :, 1].transpose(0, 2, 1), part[:, :, 0]
    # Three colors of a pixel side by side: one long row is several times faster than a last axis of three.
    colors = np.arange(3 * side) % 3
    tint = (color - floor[:, None])[:, :, colors]
    if color.shape[1] == 1 and shape.shape[1] > side // 3:  # so many of one color that their sum is cheaper to tint
        image = np.repeat(rows @ columns, 3, axis=2)
        image *= tint
    else:
        image = rows @ (np.repeat(columns, 3, axis=2) * tint)
    image += floor[:, None, colors]
    return image.reshape(-1, side, side, 3)


def cover(shape: np.ndarray, side: int) -> np.ndarray:
    """The part of each column (0) and row (1) that boxes [B, W, 4] [px] cover, float32 [B, W, 2, side]."""
    edge = np.arange(side, dtype=np.float32)
    ends = shape.astype(np.float32)[..., None]
    part = np.minimum(ends[..., 2:, :], edge + 1.0)
    part -= np.maximum(ends[..., :2, :], edge)
    return np.clip(part, 0.0, 1.0, out=part)


def disk(image: np.ndarray, center: np.ndarray, radius: np.ndarray, color: np.ndarray) -> None:
    """Paints a disk on each frame, in place.

    Args:
        image: float32 [B, side, side, 3].
        center: (x, y) [px], [B, 2]; a pixel's center lies at its number plus a half.
        radius: [px], [B].
        color: [B, 3].
    """
    side = image.shape[1]
    reach = int(np.ceil(radius.max())) + 1
    size = min(2 * reach + 1, side)
    corner = np.clip(np.floor(center).astype(np.int64) - reach, 0, side - size)
    place = corner[:, :, None] + np.arange(size)
    apart = (place + 0.5 - center[:, :, None]).astype(np.float32) ** 2
    length = np.sqrt(apart[:, 0, None, :] + apart[:, 1, :, None])
    part = np.clip(radius.astype(np.float32)[:, None, None] + 0.5 - length, 0.0, 1.0)[..., None]
    at = np.arange(len(image))[:, None, None], place[:, 1, :, None], place[:, 0, None, :]
    below = image[at]
    image[at] = below + part * (color.astype(np.float32)[:, None, None] - below)


def frame(num: int, width: float, side: int) -> np.ndarray:
    """Four boxes [num, 4, 4] [px] that frame a picture, each `width` [px] thick; they do not overlap."""
    far = side - width
    four = [[0, 0, side, width], [0, far, side, side], [0, width, width, far], [far, width, side, far]]
    return np.broadcast_to(np.array(four), (num, 4, 4))
