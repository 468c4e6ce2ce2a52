"""What a simulated world is: pure functions from arrays of states to arrays of states and frames.

Nothing is hidden in an object, so thousands of worlds step at once and any state can be drawn, also one that was
never visited. A world is the frozen dataclass of its own settings: `dataclasses.replace(world, agent_colors=(BLUE,))`
is the same world in another color.
"""

from collections.abc import Callable, Sized
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from craik.errors import UsageError

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Box:
    """Continuous actions: each of A numbers has its bounds, and the whole may have a greatest length."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    max_norm: float | None = None
    """A longer action is shortened to this length, its direction kept."""

    @property
    def size(self) -> int:
        """A, the numbers in one action."""
        return len(self.low)

    def sample(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """Actions float64 [num, A], uniform among the allowed ones."""
        actions = rng.uniform(self.low, self.high, (num, self.size))
        if self.max_norm is None:
            return actions
        while (outside := np.linalg.norm(actions, axis=1) > self.max_norm).any():
            actions[outside] = rng.uniform(self.low, self.high, (int(outside.sum()), self.size))
        return actions

    def fit(self, action: np.ndarray, num: int) -> np.ndarray:
        """The action float64 [num, A] that a world carries out: within the bounds and the greatest length.

        Raises:
            UsageError: another shape, or a number that is not finite.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (num, self.size):
            raise UsageError(
                f"expected actions [{num}, {self.size}] (worlds, numbers per action), got {list(action.shape)}. "
                f"Check the action size of the policy or of the data: this world takes {self.size}."
            )
        if not np.isfinite(action).all():
            row = int(np.flatnonzero(~np.isfinite(action).all(axis=1))[0])
            raise UsageError(
                f"the action of world {row} is {action[row].tolist()}: every number has to be finite. "
                "Look at what made it: a model whose training met NaN gives such actions."
            )
        action = np.clip(action, self.low, self.high)
        return action if self.max_norm is None else shorten(action, self.max_norm)


@dataclass(frozen=True, slots=True)
class Discrete:
    """One of `num` actions, 0 to num - 1."""

    num: int

    def sample(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """Actions int64 [num], uniform."""
        return rng.integers(self.num, size=num)

    def fit(self, action: np.ndarray, num: int) -> np.ndarray:
        """The action as int64 [num].

        Raises:
            UsageError: another shape, no whole numbers, or a number outside 0 to num - 1.
        """
        action = np.asarray(action)
        if action.shape != (num,) or action.dtype.kind not in "iu":
            raise UsageError(
                f"expected whole numbers [{num}], one action of {self.num} per world, "
                f"got {action.dtype} {list(action.shape)}"
            )
        if len(action) and not 0 <= action.min() <= action.max() < self.num:
            raise UsageError(f"expected actions from 0 to {self.num - 1}, got {action.min()} to {action.max()}")
        return action.astype(np.int64)


Action = Box | Discrete


class World(Protocol[S]):
    """A simulator; S is a frozen dataclass of arrays, the first axis the world, its layout and colors included."""

    @property
    def name(self) -> str:
        """As `craik.envs.find` knows it."""
        ...

    @property
    def action(self) -> Action:
        """Which actions there are."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height [px], width [px] and channels of a frame."""
        ...

    @property
    def max_steps(self) -> int:
        """Steps in which a goal is to be reached."""
        ...

    @property
    def truth_names(self) -> tuple[str, ...]:
        """What the K columns of `truth` are."""
        ...

    def reset(self, num: int, rng: np.random.Generator) -> S:
        """New layouts, each with a start."""
        ...

    def step(self, state: S, action: np.ndarray, rng: np.random.Generator) -> S:
        """The next states, from actions [num, A] or whole numbers [num]; `rng` is for worlds of chance."""
        ...

    def render(self, state: S) -> np.ndarray:
        """Frames uint8 [num, H, W, C]."""
        ...

    def goal(self, state: S, rng: np.random.Generator) -> S:
        """Goals in the same layouts, none of them reached yet."""
        ...

    def reached(self, state: S, goal: S) -> np.ndarray:
        """Whether the goal is reached, bool [num]."""
        ...

    def distance(self, state: S, goal: S) -> np.ndarray:
        """The length [units of the world] of the shortest path to the goal, exact, float64 [num]."""
        ...

    def expert(self, state: S, goal: S, rng: np.random.Generator) -> np.ndarray:
        """Actions that make progress along the shortest path."""
        ...

    def truth(self, state: S) -> np.ndarray:
        """What a probe may look for, float64 [num, K]; the columns are `truth_names`."""
        ...


def each(function: Callable[..., Any], *states: S) -> S:
    """A state from the arrays of states of one kind: `function` is called for every field of them."""
    first = states[0]
    if isinstance(first, tuple):
        return cast(S, tuple(each(function, *parts) for parts in zip(*states, strict=True)))
    if not is_dataclass(first) or isinstance(first, type):
        return function(*states)
    return type(first)(*(each(function, *(getattr(s, f.name) for s in states)) for f in fields(first)))


def take(state: S, rows: np.ndarray | slice) -> S:
    """Some of the worlds: an index, a mask or a slice over the first axis."""
    return each(lambda a: a[rows], state)


def choose(mask: np.ndarray, first: S, second: S) -> S:
    """`first` where the mask bool [num] is true, else `second`."""

    def pick(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return each(pick, first, second)


def join(*states: S) -> S:
    """The worlds of several states, one after the other."""
    return each(lambda *a: np.concatenate(a), *states)


def count(state: object) -> int:
    """How many worlds a state holds."""
    while is_dataclass(state):
        state = getattr(state, fields(state)[0].name)
    return len(cast(Sized, state))


def shorten(vectors: np.ndarray, length: float | np.ndarray) -> np.ndarray:
    """Vectors [..., A], none longer than `length`."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors * np.minimum(1.0, length / np.maximum(norm, 1e-12))


def span(ends: tuple[float, float], num: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers float64 [num], uniform between two ends; equal ends fix them."""
    return rng.uniform(ends[0], ends[1], num)
