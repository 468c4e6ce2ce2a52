"""A grid of cells with obstacles and discrete actions: one step is one cell."""

from dataclasses import dataclass

import numpy as np

from craik.envs import paint
from craik.envs.paint import Color
from craik.envs.world import Discrete

MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1], [0, 0]])
"""(row, column) of the actions up, down, left, right and stay."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What stays as it is within an episode, for B worlds."""

    blocked: np.ndarray
    """bool [B, cells, cells]; all free cells are joined."""
    agent_color: np.ndarray
    wall_color: np.ndarray
    floor_color: np.ndarray


@dataclass(frozen=True, slots=True)
class State:
    """The agent's cell (row, column), int64 [B, 2]."""

    cell: np.ndarray
    layout: Layout


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells with obstacles, and five discrete actions."""

    cells: int = 8
    """Along each side."""
    side: int = 64
    """Of a frame [px], a multiple of cells."""
    obstacles: float = 0.25
    """Probability that a cell is blocked; cells that the start cannot reach are blocked too."""
    slip_prob: float = 0.0
    """Probability that a random one of the five actions is carried out instead."""
    max_steps: int = 50
    agent_colors: tuple[Color, ...] = (paint.RED,)
    """One of them is drawn for each layout; so with the other colors."""
    wall_colors: tuple[Color, ...] = (paint.SLATE,)
    floor_colors: tuple[Color, ...] = (paint.WHITE,)

    def __post_init__(self) -> None:
        if self.cells < 2 or self.side % self.cells:
            raise ValueError(f"side {self.side} has to be a multiple of cells {self.cells}, which are at least 2")
        if not 0.0 <= self.obstacles <= 0.5 or not 0.0 <= self.slip_prob <= 1.0:
            raise ValueError("obstacles has to be in 0 to 0.5, slip_prob in 0 to 1")

    @property
    def name(self) -> str:
        """As `craik.envs.find` knows it."""
        return "grid"

    @property
    def action(self) -> Discrete:
        """Up, down, left, right, stay."""
        return Discrete(len(MOVES))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height [px], width [px] and channels of a frame."""
        return self.side, self.side, 3

    @property
    def truth_names(self) -> tuple[str, ...]:
        """The agent's cell."""
        return ("row", "col")

    def reset(self, num: int, rng: np.random.Generator) -> State:
        """Layouts of which at least half is free and joined, with the agent in any free cell."""
        blocked = np.empty((num, self.cells, self.cells), dtype=bool)
        rows = np.arange(num)
        while len(rows):
            drawn = rng.uniform(size=(len(rows), self.cells, self.cells)) < self.obstacles
            seed = _one_of(~drawn, rng)
            blocked[rows] = np.isinf(steps_to(seed, drawn))
            rows = rows[blocked[rows].mean(axis=(1, 2)) > 0.5]
        layout = Layout(
            blocked,
            paint.pick(self.agent_colors, num, rng),
            paint.pick(self.wall_colors, num, rng),
            paint.pick(self.floor_colors, num, rng),
        )
        return State(_one_of(~blocked, rng), layout)

    def step(self, state: State, action: np.ndarray, rng: np.random.Generator) -> State:
        """Moves by actions [num]; who would leave the grid or enter a blocked cell stays."""
        action = self.action.fit(action, len(state.cell))
        slips = rng.uniform(size=len(action)) < self.slip_prob
        action = np.where(slips, self.action.sample(len(action), rng), action)
        cell = state.cell + MOVES[action]
        outside = ((cell < 0) | (cell >= self.cells)).any(axis=1)
        cell = np.where(outside[:, None], state.cell, cell)
        stays = state.layout.blocked[np.arange(len(cell)), cell[:, 0], cell[:, 1]]
        return State(np.where(stays[:, None], state.cell, cell), state.layout)

    def goal(self, state: State, rng: np.random.Generator) -> State:
        """Any other free cell."""
        free = ~state.layout.blocked
        free[np.arange(len(free)), state.cell[:, 0], state.cell[:, 1]] = False
        return State(_one_of(free, rng), state.layout)

    def reached(self, state: State, goal: State) -> np.ndarray:
        """Whether the agent is in the goal's cell."""
        return (state.cell == goal.cell).all(axis=1)

    def distance(self, state: State, goal: State) -> np.ndarray:
        """Fewest steps to the goal without a slip."""
        steps = steps_to(goal.cell, state.layout.blocked)
        return steps[np.arange(len(steps)), state.cell[:, 0], state.cell[:, 1]]

    def expert(self, state: State, goal: State, rng: np.random.Generator) -> np.ndarray:
        """One of the actions, at random, that bring the goal nearest."""
        steps = np.pad(steps_to(goal.cell, state.layout.blocked), ((0, 0), (1, 1), (1, 1)), constant_values=np.inf)
        beside = state.cell[:, None] + MOVES + 1
        after = steps[np.arange(len(steps))[:, None], beside[..., 0], beside[..., 1]]
        best = after == after.min(axis=1, keepdims=True)
        return np.where(best, rng.uniform(size=best.shape), -1.0).argmax(axis=1)

    def truth(self, state: State) -> np.ndarray:
        """The columns of `truth_names`, [num, 2]."""
        return state.cell.astype(np.float64)

    def render(self, state: State) -> np.ndarray:
        """Frames uint8 [num, side, side, 3]."""
        return paint.in_chunks(self._paint, state, self.shape)

    def _paint(self, state: State) -> np.ndarray:
        layout, pixels = state.layout, self.side // self.cells
        num = len(state.cell)
        tile = np.where(layout.blocked[..., None], layout.wall_color[:, None, None], layout.floor_color[:, None, None])
        wide = np.repeat(tile, pixels, axis=2)
        image = np.repeat(wide, pixels, axis=1)
        center = (state.cell[:, ::-1] + 0.5) * pixels
        paint.disk(image, center, np.full(num, 0.36 * pixels), layout.agent_color)
        return image


def slippery() -> Grid:
    """A fifth of the actions is replaced by a random one."""
    return Grid(slip_prob=0.2)


def open_field() -> Grid:
    """No obstacles."""
    return Grid(obstacles=0.0)


def steps_to(goal: np.ndarray, blocked: np.ndarray) -> np.ndarray:
    """Fewest steps from every cell to the goal's, float64 [B, R, C]; infinite where there is no way.

    Args:
        goal: cells (row, column), int64 [B, 2].
        blocked: bool [B, R, C].
    """
    steps = np.full(blocked.shape, np.inf)
    steps[np.arange(len(goal)), goal[:, 0], goal[:, 1]] = 0.0
    front = steps == 0.0
    taken = 0
    while front.any():
        taken += 1
        spread = np.zeros_like(front)
        spread[:, 1:] |= front[:, :-1]
        spread[:, :-1] |= front[:, 1:]
        spread[:, :, 1:] |= front[:, :, :-1]
        spread[:, :, :-1] |= front[:, :, 1:]
        front = spread & ~blocked & np.isinf(steps)
        steps[front] = taken
    return steps


def _one_of(free: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random true cell of each world, int64 [B, 2]; any cell where none is."""
    number = np.where(free, rng.uniform(size=free.shape), -1.0).reshape(len(free), -1).argmax(axis=1)
    return np.stack(np.unravel_index(number, free.shape[1:]), axis=1)
