"""A point mass with momentum on a square of 64 x 64: one frame shows where it is, but not where it is going.

The action is a force. A goal is a place to come to rest at, so that flying through it does not count.
"""

from dataclasses import dataclass

import numpy as np

from craik.envs import geometry, paint
from craik.envs.paint import Color
from craik.envs.world import Box, shorten, span

EXTENT = 64.0


@dataclass(frozen=True, slots=True)
class Layout:
    """What stays as it is within an episode, each [B] or a color [B, 3]."""

    drag: np.ndarray
    """Part of the velocity that a step takes away."""
    radius: np.ndarray
    """[px]"""
    agent_color: np.ndarray
    wall_color: np.ndarray
    floor_color: np.ndarray


@dataclass(frozen=True, slots=True)
class State:
    """Place and velocity of the mass."""

    position: np.ndarray
    """(x, y) [px] in 0 to 64, float64 [B, 2]."""
    velocity: np.ndarray
    """[px per step], float64 [B, 2]."""
    layout: Layout


@dataclass(frozen=True, slots=True)
class PointMass:
    """A mass with momentum, to be brought to rest at a place.

    Ends of a range that are equal fix what it is of.
    """

    side: int = 64
    """Of a frame [px]."""
    force: float = 0.4
    """Acceleration by the strongest action [px per step^2]."""
    max_speed: float = 4.0
    """[px per step]"""
    bounce: float = 0.5
    """Part of the speed that is left after hitting the border."""
    drag: tuple[float, float] = (0.02, 0.02)
    """Range of the part of the velocity that a step takes away."""
    start_speed: float = 1.5
    """Greatest speed at the start [px per step]."""
    success_radius: float = 4.5
    """A goal is reached at less than this distance [px] ..."""
    success_speed: float = 0.8
    """... and less than this speed [px per step]."""
    goal_distance: tuple[float, float] = (12.0, 100.0)
    """Range of the way to a goal [px]."""
    max_steps: int = 100
    border: float = 2.0
    """Width of the drawn border [px]."""
    radius: tuple[float, float] = (3.0, 3.0)
    """Range of the mass's radius [px]."""
    agent_colors: tuple[Color, ...] = (paint.BLUE,)
    """One of them is drawn for each layout; so with the other colors."""
    wall_colors: tuple[Color, ...] = (paint.SLATE,)
    floor_colors: tuple[Color, ...] = (paint.WHITE,)

    @property
    def name(self) -> str:
        """As `craik.envs.find` knows it."""
        return "point_mass"

    @property
    def action(self) -> Box:
        """Force (x, y), at most of length 1."""
        return Box((-1.0, -1.0), (1.0, 1.0), max_norm=1.0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height [px], width [px] and channels of a frame."""
        return self.side, self.side, 3

    @property
    def truth_names(self) -> tuple[str, ...]:
        """Place and velocity."""
        return ("x", "y", "velocity_x", "velocity_y")

    def reset(self, num: int, rng: np.random.Generator) -> State:
        """Masses anywhere, of any direction, moving or nearly at rest."""
        layout = Layout(
            span(self.drag, num, rng),
            span(self.radius, num, rng),
            paint.pick(self.agent_colors, num, rng),
            paint.pick(self.wall_colors, num, rng),
            paint.pick(self.floor_colors, num, rng),
        )
        low, high = self.arena(layout)
        angle, speed = rng.uniform(0.0, 2.0 * np.pi, num), rng.uniform(0.0, self.start_speed, num)
        velocity = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return State(rng.uniform(low, high, (num, 2)), velocity, layout)

    def step(self, state: State, action: np.ndarray, rng: np.random.Generator) -> State:
        """Pushes by actions [num, 2]; chance has no part in it."""
        force = self.action.fit(action, len(state.position)) * self.force
        velocity = shorten((state.velocity + force) * (1.0 - state.layout.drag[:, None]), self.max_speed)
        low, high = self.arena(state.layout)
        free = state.position + velocity
        # The border is a mirror, which takes its part of the speed and of the way behind it.
        behind = free - np.clip(free, low, high)
        position = np.clip(free - (1.0 + self.bounce) * behind, low, high)
        return State(position, np.where(behind != 0.0, -self.bounce * velocity, velocity), state.layout)

    def goal(self, state: State, rng: np.random.Generator) -> State:
        """Places to rest at, as far as `goal_distance` says."""
        low, high = self.arena(state.layout)

        def accept(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
            far = np.linalg.norm(at - state.position[rows], axis=1)
            return (far >= max(self.goal_distance[0], self.success_radius)) & (far <= self.goal_distance[1])

        at = geometry.scatter(
            len(low), lambda rows: rng.uniform(low[rows], high[rows], (len(rows), 2)), accept, "a goal so far away"
        )
        return State(at, np.zeros_like(at), state.layout)

    def reached(self, state: State, goal: State) -> np.ndarray:
        """Whether the mass is near the goal, and slow."""
        slow = np.linalg.norm(state.velocity, axis=1) < self.success_speed
        return slow & (np.linalg.norm(state.position - goal.position, axis=1) < self.success_radius)

    def distance(self, state: State, goal: State) -> np.ndarray:
        """The straight way [px]; nothing stands in it."""
        return np.linalg.norm(goal.position - state.position, axis=1)

    def expert(self, state: State, goal: State, rng: np.random.Generator) -> np.ndarray:
        """Towards the fastest velocity from which the mass can still brake before the goal."""
        way = goal.position - state.position
        far = np.linalg.norm(way, axis=1, keepdims=True)
        brake = 0.7 * self.force  # the rest is for steering
        speed = np.minimum(np.sqrt(2.0 * brake * far), np.minimum(self.max_speed, far))
        wanted = way / np.maximum(far, 1e-12) * speed
        return shorten((wanted / (1.0 - state.layout.drag[:, None]) - state.velocity) / self.force, 1.0)

    def arena(self, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest coordinate of the center of each mass [px], [B, 1] each."""
        low = (self.border + layout.radius)[:, None]
        return low, EXTENT - low

    def truth(self, state: State) -> np.ndarray:
        """The columns of `truth_names`, [num, 4]."""
        return np.concatenate([state.position, state.velocity], axis=1)

    def render(self, state: State) -> np.ndarray:
        """Frames uint8 [num, side, side, 3]; the velocity does not show."""
        return paint.in_chunks(self._paint, state, self.shape)

    def _paint(self, state: State) -> np.ndarray:
        layout, scale = state.layout, self.side / EXTENT
        rim = paint.frame(len(state.position), self.border * scale, self.side)
        image = paint.boxes(rim, layout.wall_color[:, None], layout.floor_color, self.side)
        paint.disk(image, state.position * scale, layout.radius * scale, layout.agent_color)
        return image


def heavy() -> PointMass:
    """Half the force, and no drag: stopping takes twice as long."""
    return PointMass(force=0.2, drag=(0.0, 0.0), max_steps=150)


def varied() -> PointMass:
    """Radius, drag and color vary."""
    colors = (paint.RED, paint.ORANGE, paint.GREEN, paint.BLUE, paint.VIOLET)
    return PointMass(radius=(1.5, 5.0), drag=(0.0, 0.15), agent_colors=colors)
