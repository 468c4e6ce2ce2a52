"""Who acts while trajectories are collected: at random, on a wandering walk, after goals, or a mixture.

A policy is a pure function too. What it remembers between steps (a heading, a goal) is a value with one row per world,
as the state is, so that single worlds can begin anew: `choose(fresh, policy.begin(...), memory)`.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from craik.envs.world import Box, Discrete, World, choose, count, take
from craik.errors import UsageError


class Policy(Protocol):
    """Begins with a memory, then gives an action and the next memory for each state."""

    def begin(self, state: Any, rng: np.random.Generator) -> Any:
        """The memory before the first step."""
        ...

    def act(self, state: Any, memory: Any, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        """Actions [num, A] or [num], and the next memory."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform among the actions, each held for a while."""

    world: World[Any]
    hold_prob: float = 0.0
    """Probability of the same action again; worlds with momentum get nowhere without."""

    def begin(self, state: Any, rng: np.random.Generator) -> np.ndarray:
        """The first actions."""
        return self.world.action.sample(count(state), rng)

    def act(self, state: Any, memory: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The actions in memory, then perhaps others."""
        fresh = rng.uniform(size=len(memory)) >= self.hold_prob
        return memory, choose(fresh, self.world.action.sample(len(memory), rng), memory)


@dataclass(frozen=True, slots=True)
class Pursuit:
    """The goal of each world, and whether it is (still) pursued."""

    goal: Any
    on: np.ndarray
    """bool [B]"""
    heading: np.ndarray
    """[rad], float64 [B]."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk of wandering heading; a share of the worlds has to cross to a goal first, led by the expert.

    The collection policy of EB-JEPA (arXiv 2602.03604, two rooms): turns are von Mises, lengths truncated normal.
    """

    world: World[Any]
    crossing_fraction: float = 0.35
    """Share of the worlds that pursue one goal before they walk freely."""
    concentration: float = 5.0
    """Of the turns: 1 / 0.2."""
    length_mean: float = 1.0
    """[units of action]; so are the next two."""
    length_std: float = 0.4
    length_range: tuple[float, float] = (0.2, 1.8)

    def __post_init__(self) -> None:
        if not isinstance(self.world.action, Box) or self.world.action.size != 2:
            raise UsageError(
                f"a walk needs actions of two numbers, a direction; {self.world.name} has {self.world.action}. "
                "Use the policy random, expert or mixed."
            )

    def begin(self, state: Any, rng: np.random.Generator) -> Pursuit:
        """Any heading, and goals for those that have to cross."""
        num = count(state)
        crosses = rng.uniform(size=num) < self.crossing_fraction
        return Pursuit(self.world.goal(state, rng), crosses, rng.uniform(-np.pi, np.pi, num))

    def act(self, state: Any, memory: Pursuit, rng: np.random.Generator) -> tuple[np.ndarray, Pursuit]:
        """A move in the heading, which turns a little or is the expert's, turned a little."""
        heading = memory.heading.copy()
        on = memory.on & ~self.world.reached(state, memory.goal)
        led = np.flatnonzero(on)
        if len(led):
            way = self.world.expert(take(state, led), take(memory.goal, led), rng)
            heading[led] = np.arctan2(way[:, 1], way[:, 0])
        heading += rng.vonmises(0.0, self.concentration, len(heading))
        length = self._lengths(len(heading), rng)[:, None]
        move = length * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        return self.world.action.fit(move, len(move)), Pursuit(memory.goal, on, heading)

    def _lengths(self, num: int, rng: np.random.Generator) -> np.ndarray:
        low, high = self.length_range
        length = rng.normal(self.length_mean, self.length_std, num)
        while (outside := (length < low) | (length > high)).any():
            length[outside] = rng.normal(self.length_mean, self.length_std, int(outside.sum()))
        return length


@dataclass(frozen=True, slots=True)
class Expert:
    """The shortest way to a goal, then to the next one, with noise."""

    world: World[Any]
    noise: float = 0.0
    """Box: standard deviation as a part of the bounds. Discrete: probability of a random action."""

    def begin(self, state: Any, rng: np.random.Generator) -> Any:
        """The first goals."""
        return self.world.goal(state, rng)

    def act(self, state: Any, memory: Any, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        """The expert's actions with noise; who has arrived gets another goal."""
        arrived = self.world.reached(state, memory)
        goal = choose(arrived, self.world.goal(state, rng), memory) if arrived.any() else memory
        action, kind = self.world.expert(state, goal, rng), self.world.action
        if isinstance(kind, Discrete):
            slips = rng.uniform(size=len(action)) < self.noise
            return np.where(slips, kind.sample(len(action), rng), action), goal
        noise = rng.normal(0.0, self.noise, action.shape) * np.maximum(np.abs(kind.low), np.abs(kind.high))
        return kind.fit(action + noise, len(action)), goal


@dataclass(frozen=True, slots=True)
class Shared:
    """Which policy each world has, and what all of them remember."""

    which: np.ndarray
    """int64 [B]"""
    parts: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Mixed:
    """One of several policies in each world, drawn with equal probability."""

    policies: tuple[Policy, ...]

    def begin(self, state: Any, rng: np.random.Generator) -> Shared:
        """Which policy each world has."""
        which = rng.integers(len(self.policies), size=count(state))
        return Shared(which, tuple(policy.begin(state, rng) for policy in self.policies))

    def act(self, state: Any, memory: Shared, rng: np.random.Generator) -> tuple[np.ndarray, Shared]:
        """The action of each world's own policy."""
        actions, parts = zip(
            *(p.act(state, m, rng) for p, m in zip(self.policies, memory.parts, strict=True)), strict=True
        )
        return np.stack(actions)[memory.which, np.arange(len(memory.which))], Shared(memory.which, tuple(parts))


NAMES = ("random", "walk", "expert", "mixed")


def find_policy(name: str, world: World[Any]) -> Policy:
    """The policy random, walk, expert, or mixed (walks or held random actions, and experts with noise).

    Raises:
        UsageError: there is no such policy, or the world's actions are not made for it.
    """
    planar = isinstance(world.action, Box) and world.action.size == 2
    if name == "random":
        return Uniform(world, hold_prob=0.8)
    if name == "walk":
        return Walk(world)
    if name == "expert":
        return Expert(world)
    if name == "mixed":
        return Mixed((Walk(world) if planar else Uniform(world, hold_prob=0.8), Expert(world, noise=0.3)))
    raise UsageError(f"no policy {name!r}. There are: {', '.join(NAMES)}")
