"""A maze of rooms in a grid, joined by doors along a spanning tree: far goals need many turns.

The arena is a square of 64 x 64; the agent moves by displacements and slides along walls.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from craik.envs import geometry, paint
from craik.envs.geometry import AWAY, Roadmap
from craik.envs.paint import Color
from craik.envs.world import Box, shorten, span

EXTENT = 64.0


@dataclass(frozen=True, slots=True)
class Layout:
    """What stays as it is within an episode, for B worlds with E places for a door between two rooms."""

    doors: np.ndarray
    """Whether there is a door, bool [B, E]; places in the order of `Maze.borders`."""
    boxes: np.ndarray
    """The walls as drawn, [B, W, 4]."""
    solid: np.ndarray
    """The walls as the agent's center meets them: thicker by its body, [B, W, 4]."""
    roads: Roadmap
    radius: np.ndarray
    """Of the agent [px], [B]."""
    agent_color: np.ndarray
    wall_color: np.ndarray
    floor_color: np.ndarray


@dataclass(frozen=True, slots=True)
class State:
    """Where the agent's center is, (x, y) [px] in 0 to 64, float64 [B, 2]."""

    position: np.ndarray
    layout: Layout


@dataclass(frozen=True, slots=True)
class Borders:
    """Where neighboring rooms meet, E places."""

    rooms: np.ndarray
    """The two rooms, int64 [E, 2], numbered row by row."""
    axis: np.ndarray
    """0: the wall stands upright (its x is fixed); 1: it lies; int64 [E]."""
    line: np.ndarray
    """The coordinate of its center line [px], [E]."""
    ends: np.ndarray
    """Where it begins and ends along itself, between the posts [px], [E, 2]."""


@dataclass(frozen=True, slots=True)
class Maze:
    """Rooms in a grid, joined by doors along a spanning tree.

    Ends of a range that are equal fix what it is of.
    """

    rows: int = 3
    cols: int = 3
    side: int = 64
    """Of a frame [px]."""
    wall_width: float = 2.0
    """[px]"""
    door_width: float = 8.0
    """[px]"""
    shift_doors: bool = True
    """Doors anywhere along their wall; else in its middle."""
    extra_doors: float = 0.0
    """Probability of a door where the spanning tree has none, which makes loops."""
    slide: bool = True
    """On along a wall that is met, instead of no move at all."""
    max_move: float = 2.45
    """Longest move in a step [px]."""
    success_radius: float = 4.5
    """A goal is reached at less than this distance [px], in the same room or in sight."""
    goal_distance: tuple[float, float] = (12.0, 1000.0)
    """Range of the shortest path to a goal [px]; goals are in another room."""
    max_steps: int = 200
    body: float = 1.5
    """The agent's center keeps this far from walls [px]: half the side of the square that collides."""
    radius: tuple[float, float] = (2.0, 2.0)
    """Range of the agent's drawn radius [px]."""
    agent_colors: tuple[Color, ...] = (paint.RED,)
    """One of them is drawn for each layout; so with the other colors."""
    wall_colors: tuple[Color, ...] = (paint.SLATE,)
    floor_colors: tuple[Color, ...] = (paint.WHITE,)

    def __post_init__(self) -> None:
        if self.rows * self.cols < 2:
            raise ValueError(f"a maze of {self.rows} x {self.cols} rooms has no second room")
        room = EXTENT / max(self.rows, self.cols) - self.wall_width
        if not 2.0 * self.body < self.door_width < room - 1.0:
            raise ValueError(
                f"doors of {self.door_width} px have to be wider than the agent ({2 * self.body}) and narrower "
                f"than the walls of the rooms ({room:.1f} - 1)"
            )

    @property
    def name(self) -> str:
        """As `craik.envs.find` knows it."""
        return "maze"

    @property
    def action(self) -> Box:
        """Displacement (x, y) [px]."""
        return Box((-self.max_move,) * 2, (self.max_move,) * 2, max_norm=self.max_move)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height [px], width [px] and channels of a frame."""
        return self.side, self.side, 3

    @property
    def truth_names(self) -> tuple[str, ...]:
        """The agent, and the row and column of its room."""
        return ("x", "y", "row", "col")

    @property
    def borders(self) -> Borders:
        """Where neighboring rooms meet."""
        return _borders(self.rows, self.cols, self.wall_width)

    @property
    def arena(self) -> tuple[float, float]:
        """The least and the greatest coordinate of the agent's center [px]; a wall runs round the maze."""
        low = self.wall_width + self.body
        return low, EXTENT - low

    def reset(self, num: int, rng: np.random.Generator) -> State:
        """Layouts, with the agent anywhere."""
        layout = self.layout(num, rng)
        at = geometry.scatter(
            num,
            lambda rows: rng.uniform(*self.arena, (len(rows), 2)),
            lambda rows, at: ~geometry.inside(at, layout.solid[rows]),
            "the agent",
        )
        return State(at, layout)

    def step(self, state: State, action: np.ndarray, rng: np.random.Generator) -> State:
        """Moves the agent by actions [num, 2]; chance has no part in it."""
        way = self.action.fit(action, len(state.position))
        return State(geometry.move(state.position, way, state.layout.solid, self.arena, self.slide), state.layout)

    def goal(self, state: State, rng: np.random.Generator) -> State:
        """Places in another room, as far as `goal_distance` says."""
        layout, room = state.layout, self.room(state.position)
        least, most = self.goal_distance

        def accept(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
            good = ~geometry.inside(at, layout.solid[rows]) & (self.room(at) != room[rows])
            good &= np.linalg.norm(at - state.position[rows], axis=1) >= self.success_radius
            some = np.flatnonzero(good)
            far = self._length(state.position[rows[some]], at[some], layout, rows[some])
            good[some] = (far >= least) & (far <= most)
            return good

        at = geometry.scatter(
            len(room), lambda rows: rng.uniform(*self.arena, (len(rows), 2)), accept, "a goal in another room"
        )
        return State(at, layout)

    def reached(self, state: State, goal: State) -> np.ndarray:
        """Whether agent and goal are nearer than `success_radius`, as the crow flies."""
        return np.linalg.norm(state.position - goal.position, axis=1) < self.success_radius

    def distance(self, state: State, goal: State) -> np.ndarray:
        """Length [px] of the shortest path through doors."""
        return geometry.shortest(state.position, goal.position, state.layout.roads, state.layout.solid)

    def expert(self, state: State, goal: State, rng: np.random.Generator) -> np.ndarray:
        """Along the shortest path, as fast as may be."""
        turn = geometry.waypoint(state.position, goal.position, state.layout.roads, state.layout.solid)
        return shorten(turn - state.position, self.max_move)

    def room(self, position: np.ndarray) -> np.ndarray:
        """Number of the room [num] of each place [num, 2], row by row."""
        row, col = self._cell(position)
        return row * self.cols + col

    def truth(self, state: State) -> np.ndarray:
        """The columns of `truth_names`, [num, 4]."""
        return np.column_stack([state.position, *self._cell(state.position)])

    def render(self, state: State) -> np.ndarray:
        """Frames uint8 [num, side, side, 3]."""
        return paint.in_chunks(self._paint, state, self.shape)

    def layout(self, num: int, rng: np.random.Generator) -> Layout:
        """Doors along a random spanning tree, colors and sizes."""
        doors = _spanning_tree(self.borders.rooms, self.rows * self.cols, num, rng)
        doors |= rng.uniform(size=doors.shape) < self.extra_doors
        boxes, solid, corners = self._pieces(doors, rng)
        return Layout(
            doors,
            boxes,
            solid,
            geometry.roadmap(corners, solid),
            span(self.radius, num, rng),
            paint.pick(self.agent_colors, num, rng),
            paint.pick(self.wall_colors, num, rng),
            paint.pick(self.floor_colors, num, rng),
        )

    def _pieces(self, doors: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Walls as drawn and as met [B, W, 4], and the corners of doors as the agent's center rounds them."""
        places, half = self.borders, self.wall_width / 2.0
        begin, end = places.ends[:, 0], places.ends[:, 1]
        room = (end - begin - self.door_width) / 2.0 - 0.5  # at least half a pixel of wall on both sides
        shift = rng.uniform(-1.0, 1.0, doors.shape) * room if self.shift_doors else np.zeros(doors.shape)
        middle = (begin + end) / 2.0 + shift
        # Without a door the first piece is the whole wall, and the second one has no length.
        gap = [np.where(doors, middle + side * self.door_width / 2.0, end) for side in (-1, 1)]
        lengths = [(np.broadcast_to(begin, doors.shape), gap[0]), (gap[1], np.broadcast_to(end, doors.shape))]
        walls = [_across(places.axis, places.line, low, high, half) for low, high in lengths]
        # Only places with a door have a second piece, and corners: as many as every layout may need.
        most = len(places.line) if self.extra_doors else self.rows * self.cols - 1
        first = np.argsort(~doors, axis=1, kind="stable")[:, :most, None]
        walls[1] = np.take_along_axis(walls[1], first, axis=1)
        boxes = np.concatenate([*walls, self._posts(len(doors)), self._rim(len(doors))], axis=1)
        solid = geometry.grow(np.concatenate([*walls, self._posts(len(doors))], axis=1), self.body)
        reach = np.where(doors, self.door_width / 2.0 - self.body, AWAY)  # corners of no door lie away
        opening = _across(places.axis, places.line, middle - reach, middle + reach, half + self.body)
        opening = np.take_along_axis(opening, first, axis=1)
        corners = np.concatenate([opening[..., [i, j]] for i in (0, 2) for j in (1, 3)], axis=1)
        return boxes, solid, corners

    def _posts(self, num: int) -> np.ndarray:
        """Where inner walls cross, [num, P, 4]."""
        x, y = (EXTENT * np.arange(1, many) / many for many in (self.cols, self.rows))
        center = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        half = self.wall_width / 2.0
        return np.broadcast_to(np.concatenate([center - half, center + half], axis=1), (num, len(center), 4))

    def _rim(self, num: int) -> np.ndarray:
        """The wall round the maze, [num, 4, 4]."""
        return paint.frame(num, self.wall_width, int(EXTENT))

    def _cell(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        row = np.floor(position[:, 1] * self.rows / EXTENT).astype(np.int64)
        col = np.floor(position[:, 0] * self.cols / EXTENT).astype(np.int64)
        return row, col

    def _length(self, at: np.ndarray, goal: np.ndarray, layout: Layout, rows: np.ndarray) -> np.ndarray:
        roads = Roadmap(layout.roads.corners[rows], layout.roads.between[rows])
        return geometry.shortest(at, goal, roads, layout.solid[rows])

    def _paint(self, state: State) -> np.ndarray:
        layout, scale = state.layout, self.side / EXTENT
        image = paint.boxes(layout.boxes * scale, layout.wall_color[:, None], layout.floor_color, self.side)
        paint.disk(image, state.position * scale, layout.radius * scale, layout.agent_color)
        return image


def large() -> Maze:
    """Five by five rooms."""
    return Maze(rows=5, cols=5, wall_width=1.5, door_width=7.0, body=1.2, radius=(1.7, 1.7), max_steps=400)


def row() -> Maze:
    """Four rooms in a row."""
    return Maze(rows=1, cols=4)


def loops() -> Maze:
    """Every third place without a door has one after all, so that there is more than one way."""
    return Maze(extra_doors=1 / 3)


@cache
def _borders(rows: int, cols: int, wall_width: float) -> Borders:
    half = wall_width / 2.0
    found = []
    for row in range(rows):
        for col in range(cols):
            here = row * cols + col
            if col + 1 < cols:
                found.append((here, here + 1, 0, (col + 1) / cols, row / rows, (row + 1) / rows))
            if row + 1 < rows:
                found.append((here, here + cols, 1, (row + 1) / rows, col / cols, (col + 1) / cols))
    table = np.array(found)
    ends = EXTENT * table[:, 4:]
    # Between the posts, or the wall round the maze, which is drawn whole.
    ends[:, 0] += np.where(ends[:, 0] == 0.0, wall_width, half)
    ends[:, 1] -= np.where(ends[:, 1] == EXTENT, wall_width, half)
    return Borders(table[:, :2].astype(np.int64), table[:, 2].astype(np.int64), EXTENT * table[:, 3], ends)


def _across(axis: np.ndarray, line: np.ndarray, low: np.ndarray, high: np.ndarray, half: float) -> np.ndarray:
    """Boxes [B, E, 4] from low to high [B, E] along upright (axis 0) or lying lines [E], 2 * half thick."""
    thick = np.broadcast_to(line - half, low.shape), np.broadcast_to(line + half, low.shape)
    upright = np.stack([thick[0], low, thick[1], high], axis=-1)
    lying = np.stack([low, thick[0], high, thick[1]], axis=-1)
    return np.where(axis[:, None] == 0, upright, lying)


def _spanning_tree(edges: np.ndarray, nodes: int, num: int, rng: np.random.Generator) -> np.ndarray:
    """For each world a random spanning tree, bool [num, E]: the lightest one for random weights (Prim)."""
    weight = rng.uniform(size=(num, len(edges)))
    world = np.arange(num)
    joined = np.zeros((num, nodes), dtype=bool)
    joined[:, 0] = True
    tree = np.zeros((num, len(edges)), dtype=bool)
    for _ in range(nodes - 1):
        leads_out = joined[:, edges[:, 0]] != joined[:, edges[:, 1]]
        best = np.where(leads_out, weight, np.inf).argmin(axis=1)
        tree[world, best] = True
        joined[world[:, None], edges[best]] = True
    return tree
