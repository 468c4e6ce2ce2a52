"""Where episodes of an evaluation start and where they are to go, drawn by seed: the same for everyone compared."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from craik.envs.world import World, join, take
from craik.errors import UsageError

_TOGETHER = 64  # drawn at once; fixed, so that the first episodes do not depend on how many are asked for
_MOST_DRAWS = 200  # for each episode that is asked for


@dataclass(frozen=True, slots=True, eq=False)
class Scenes:
    """E pairs of a start and a goal in the same layout."""

    start: Any
    """State of E worlds."""
    goal: Any
    distance: np.ndarray
    """Length of the shortest path [units of the world], float64 [E]."""
    refused: int = 0
    """Pairs that were drawn anew because the start satisfied the goal already."""
    outside: int = 0
    """Pairs that were drawn anew because their distance was outside the range, or there was no path."""

    def __len__(self) -> int:
        return len(self.distance)

    def some(self, rows: np.ndarray | slice) -> "Scenes":
        """Some of them; the counts are those of all."""
        return Scenes(take(self.start, rows), take(self.goal, rows), self.distance[rows], self.refused, self.outside)


def draw(world: World[Any], num: int, seed: int, between: tuple[float, float] | None = None) -> Scenes:
    """Scenes of a world; the first of them are the same however many are drawn.

    Args:
        world: Draws layouts, starts, and goals as its task has them.
        num: Episodes E.
        seed: Decides all.
        between: Least and greatest distance from start to goal [units of the world]; None leaves it to the world.

    Raises:
        UsageError: If hardly any pair lies in the range.
    """
    low, high = between or (0.0, np.inf)
    found: list[Scenes] = []
    refused = outside = have = 0
    for chunk in range(max(1, -(-num * _MOST_DRAWS // _TOGETHER))):
        rng = np.random.default_rng([seed, chunk])
        start = world.reset(_TOGETHER, rng)
        goal = world.goal(start, rng)
        distance = np.asarray(world.distance(start, goal), dtype=np.float64)
        there = np.asarray(world.reached(start, goal))
        fits = np.isfinite(distance) & (distance >= low) & (distance <= high)
        # Counted only as far as the last episode that is used.
        used = np.flatnonzero(~there & fits)[: num - have]
        until = len(there) if have + len(used) < num else used[-1] + 1
        refused += int(there[:until].sum())
        outside += int((~there & ~fits)[:until].sum())
        found.append(Scenes(take(start, used), take(goal, used), distance[used]))
        have += len(used)
        if have == num:
            starts, goals = (join(*states) for states in ([f.start for f in found], [f.goal for f in found]))
            return Scenes(starts, goals, np.concatenate([f.distance for f in found]), refused, outside)
    raise UsageError(
        f"{have} of {num} pairs of start and goal found in {world.name}: {refused:,} starts satisfied their goal "
        f"already and {outside:,} pairs were outside the range of distance {low:g} to {high:g}: widen --distance"
    )
