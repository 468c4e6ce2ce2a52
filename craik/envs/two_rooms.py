"""Two rooms, a wall between them and a door in it: the navigation task of EB-JEPA (arXiv 2602.03604, section 3.3).

A dot moves on a square of 65 x 65 by displacements. The goal lies in another room, so that the straight way is barred.
"""

from dataclasses import dataclass

import numpy as np

from craik.envs import geometry, paint
from craik.envs.geometry import AWAY, Roadmap
from craik.envs.paint import Color
from craik.envs.world import Box, shorten, span

EXTENT = 65.0
CHANNEL_MEAN, CHANNEL_STD = (0.0026, 0.0989), (0.0369, 0.2986)
"""Of the channels dot and wall in 0 to 1: the fixed normalizer of EB-JEPA."""
PLACE_MEAN, PLACE_STD = (31.59, 32.06), 16.1
"""Of the places of the dot [px]: the normalizer of EB-JEPA for read-outs."""
_DOT = 1.3  # standard deviation of the dot [px] in the channel form


@dataclass(frozen=True, slots=True)
class Layout:
    """What stays as it is within an episode, for B worlds of at most W walls with D doors each."""

    wall_x: np.ndarray
    """Center line of each wall [px], ascending, float64 [B, W]; not a number where there is no such wall."""
    door_y: np.ndarray
    """Center of each door [px], ascending, float64 [B, W, D]; not a number where there is no such door."""
    boxes: np.ndarray
    """The walls, [B, W * (D + 1), 4]."""
    doorways: np.ndarray
    """The gaps, [B, W * D, 4]."""
    roads: Roadmap
    radius: np.ndarray
    """Of the dot [px], [B]."""
    agent_color: np.ndarray
    wall_color: np.ndarray
    floor_color: np.ndarray


@dataclass(frozen=True, slots=True)
class State:
    """Where the dot is, [px] float64 [B, 2]; pixel i of the 65 has its center at i."""

    position: np.ndarray
    layout: Layout


@dataclass(frozen=True, slots=True)
class TwoRooms:
    """A dot, walls and doors; the goal is in another room.

    Ends of a range that are equal fix what it is of.
    """

    form: str = "rgb"
    """rgb: frames [side, side, 3]; channels: [65, 65, 2], dot and wall, as published."""
    side: int = 64
    """Of an rgb frame [px]."""
    walls: tuple[int, int] = (1, 1)
    """Fewest and most walls."""
    doors: tuple[int, int] = (1, 1)
    """Fewest and most doors in a wall."""
    wall_x: tuple[int, int] = (20, 45)
    """Where a single wall stands [px], the end not included; several walls share 12 to 53."""
    door_y: tuple[int, int] = (10, 55)
    """Where doors are [px], the end not included."""
    wall_width: int = 3
    """[px], odd."""
    door_half: int = 4
    """A door is 2 * door_half + 1 wide [px]."""
    border: int = 5
    """The dot stays this far from the edges of the picture [px]."""
    slide: bool = False
    """On along a wall that is met, instead of no move at all."""
    max_move: float = 2.45
    """Longest move in a step [px]."""
    success_radius: float = 4.5
    """A goal is reached at less than this distance [px]."""
    max_steps: int = 200
    radius: tuple[float, float] = (2.2, 2.2)
    """Range of the dot's radius [px] in the rgb form; it does not collide, its center does."""
    agent_colors: tuple[Color, ...] = (paint.RED,)
    """One of them is drawn for each layout; so with the other colors."""
    wall_colors: tuple[Color, ...] = (paint.SLATE,)
    floor_colors: tuple[Color, ...] = (paint.WHITE,)

    def __post_init__(self) -> None:
        if self.form not in ("rgb", "channels"):
            raise ValueError(f"form is {self.form!r}; it has to be rgb or channels")
        if not (1 <= self.walls[0] <= self.walls[1] <= 3 and 1 <= self.doors[0] <= self.doors[1] <= 3):
            raise ValueError(f"walls {self.walls} and doors {self.doors} have to be ranges within 1 to 3")
        if self.wall_x[0] > self.wall_x[1] or self.door_y[0] > self.door_y[1] or self.wall_width % 2 == 0:
            raise ValueError("wall_x and door_y have to be (low, high), and wall_width odd")

    @property
    def name(self) -> str:
        """As `craik.envs.find` knows it."""
        return "two_rooms"

    @property
    def action(self) -> Box:
        """Displacement (x, y) [px]."""
        bound = (self.max_move, self.max_move)
        return Box((-self.max_move, -self.max_move), bound, max_norm=self.max_move)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height [px], width [px] and channels of a frame."""
        return (65, 65, 2) if self.form == "channels" else (self.side, self.side, 3)

    @property
    def truth_names(self) -> tuple[str, ...]:
        """The dot, the room it is in (counted from the left), the first wall and its first door."""
        return ("x", "y", "room", "wall_x", "door_y")

    @property
    def arena(self) -> tuple[float, float]:
        """The least and the greatest coordinate of the dot [px]."""
        return float(self.border), EXTENT - 1.0 - self.border

    def reset(self, num: int, rng: np.random.Generator) -> State:
        """Layouts, with the dot anywhere."""
        layout = self.layout(num, rng)
        free = geometry.scatter(
            num,
            lambda rows: rng.uniform(*self.arena, (len(rows), 2)),
            lambda rows, at: ~geometry.inside(at, layout.boxes[rows]),
            "the dot",
        )
        return State(free, layout)

    def step(self, state: State, action: np.ndarray, rng: np.random.Generator) -> State:
        """Moves the dot by actions [num, 2]; chance has no part in it."""
        return self.advance(state, action, state.layout.boxes)

    def advance(self, state: State, action: np.ndarray, boxes: np.ndarray) -> State:
        """`step` among other walls [num, W, 4] than those of the layout: doors that are shut."""
        way = self.action.fit(action, len(state.position))
        return State(geometry.move(state.position, way, boxes, self.arena, self.slide), state.layout)

    def goal(self, state: State, rng: np.random.Generator) -> State:
        """Places in another room, and not already reached through the wall."""
        layout, room = state.layout, self.room(state)

        def accept(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
            near = np.linalg.norm(at - state.position[rows], axis=1) < self.success_radius
            other = (at[:, :1] > layout.wall_x[rows]).sum(axis=1) != room[rows]
            return other & ~near & ~geometry.inside(at, layout.boxes[rows])

        return State(
            geometry.scatter(
                len(room), lambda rows: rng.uniform(*self.arena, (len(rows), 2)), accept, "a goal in another room"
            ),
            layout,
        )

    def reached(self, state: State, goal: State) -> np.ndarray:
        """Whether dot and goal are nearer than `success_radius`, as the crow flies."""
        return np.linalg.norm(state.position - goal.position, axis=1) < self.success_radius

    def distance(self, state: State, goal: State) -> np.ndarray:
        """Length [px] of the shortest path through doors."""
        return geometry.shortest(state.position, goal.position, state.layout.roads, state.layout.boxes)

    def expert(self, state: State, goal: State, rng: np.random.Generator) -> np.ndarray:
        """Along the shortest path, as fast as may be."""
        layout = state.layout
        turn = geometry.waypoint(state.position, goal.position, layout.roads, layout.boxes)
        return shorten(turn - state.position, self.max_move)

    def room(self, state: State) -> np.ndarray:
        """Number of walls left of the dot, [num]."""
        return (state.position[:, :1] > state.layout.wall_x).sum(axis=1)

    def truth(self, state: State) -> np.ndarray:
        """The columns of `truth_names`, [num, 5]."""
        layout = state.layout
        columns = [state.position, self.room(state)[:, None], layout.wall_x[:, :1], layout.door_y[:, 0, :1]]
        return np.concatenate(columns, axis=1)

    def render(self, state: State) -> np.ndarray:
        """Frames uint8 [num, H, W, C]."""
        return paint.in_chunks(self.channels if self.form == "channels" else self.rgb, state, self.shape)

    def rgb(self, state: State, shut: np.ndarray | None = None, door_color: np.ndarray | None = None) -> np.ndarray:
        """Colored frames float32 [num, side, side, 3] in 0 to 255.

        Args:
            state: what to draw.
            shut: which doorways are shut, bool [num, W * D].
            door_color: of those, [num, 3].
        """
        layout, scale = state.layout, self.side / EXTENT
        num = len(state.position)
        # The dark frame is as wide as the dot may not go, so that the dot touches it where it cannot go on.
        rim = max(self.border + 0.5 - self.radius[1], 1.0)
        walls = (layout.boxes + 0.5).clip(rim, EXTENT - rim) * scale
        shape = np.concatenate([walls, paint.frame(num, rim * scale, self.side)], axis=1)
        color = layout.wall_color[:, None]
        if shut is not None and door_color is not None:
            doors = (np.where(shut[..., None], layout.doorways, AWAY) + 0.5).clip(rim, EXTENT - rim) * scale
            color = np.repeat(
                np.stack([layout.wall_color, door_color], axis=1), [shape.shape[1], doors.shape[1]], axis=1
            )
            shape = np.concatenate([shape, doors], axis=1)
        image = paint.boxes(shape, color, layout.floor_color, self.side)
        paint.disk(image, (state.position + 0.5) * scale, layout.radius * scale, layout.agent_color)
        return image

    def channels(self, state: State) -> np.ndarray:
        """Dot and wall, float32 [num, 65, 65, 2] in 0 to 255.

        The brightest pixel of the dot is 1 and a wall line of one pixel runs round the edge: with both, the mean
        and the deviation of the channels are the published ones.
        """
        num = len(state.position)
        apart = np.arange(EXTENT, dtype=np.float32) - state.position.astype(np.float32)[:, :, None]
        bell = np.exp(apart**2 / (-2.0 * _DOT**2))
        bell /= bell.max(axis=2, keepdims=True)
        image = np.empty((num, 65, 65, 2), dtype=np.float32)
        np.multiply(bell[:, 1, :, None], bell[:, 0, None, :], out=image[..., 0])
        shape = (state.layout.boxes + 0.5).clip(1.0, EXTENT - 1.0)
        part = paint.cover(np.concatenate([shape, paint.frame(num, 1.0, 65)], axis=1), 65)
        np.matmul(part[:, :, 1].transpose(0, 2, 1), part[:, :, 0], out=image[..., 1])
        image *= 255.0
        return image

    def layout(self, num: int, rng: np.random.Generator) -> Layout:
        """Walls and doors at whole pixels, colors and sizes."""
        walls, doors = self.walls[1], self.doors[1]
        many = rng.integers(self.walls[0], walls + 1, num)
        wall_x = _apart(
            many, np.where(many > 1, 12, self.wall_x[0]), np.where(many > 1, 53, self.wall_x[1]), walls, rng
        )
        many = rng.integers(self.doors[0], doors + 1, num * walls)
        low, high = np.full(num * walls, self.door_y[0]), np.full(num * walls, self.door_y[1])
        door_y = _apart(many, low, high, doors, rng, room=2 * self.door_half + 2).reshape(num, walls, doors)
        door_y[np.isnan(wall_x)] = np.nan
        boxes, doorways, corners = self.pieces(wall_x, door_y)
        return Layout(
            wall_x,
            door_y,
            boxes,
            doorways,
            geometry.roadmap(corners, boxes),
            span(self.radius, num, rng),
            paint.pick(self.agent_colors, num, rng),
            paint.pick(self.wall_colors, num, rng),
            paint.pick(self.floor_colors, num, rng),
        )

    def pieces(self, wall_x: np.ndarray, door_y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Walls [B, W * (D + 1), 4], doorways [B, W * D, 4] and the corners of the doors [B, W * D * 4, 2]."""
        num, walls, _ = door_y.shape
        half = self.wall_width / 2.0
        # Doors and walls that are not there shrink to lines far away.
        left, right = (np.where(np.isnan(wall_x), AWAY, wall_x + side) for side in (-half, half))
        top, bottom = (np.where(np.isnan(door_y), AWAY, door_y + side * (self.door_half + 0.5)) for side in (-1, 1))
        edge = np.full((num, walls, 1), AWAY)
        begin, end = np.concatenate([-edge, bottom], axis=2), np.concatenate([top, edge], axis=2)

        def box(low: np.ndarray, high: np.ndarray) -> np.ndarray:
            x = [np.broadcast_to(side[:, :, None], low.shape) for side in (left, right)]
            return np.stack([x[0], low, x[1], high], axis=-1).reshape(num, -1, 4)

        doorways = box(top, bottom)
        corners = np.concatenate([doorways[..., [i, j]] for i in (0, 2) for j in (1, 3)], axis=1)
        return box(begin, end), doorways, corners


def fixed() -> TwoRooms:
    """Wall and door always in the middle."""
    return TwoRooms(wall_x=(32, 32), door_y=(32, 32))


def channels() -> TwoRooms:
    """Frames of 65 x 65 with the channels dot and wall, as published."""
    return TwoRooms(form="channels")


def many() -> TwoRooms:
    """One to three walls with one to three doors each."""
    return TwoRooms(walls=(1, 3), doors=(1, 3))


def colorful() -> TwoRooms:
    """The dot is of one of five colors and of one to four pixels radius."""
    return TwoRooms(agent_colors=(paint.RED, paint.ORANGE, paint.GREEN, paint.BLUE, paint.VIOLET), radius=(1.0, 4.0))


def _apart(
    many: np.ndarray, low: np.ndarray, high: np.ndarray, most: int, rng: np.random.Generator, room: int = 6
) -> np.ndarray:
    """Whole numbers float64 [B, most], ascending: one in each of `many` [B] equal parts of low to high [B].

    Where there is more than one, neighbors are at least `room` apart. The rest is not a number.
    """
    part = (high - low) / many
    rank = np.arange(most)
    free = np.maximum(part - np.where(many > 1, room, 0), 0.0)
    places = low[:, None] + rank * part[:, None] + rng.uniform(size=(len(many), most)) * free[:, None]
    return np.where(rank < many[:, None], np.floor(places), np.nan)
