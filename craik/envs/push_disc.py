"""Push a disk to a goal place: the agent can act on the thing that counts only by contact.

The arena is a square of 64 x 64. The agent is a disk that moves by displacements. Where it would overlap the other
disk, it pushes that out of the way along the line of centers. There is no friction between them and no momentum.
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

    agent_radius: np.ndarray
    """[px]"""
    object_radius: np.ndarray
    """[px]"""
    agent_color: np.ndarray
    object_color: np.ndarray
    wall_color: np.ndarray
    floor_color: np.ndarray


@dataclass(frozen=True, slots=True)
class State:
    """Where both disks are, (x, y) [px] in 0 to 64, float64 [B, 2] each."""

    agent: np.ndarray
    object: np.ndarray
    layout: Layout


@dataclass(frozen=True, slots=True)
class PushDisc:
    """A disk that pushes another one to a place.

    Ends of a range that are equal fix what it is of.
    """

    side: int = 64
    """Of a frame [px]."""
    max_move: float = 2.5
    """Longest move of the agent in a step [px]."""
    margin: float = 16.0
    """Start and goal of the object keep this far from the edges [px], so that the agent gets behind it."""
    success_radius: float = 4.5
    """The goal is reached when the object is nearer than this to its place [px]."""
    goal_distance: tuple[float, float] = (10.0, 100.0)
    """Range of the way of the object to its goal [px]."""
    max_steps: int = 150
    border: float = 2.0
    """Width of the drawn border [px]."""
    agent_radius: tuple[float, float] = (3.0, 3.0)
    """Range [px]."""
    object_radius: tuple[float, float] = (5.5, 5.5)
    """Range [px]."""
    agent_colors: tuple[Color, ...] = (paint.RED,)
    """One of them is drawn for each layout; so with the other colors."""
    object_colors: tuple[Color, ...] = (paint.GREEN,)
    wall_colors: tuple[Color, ...] = (paint.SLATE,)
    floor_colors: tuple[Color, ...] = (paint.WHITE,)

    def __post_init__(self) -> None:
        if self.margin < self.border + 2.0 * self.agent_radius[1] + self.object_radius[1]:
            raise ValueError(f"margin {self.margin} leaves the agent no room behind an object at the margin")
        if self.max_move > self.agent_radius[0]:
            raise ValueError(f"max_move {self.max_move} is more than the agent's radius: it would pass through")

    @property
    def name(self) -> str:
        """As `craik.envs.find` knows it."""
        return "push_disc"

    @property
    def action(self) -> Box:
        """Displacement of the agent (x, y) [px]."""
        return Box((-self.max_move,) * 2, (self.max_move,) * 2, max_norm=self.max_move)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height [px], width [px] and channels of a frame."""
        return self.side, self.side, 3

    @property
    def truth_names(self) -> tuple[str, ...]:
        """Both places, and whether the disks touch."""
        return ("agent_x", "agent_y", "object_x", "object_y", "contact")

    def reset(self, num: int, rng: np.random.Generator) -> State:
        """Both disks anywhere, apart from each other."""
        layout = Layout(
            span(self.agent_radius, num, rng),
            span(self.object_radius, num, rng),
            paint.pick(self.agent_colors, num, rng),
            paint.pick(self.object_colors, num, rng),
            paint.pick(self.wall_colors, num, rng),
            paint.pick(self.floor_colors, num, rng),
        )
        item = rng.uniform(self.margin, EXTENT - self.margin, (num, 2))
        return State(self._agent_beside(item, layout, rng), item, layout)

    def step(self, state: State, action: np.ndarray, rng: np.random.Generator) -> State:
        """Moves the agent by actions [num, 2], and what it pushes; chance has no part in it."""
        layout = state.layout
        way = self.action.fit(action, len(state.agent))
        agent = np.clip(state.agent + way, *self.arena(layout.agent_radius))
        # The object yields to the agent; what the border does not let it yield, the agent has to.
        item = state.object + self._overlap(agent, state.object, layout)
        item = np.clip(item, *self.arena(layout.object_radius))
        agent = np.clip(agent - self._overlap(agent, item, layout), *self.arena(layout.agent_radius))
        # Wedged between object and border nothing moves at all.
        wedged = (np.linalg.norm(self._overlap(agent, item, layout), axis=1) > 1e-6)[:, None]
        return State(np.where(wedged, state.agent, agent), np.where(wedged, state.object, item), layout)

    def goal(self, state: State, rng: np.random.Generator) -> State:
        """Places for the object as far as `goal_distance` says; the agent is anywhere, which does not count."""

        def accept(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
            far = np.linalg.norm(at - state.object[rows], axis=1)
            return (far >= max(self.goal_distance[0], self.success_radius)) & (far <= self.goal_distance[1])

        item = geometry.scatter(
            len(state.object),
            lambda rows: rng.uniform(self.margin, EXTENT - self.margin, (len(rows), 2)),
            accept,
            "a goal so far away",
        )
        return State(self._agent_beside(item, state.layout, rng), item, state.layout)

    def reached(self, state: State, goal: State) -> np.ndarray:
        """Whether the object is near its place; where the agent is does not count."""
        return self.distance(state, goal) < self.success_radius

    def distance(self, state: State, goal: State) -> np.ndarray:
        """How far the object has still to go [px], straight; the agent's own way to it is not in it."""
        return np.linalg.norm(goal.object - state.object, axis=1)

    def expert(self, state: State, goal: State, rng: np.random.Generator) -> np.ndarray:
        """Round the object to the side away from the goal, then straight against it."""
        layout = state.layout
        push = goal.object - state.object
        push /= np.maximum(np.linalg.norm(push, axis=1, keepdims=True), 1e-12)
        side = state.agent - state.object
        far = np.linalg.norm(side, axis=1, keepdims=True)
        side = side / np.maximum(far, 1e-12)
        touch = (layout.agent_radius + layout.object_radius)[:, None]
        # Angle from where the agent is to the point behind the object, seen from the object.
        turn = np.arctan2(
            side[:, 1] * push[:, 0] - side[:, 0] * push[:, 1],
            -(side * push).sum(axis=1),
        )[:, None]
        aligned = np.abs(turn) < 0.25
        # On the orbit: as far round as one move carries, at a small distance from the object.
        orbit = np.maximum(touch + 1.0, np.minimum(far, touch + 6.0) * np.cos(np.clip(turn, -1.0, 1.0)))
        angle = np.clip(turn, -1.0, 1.0) * np.minimum(1.0, self.max_move / orbit)
        cos, sin = np.cos(angle), np.sin(angle)
        round_it = np.concatenate(
            [cos * side[:, :1] - sin * side[:, 1:], sin * side[:, :1] + cos * side[:, 1:]], axis=1
        )
        circle = state.object + orbit * round_it
        behind = state.object - push * (touch - self.max_move)
        low, high = self.arena(layout.agent_radius)
        aim = np.where(aligned, behind, np.clip(circle, low, high))
        return shorten(aim - state.agent, self.max_move)

    def arena(self, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest coordinate of the center of disks [px], [B, 1] each."""
        low = (self.border + radius)[:, None]
        return low, EXTENT - low

    def truth(self, state: State) -> np.ndarray:
        """The columns of `truth_names`, [num, 5]."""
        layout = state.layout
        gap = np.linalg.norm(state.agent - state.object, axis=1) - layout.agent_radius - layout.object_radius
        return np.column_stack([state.agent, state.object, gap < 0.01])

    def render(self, state: State) -> np.ndarray:
        """Frames uint8 [num, side, side, 3]; the goal is not in them."""
        return paint.in_chunks(self._paint, state, self.shape)

    def _paint(self, state: State) -> np.ndarray:
        layout, scale = state.layout, self.side / EXTENT
        rim = paint.frame(len(state.agent), self.border * scale, self.side)
        image = paint.boxes(rim, layout.wall_color[:, None], layout.floor_color, self.side)
        paint.disk(image, state.object * scale, layout.object_radius * scale, layout.object_color)
        paint.disk(image, state.agent * scale, layout.agent_radius * scale, layout.agent_color)
        return image

    def _overlap(self, agent: np.ndarray, item: np.ndarray, layout: Layout) -> np.ndarray:
        """How the object has to move so that the disks just touch [px], [B, 2]; zero where they do not overlap."""
        apart = item - agent
        length = np.linalg.norm(apart, axis=1, keepdims=True)
        deep = np.maximum((layout.agent_radius + layout.object_radius)[:, None] - length, 0.0)
        return apart / np.maximum(length, 1e-12) * deep

    def _agent_beside(self, item: np.ndarray, layout: Layout, rng: np.random.Generator) -> np.ndarray:
        low, high = self.arena(layout.agent_radius)

        def accept(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
            touch = (layout.agent_radius + layout.object_radius)[rows]
            return np.linalg.norm(at - item[rows], axis=1) > touch + 0.5

        return geometry.scatter(
            len(item), lambda rows: rng.uniform(low[rows], high[rows], (len(rows), 2)), accept, "the agent"
        )


def varied() -> PushDisc:
    """Sizes and colors of both disks vary."""
    warm, cool = (paint.RED, paint.ORANGE, paint.VIOLET), (paint.GREEN, paint.BLUE)
    return PushDisc(agent_radius=(2.5, 3.5), object_radius=(4.0, 7.0), agent_colors=warm, object_colors=cool)
