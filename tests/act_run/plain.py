"""A world as simple as can be: a point on a plain, whose place is the color of the frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from craik.envs.world import Box, shorten

EDGE, REACH = 100.0, 4.0


@dataclass(frozen=True, slots=True)
class State:
    place: np.ndarray
    """float64 [B, 2], in 0 to 100"""


@dataclass(frozen=True, slots=True)
class Plain:
    """An agent moves by its action, 4 at most; goals lie 12 to 30 away."""

    max_steps: int = 16
    name: str = "plain"
    truth_names: tuple[str, ...] = ("x", "y")
    shape: tuple[int, int, int] = (8, 8, 3)
    action: Box = Box((-REACH, -REACH), (REACH, REACH), REACH)

    def reset(self, num: int, rng: np.random.Generator) -> State:
        return State(rng.uniform(0, EDGE, (num, 2)))

    def step(self, state: State, action: np.ndarray, rng: np.random.Generator) -> State:
        return State((state.place + self.action.fit(action, len(state.place))).clip(0, EDGE))

    def render(self, state: State) -> np.ndarray:
        color = np.concatenate([2.5 * state.place, np.zeros((len(state.place), 1))], 1)
        frames = np.broadcast_to(np.rint(color)[:, None, None], (len(color), *self.shape))
        return frames.astype(np.uint8)

    def goal(self, state: State, rng: np.random.Generator) -> State:
        heading, length = rng.uniform(0, 2 * np.pi, len(state.place)), rng.uniform(12, 30, len(state.place))
        way = length[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1)
        inward = np.where((state.place + way > EDGE) | (state.place + way < 0), -way, way)
        return State((state.place + inward).clip(0, EDGE))

    def reached(self, state: State, goal: State) -> np.ndarray:
        return self.distance(state, goal) < 4

    def distance(self, state: State, goal: State) -> np.ndarray:
        return np.linalg.norm(state.place - goal.place, axis=1)

    def expert(self, state: State, goal: State, rng: np.random.Generator) -> np.ndarray:
        return shorten(goal.place - state.place, REACH)

    def truth(self, state: State) -> np.ndarray:
        return state.place


class Hot(Plain):
    """Raises in `step` once the number in the file `steps-left` is used up; without the file it never does."""

    def step(self, state: State, action: np.ndarray, rng: np.random.Generator) -> State:
        file = Path("steps-left")
        if file.exists():
            left = int(file.read_text())
            if left < 1:
                raise RuntimeError("the motor is hot")
            file.write_text(str(left - 1))
        return Plain.step(self, state, action, rng)


class Wide(Plain):
    """Takes actions of three numbers."""

    def __init__(self) -> None:
        Plain.__init__(self, action=Box((-1.0,) * 3, (1.0,) * 3))


class Blind(Plain):
    """Draws frames that are not finite."""

    def render(self, state: State) -> np.ndarray:
        return np.full((len(state.place), *self.shape), np.nan)


class Flat(Plain):
    """Draws goals in another shape than the frames of its episodes."""

    def goal(self, state: State, rng: np.random.Generator) -> State:
        goal = Plain.goal(self, state, rng)
        return Far(goal.place)

    def render(self, state: State) -> np.ndarray:
        frames = Plain.render(self, state)
        return frames[:, :, 0] if isinstance(state, Far) else frames


@dataclass(frozen=True, slots=True)
class Far(State):
    """A goal."""
