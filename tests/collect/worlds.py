"""A world that is as simple as can be: a point on a line that moves by its action."""

from dataclasses import dataclass

import numpy as np

from craik.envs.world import Action, Box

CALLS: list[int] = []
"""Where it holds a number, so many calls of step go well, and the next one raises."""


@dataclass(frozen=True, slots=True)
class State:
    place: np.ndarray
    """[B], in 0 to 100"""


@dataclass(frozen=True, slots=True)
class Line:
    """Frames are as bright as the place."""

    side: int = 8
    max_steps: int = 10

    @property
    def name(self) -> str:
        return "line"

    @property
    def action(self) -> Action:
        return Box((-1.0,), (1.0,))

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.side, self.side, 3)

    @property
    def truth_names(self) -> tuple[str, ...]:
        return ("place",)

    def reset(self, num: int, rng: np.random.Generator) -> State:
        return State(rng.uniform(0, 100, num))

    def step(self, state: State, action: np.ndarray, rng: np.random.Generator) -> State:
        if CALLS:
            CALLS[0] -= 1
            if CALLS[0] < 0:
                raise RuntimeError("the motor is hot")
        return State(np.clip(state.place + action[:, 0], 0, 100))

    def render(self, state: State) -> np.ndarray:
        level = np.rint(2.5 * state.place).astype(np.uint8)
        return np.broadcast_to(level[:, None, None, None], (len(level), *self.shape)).copy()

    def goal(self, state: State, rng: np.random.Generator) -> State:
        return State(np.where(state.place < 50, rng.uniform(60, 100, len(state.place)), rng.uniform(0, 40)))

    def reached(self, state: State, goal: State) -> np.ndarray:
        return np.abs(state.place - goal.place) < 2

    def distance(self, state: State, goal: State) -> np.ndarray:
        return np.abs(state.place - goal.place)

    def expert(self, state: State, goal: State, rng: np.random.Generator) -> np.ndarray:
        return np.clip(goal.place - state.place, -1, 1)[:, None]

    def truth(self, state: State) -> np.ndarray:
        return state.place[:, None]
