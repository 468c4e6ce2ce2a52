"""Points among axis-parallel walls: when a move meets one, and the shortest way around them all.

Coordinates are (x, y) with y downwards, as in frames. A wall is a box (x low, y low, x high, y high); layouts with
fewer walls than others are filled up with boxes that lie `AWAY`. A shortest path among such walls is a polyline whose
bends are corners of walls, so that distances over the graph of corners that see each other are exact.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

AWAY = 1.0e3  # outside of every arena, and too far to be worth a detour
_SKIN = 1.0e-6  # walls are this much thinner for moves and sight, so that a path may run along them
_AT_ONCE = 16384  # pairs of way and wall that are looked at together: more would not stay in the cache


@dataclass(frozen=True, slots=True)
class Roadmap:
    """The corners of each layout, and how far one is from another."""

    corners: np.ndarray
    """float64 [B, V, 2]"""
    between: np.ndarray
    """Shortest paths float64 [B, V, V]; infinite where there is none."""


def first_hit(start: np.ndarray, stop: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The part of each straight way at which it enters a wall.

    Args:
        start: [B, N, 2].
        stop: [B, N, 2].
        boxes: walls [B, W, 4].

    Returns:
        float64 [B, N] in [0, 1): 0 also for a start inside a wall; infinite for a free way.
    """
    enter, leave = -np.inf, np.inf
    for axis in (0, 1):
        at = start[..., axis, None]
        way = stop[..., axis, None] - at
        way = np.where(way == 0.0, 1e-300, way)
        near = (boxes[:, None, :, axis] + _SKIN - at) / way
        far = (boxes[:, None, :, axis + 2] - _SKIN - at) / way
        enter = np.maximum(enter, np.minimum(near, far))
        leave = np.minimum(leave, np.maximum(near, far))
    hit = (enter < leave) & (leave > 0.0) & (enter < 1.0)
    return np.where(hit, np.maximum(enter, 0.0), np.inf).min(axis=2, initial=np.inf)


def inside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether points [B, 2] lie in one of the walls [B, W, 4], bool [B]."""
    low, high = boxes[..., :2] + _SKIN, boxes[..., 2:] - _SKIN
    between = np.all((points[:, None] > low) & (points[:, None] < high), axis=2)
    return np.any(between, axis=1)


def grow(boxes: np.ndarray, margin: float | np.ndarray) -> np.ndarray:
    """Walls [B, W, 4] thicker by a margin on every side: what a body of that half side cannot enter."""
    return boxes + np.asarray(margin).reshape(-1, 1, 1) * np.array([-1.0, -1.0, 1.0, 1.0])


def move(
    at: np.ndarray, way: np.ndarray, boxes: np.ndarray, arena: tuple[float, float], slide: bool = False
) -> np.ndarray:
    """Where points end that set out on a straight way.

    Args:
        at: points [B, 2], free.
        way: how far they want to go, [B, 2].
        boxes: walls [B, W, 4].
        arena: both coordinates stay between these two.
        slide: one who meets a wall goes up to it and on along it; else they stay where they were.

    Returns:
        points float64 [B, 2].
    """
    goal = at + way
    meets = np.isfinite(first_hit(at[:, None], goal[:, None], boxes)[:, 0])
    meets |= ((goal < arena[0]) | (goal > arena[1])).any(axis=1)
    if not slide:
        return np.where(meets[:, None], at, goal)
    sliding = at
    for axis in (0, 1):
        goal_now = sliding.copy()
        goal_now[:, axis] = np.clip(sliding[:, axis] + way[:, axis], *arena)
        part = first_hit(sliding[:, None], goal_now[:, None], boxes)
        # Up to the wall itself, not into its skin, where rounding could hold the point fast.
        length = np.abs(goal_now - sliding).max(axis=1, keepdims=True)
        part = np.where(np.isinf(part), 1.0, np.maximum(part - 2.0 * _SKIN / np.maximum(length, _SKIN), 0.0))
        sliding = sliding + part * (goal_now - sliding)
    return np.where(meets[:, None], sliding, goal)


def roadmap(corners: np.ndarray, boxes: np.ndarray) -> Roadmap:
    """The shortest paths between all corners [B, V, 2] among walls [B, W, 4] (Floyd and Warshall)."""
    num, size = corners.shape[:2]
    one, other = np.triu_indices(size, 1)
    between = np.zeros((num, size, size))
    many = max(1, _AT_ONCE // max(boxes.shape[1], 1))
    for row in range(num):
        for part in range(0, len(one), many):
            i, j = one[part : part + many], other[part : part + many]
            begin, end = corners[row, i], corners[row, j]
            hit = first_hit(begin[None], end[None], boxes[row : row + 1])[0]
            length = np.where(np.isfinite(hit), np.inf, np.linalg.norm(end - begin, axis=1))
            between[row, i, j] = between[row, j, i] = length
    for k in range(size):
        np.minimum(between, between[:, :, k, None] + between[:, None, k, :], out=between)
    return Roadmap(corners, between)


def shortest(at: np.ndarray, goal: np.ndarray, roads: Roadmap, boxes: np.ndarray) -> np.ndarray:
    """Lengths float64 [B] of the shortest paths between points [B, 2]; infinite where there is none."""
    return _ways(at, goal, roads, boxes)[0]


def waypoint(at: np.ndarray, goal: np.ndarray, roads: Roadmap, boxes: np.ndarray) -> np.ndarray:
    """The next bend [B, 2] of the shortest path: the farthest that can be seen, in the end the goal itself."""
    return _ways(at, goal, roads, boxes)[1]


def _ways(at: np.ndarray, goal: np.ndarray, roads: Roadmap, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    direct = _sight(at[:, None], goal[:, None], boxes)[:, 0, 0]
    length, turn = direct.copy(), goal.copy()
    rows = np.flatnonzero(np.isinf(direct))  # who sees the goal needs no road
    if len(rows) == 0 or roads.corners.shape[1] == 0:
        return length, turn
    corners, walls = roads.corners[rows], boxes[rows]
    onward = (roads.between[rows] + _sight(goal[rows, None], corners, walls)).min(axis=2)
    total = _sight(at[rows, None], corners, walls)[:, 0] + onward
    # A corner on which the point already stands leads nowhere: go on to the one after it.
    here = np.abs(corners - at[rows, None]).max(axis=2) < _SKIN
    best = np.where(here, np.inf, total).argmin(axis=1)
    length[rows] = total.min(axis=1)
    turn[rows] = corners[np.arange(len(rows)), best]
    return length, turn


def _sight(start: np.ndarray, stop: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Distances [B, M, N] between points [B, M, 2] and [B, N, 2] that see each other; else infinite."""
    num, many, few = len(start), start.shape[1], stop.shape[1]
    here, there = (np.broadcast_to(p, (num, many, few, 2)) for p in (start[:, :, None], stop[:, None]))
    hit = first_hit(here.reshape(num, many * few, 2), there.reshape(num, many * few, 2), boxes)
    length = np.linalg.norm(there - here, axis=-1)
    return np.where(np.isinf(hit).reshape(num, many, few), length, np.inf)


def scatter(
    num: int,
    draw: Callable[[np.ndarray], np.ndarray],
    accept: Callable[[np.ndarray, np.ndarray], np.ndarray],
    what: str,
) -> np.ndarray:
    """Points [num, 2] drawn anew until each is accepted.

    Args:
        num: how many.
        draw: rows [R] -> points [R, 2].
        accept: rows [R], points [R, 2] -> bool [R].
        what: for the error.

    Raises:
        ValueError: some were refused a thousand times: the settings leave no room.
    """
    points = np.empty((num, 2))
    rows = np.arange(num)
    for _ in range(1000):
        points[rows] = draw(rows)
        rows = rows[~accept(rows, points[rows])]
        if len(rows) == 0:
            return points
    raise ValueError(f"found no place for {what} in 1000 tries: the settings of this world leave no room for it")
