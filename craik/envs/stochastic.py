"""Chance: a door that opens at random, ice on which moves veer, and disturbances that any world can have around it.

`RandomDoor` and `Ice` have more than one future that matters, `Ice` already at the next step. `Distractor` and `Noise`
have futures that do not: a model that spends its capacity on them predicts worse what counts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from craik.envs import geometry, paint, two_rooms
from craik.envs.paint import Color
from craik.envs.two_rooms import TwoRooms
from craik.envs.world import Action, Box, World, shorten


@dataclass(frozen=True, slots=True)
class DoorState:
    """Two rooms, and which of the W * D doorways are open."""

    rooms: two_rooms.State
    open: np.ndarray
    """bool [B, W * D]"""
    door_color: np.ndarray
    """[B, 3]"""


@dataclass(frozen=True, slots=True)
class RandomDoor:
    """Two rooms whose doors open and shut by chance, each for itself.

    A frame shows the doors as the next move meets them. After the move a shut door opens with `open_prob`, and an
    open one shuts with `shut_prob` unless the dot stands in it. So k steps after a frame with a shut door it is open
    with probability p (1 - (1 - a - b)^k), where a and b are the two and p = a / (a + b).
    """

    rooms: TwoRooms = TwoRooms()
    open_prob: float = 0.1
    """Per step."""
    shut_prob: float = 0.1
    """Per step."""
    door_colors: tuple[Color, ...] = (paint.ORANGE,)

    def __post_init__(self) -> None:
        if not (0.0 < self.open_prob <= 1.0 and 0.0 <= self.shut_prob <= 1.0):
            raise ValueError("open_prob has to be in 0 to 1, not 0, and shut_prob in 0 to 1")
        if self.rooms.form != "rgb":
            raise ValueError("a random door is drawn in the rgb form only")

    @property
    def name(self) -> str:
        """As `craik.envs.find` knows it."""
        return "random_door"

    @property
    def action(self) -> Box:
        """Displacement (x, y) [px]."""
        return self.rooms.action

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height [px], width [px] and channels of a frame."""
        return self.rooms.shape

    @property
    def max_steps(self) -> int:
        """Steps in which a goal is to be reached."""
        return self.rooms.max_steps

    @property
    def truth_names(self) -> tuple[str, ...]:
        """Those of two rooms, and whether the first door is open."""
        return (*self.rooms.truth_names, "open")

    def reset(self, num: int, rng: np.random.Generator) -> DoorState:
        """Layouts with doors as open as they are in the long run."""
        return self._with_doors(self.rooms.reset(num, rng), rng)

    def step(self, state: DoorState, action: np.ndarray, rng: np.random.Generator) -> DoorState:
        """Moves the dot by actions [num, 2] among the doors as they are, then lets chance move these."""
        doorways = state.rooms.layout.doorways
        shut = np.where(state.open[..., None], geometry.AWAY, doorways)
        moved = self.rooms.advance(state.rooms, action, np.concatenate([state.rooms.layout.boxes, shut], axis=1))
        at = moved.position[:, None]
        stands_in = ((at >= doorways[..., :2]) & (at <= doorways[..., 2:])).all(axis=2)
        chance = rng.uniform(size=state.open.shape)
        still_open = stands_in | (chance >= self.shut_prob)
        return DoorState(moved, np.where(state.open, still_open, chance < self.open_prob), state.door_color)

    def goal(self, state: DoorState, rng: np.random.Generator) -> DoorState:
        """Places in another room, the doors as they may be."""
        return self._with_doors(self.rooms.goal(state.rooms, rng), rng)

    def reached(self, state: DoorState, goal: DoorState) -> np.ndarray:
        """Whether the dot is at the goal; the doors do not count."""
        return self.rooms.reached(state.rooms, goal.rooms)

    def distance(self, state: DoorState, goal: DoorState) -> np.ndarray:
        """Length [px] of the shortest path when all doors are open."""
        return self.rooms.distance(state.rooms, goal.rooms)

    def expert(self, state: DoorState, goal: DoorState, rng: np.random.Generator) -> np.ndarray:
        """Along the shortest path, waiting before a shut door."""
        return self.rooms.expert(state.rooms, goal.rooms, rng)

    def truth(self, state: DoorState) -> np.ndarray:
        """The columns of `truth_names`, [num, 6]."""
        return np.column_stack([self.rooms.truth(state.rooms), state.open[:, 0]])

    def render(self, state: DoorState) -> np.ndarray:
        """Frames uint8 [num, side, side, 3]."""
        return paint.in_chunks(lambda s: self.rooms.rgb(s.rooms, ~s.open, s.door_color), state, self.shape)

    def _with_doors(self, rooms: two_rooms.State, rng: np.random.Generator) -> DoorState:
        num, doors = rooms.layout.doorways.shape[:2]
        is_open = rng.uniform(size=(num, doors)) < self.open_prob / (self.open_prob + self.shut_prob)
        return DoorState(rooms, is_open, paint.pick(self.door_colors, num, rng))


@dataclass(frozen=True, slots=True)
class IceState:
    """The dot, (x, y) [px], float64 [B, 2]."""

    position: np.ndarray
    agent_color: np.ndarray
    """[B, 3]"""


@dataclass(frozen=True, slots=True)
class Ice:
    """A dot on a field with a strip of ice, on which each move veers to the left or to the right by chance.

    Off the ice an action has one future, on it two, of the same length: which two depends on the action, and how often
    each comes true on `left_prob` alone. Their mean, the move cut short, never happens.
    """

    side: int = 64
    """Of a frame [px], and of the field."""
    strip: tuple[float, float] = (20.0, 46.0)
    """Least and greatest x of the ice [px]."""
    veer: float = 60.0
    """Angle between a move and what comes of it on the ice [degrees]."""
    left_prob: float = 0.7
    """Of veering to the left."""
    max_move: float = 8.0
    """Longest move [px per step]."""
    success_radius: float = 4.5
    """A goal is reached at less than this distance [px]."""
    max_steps: int = 100
    border: float = 4.0
    """Least distance of the dot from the edge [px]."""
    radius: float = 2.5
    """Of the dot [px]."""
    agent_colors: tuple[Color, ...] = (paint.RED,)
    """One of them is drawn for each episode."""
    ice_color: Color = (176, 214, 240)
    floor_color: Color = paint.WHITE

    def __post_init__(self) -> None:
        if not (0.0 < self.left_prob < 1.0 and 0.0 < self.veer < 90.0):
            raise ValueError("left_prob has to be between 0 and 1, and veer between 0 and 90 [degrees]")

    @property
    def name(self) -> str:
        """As `craik.envs.find` knows it."""
        return "ice"

    @property
    def action(self) -> Box:
        """Move (x, y) [px]."""
        bound = (self.max_move, self.max_move)
        return Box((-self.max_move, -self.max_move), bound, max_norm=self.max_move)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height [px], width [px] and channels of a frame."""
        return self.side, self.side, 3

    @property
    def truth_names(self) -> tuple[str, ...]:
        """The dot, and whether it is on the ice."""
        return ("x", "y", "on_ice")

    def reset(self, num: int, rng: np.random.Generator) -> IceState:
        """Dots anywhere."""
        return IceState(self._anywhere(num, rng), paint.pick(self.agent_colors, num, rng))

    def step(self, state: IceState, action: np.ndarray, rng: np.random.Generator) -> IceState:
        """Moves by actions [num, 2], which veer where the dot sets out on the ice; the edge stops it."""
        way = self.action.fit(action, len(state.position))
        left = rng.uniform(size=len(way)) < self.left_prob
        angle = np.radians(self.veer) * np.where(left, -1.0, 1.0) * self.on_ice(state)  # y points down
        cos, sin = np.cos(angle), np.sin(angle)
        veered = np.stack([cos * way[:, 0] - sin * way[:, 1], sin * way[:, 0] + cos * way[:, 1]], axis=1)
        return IceState(np.clip(state.position + veered, self.border, self.side - self.border), state.agent_color)

    def on_ice(self, state: IceState) -> np.ndarray:
        """Whether each dot is on the ice, bool [num]."""
        x = state.position[:, 0]
        return (x >= self.strip[0]) & (x <= self.strip[1])

    def goal(self, state: IceState, rng: np.random.Generator) -> IceState:
        """Any other places, not already reached."""
        at = self._anywhere(len(state.position), rng)
        while (near := np.linalg.norm(at - state.position, axis=1) < self.success_radius).any():
            at[near] = self._anywhere(int(near.sum()), rng)
        return IceState(at, state.agent_color)

    def reached(self, state: IceState, goal: IceState) -> np.ndarray:
        """Whether dot and goal are nearer than `success_radius`."""
        return self.distance(state, goal) < self.success_radius

    def distance(self, state: IceState, goal: IceState) -> np.ndarray:
        """The straight way [px]; ice makes it longer."""
        return np.linalg.norm(goal.position - state.position, axis=1)

    def expert(self, state: IceState, goal: IceState, rng: np.random.Generator) -> np.ndarray:
        """Straight to the goal; on the ice no further than brings it nearest on either side."""
        way = goal.position - state.position
        share = np.where(self.on_ice(state), np.cos(np.radians(self.veer)), 1.0)
        return shorten(way * share[:, None], self.max_move)

    def truth(self, state: IceState) -> np.ndarray:
        """The columns of `truth_names`, [num, 3]."""
        return np.column_stack([state.position, self.on_ice(state)])

    def render(self, state: IceState) -> np.ndarray:
        """Frames uint8 [num, side, side, 3]."""
        return paint.in_chunks(self._paint, state, self.shape)

    def _paint(self, state: IceState) -> np.ndarray:
        num = len(state.position)
        strip = np.tile([[[self.strip[0], 0.0, self.strip[1], self.side]]], (num, 1, 1))
        ice, floor = (np.tile(np.float32(color), (num, 1)) for color in (self.ice_color, self.floor_color))
        image = paint.boxes(strip, ice[:, None], floor, self.side)
        paint.disk(image, state.position, np.full(num, self.radius), state.agent_color)
        return image

    def _anywhere(self, num: int, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(self.border, self.side - self.border, (num, 2))


@dataclass(frozen=True, slots=True)
class Disturbed:
    """A world with something around it that no action changes; goals and distances are the world's."""

    world: World[Any]

    def __post_init__(self) -> None:
        if self.world.shape[2] != 3:
            raise ValueError(f"{self.world.name} has frames of {self.world.shape[2]} channels; this needs colors")

    @property
    def action(self) -> Action:
        """As in the world."""
        return self.world.action

    @property
    def shape(self) -> tuple[int, int, int]:
        """As in the world."""
        return self.world.shape

    @property
    def max_steps(self) -> int:
        """As in the world."""
        return self.world.max_steps

    @property
    def truth_names(self) -> tuple[str, ...]:
        """As in the world."""
        return self.world.truth_names

    def reached(self, state: Any, goal: Any) -> np.ndarray:
        """As in the world, bool [num]."""
        return self.world.reached(state.world, goal.world)

    def distance(self, state: Any, goal: Any) -> np.ndarray:
        """As in the world, [num]."""
        return self.world.distance(state.world, goal.world)

    def expert(self, state: Any, goal: Any, rng: np.random.Generator) -> np.ndarray:
        """As in the world."""
        return self.world.expert(state.world, goal.world, rng)

    def truth(self, state: Any) -> np.ndarray:
        """As in the world, [num, K]."""
        return self.world.truth(state.world)


@dataclass(frozen=True, slots=True)
class DistractorState:
    """A world's state, and a disk that drifts."""

    world: Any
    place: np.ndarray
    """(x, y) as parts of the frame, float64 [B, 2]."""
    velocity: np.ndarray
    """[frames per step], float64 [B, 2]."""
    color: np.ndarray
    """[B, 3]"""


@dataclass(frozen=True, slots=True)
class Distractor(Disturbed):
    """A disk that drifts over the frame and has nothing to do with the agent."""

    radius: float = 0.05
    """Part of the frame."""
    speed: float = 0.02
    """Standard deviation of each part of the velocity [frames per step]."""
    persistence: float = 0.9
    """Correlation of the velocity with that of the step before."""
    colors: tuple[Color, ...] = (paint.VIOLET,)

    @property
    def name(self) -> str:
        """As `craik.envs.find` knows it."""
        return f"{self.world.name}+distractor"

    @property
    def truth_names(self) -> tuple[str, ...]:
        """Those of the world, and the place of the disk [px]."""
        return (*self.world.truth_names, "distractor_x", "distractor_y")

    def reset(self, num: int, rng: np.random.Generator) -> DistractorState:
        """States of the world, the disk anywhere."""
        return self._around(self.world.reset(num, rng), num, rng)

    def step(self, state: DistractorState, action: np.ndarray, rng: np.random.Generator) -> DistractorState:
        """A step of the world; the disk drifts and turns back at the edges."""
        fresh = rng.normal(0.0, self.speed, state.velocity.shape)
        velocity = self.persistence * state.velocity + np.sqrt(1.0 - self.persistence**2) * fresh
        free = state.place + velocity
        place = np.clip(free, self.radius, 1.0 - self.radius)
        velocity = np.where(place == free, velocity, -velocity)
        return DistractorState(self.world.step(state.world, action, rng), place, velocity, state.color)

    def goal(self, state: DistractorState, rng: np.random.Generator) -> DistractorState:
        """Goals of the world; the disk is elsewhere in their frames."""
        return self._around(self.world.goal(state.world, rng), len(state.place), rng)

    def truth(self, state: DistractorState) -> np.ndarray:
        """The columns of `truth_names`, [num, K]."""
        return np.column_stack([self.world.truth(state.world), state.place * self.shape[1]])

    def render(self, state: DistractorState) -> np.ndarray:
        """Frames of the world with the disk over them, uint8 [num, H, W, 3]."""
        return paint.in_chunks(self._paint, state, self.shape)

    def _paint(self, state: DistractorState) -> np.ndarray:
        image = self.world.render(state.world).astype(np.float32)
        side = self.shape[1]
        paint.disk(image, state.place * side, np.full(len(image), self.radius * side), state.color)
        return image

    def _around(self, world: Any, num: int, rng: np.random.Generator) -> DistractorState:
        place = rng.uniform(self.radius, 1.0 - self.radius, (num, 2))
        return DistractorState(world, place, rng.normal(0.0, self.speed, (num, 2)), paint.pick(self.colors, num, rng))


@dataclass(frozen=True, slots=True)
class NoiseState:
    """A world's state, and a coarse grid of random heights."""

    world: Any
    field: np.ndarray
    """Of standard deviation 1, float32 [B, cells, cells, 3]."""


@dataclass(frozen=True, slots=True)
class Noise(Disturbed):
    """A noise video behind everything: soft blobs of color that come and go, added to every pixel.

    A floor near white loses the part that would be lighter than white.
    """

    strength: float = 16.0
    """Standard deviation at the nodes of the grid [gray levels of 255]."""
    cells: int = 8
    """Nodes of the grid along each side."""
    persistence: float = 0.8
    """Correlation of the heights with those of the step before."""

    @property
    def name(self) -> str:
        """As `craik.envs.find` knows it."""
        return f"{self.world.name}+noise"

    def reset(self, num: int, rng: np.random.Generator) -> NoiseState:
        """States of the world, with fresh noise."""
        return NoiseState(self.world.reset(num, rng), self._fresh(num, rng))

    def step(self, state: NoiseState, action: np.ndarray, rng: np.random.Generator) -> NoiseState:
        """A step of the world and of the video."""
        fresh = self._fresh(len(state.field), rng)
        field = np.float32(self.persistence) * state.field + np.float32(np.sqrt(1 - self.persistence**2)) * fresh
        return NoiseState(self.world.step(state.world, action, rng), field)

    def goal(self, state: NoiseState, rng: np.random.Generator) -> NoiseState:
        """Goals of the world, with other noise in their frames."""
        return NoiseState(self.world.goal(state.world, rng), self._fresh(len(state.field), rng))

    def render(self, state: NoiseState) -> np.ndarray:
        """Frames of the world plus noise, uint8 [num, H, W, 3]."""
        height, width, _ = self.shape
        down, right = _between_nodes(height, self.cells), _between_nodes(width, self.cells)
        across = np.kron(right.T, np.eye(3, dtype=np.float32)) * np.float32(self.strength)

        def painted(part: NoiseState) -> np.ndarray:
            rows = part.field.reshape(len(part.field), self.cells, self.cells * 3) @ across
            image = (down @ rows).reshape(len(rows), height, width, 3)
            image += self.world.render(part.world)
            return np.clip(image, 0.0, 255.0, out=image)

        return paint.in_chunks(painted, state, self.shape)

    def _fresh(self, num: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((num, self.cells, self.cells, 3), dtype=np.float32)


def flicker() -> RandomDoor:
    """The door is as likely open as shut in each frame, whatever it was."""
    return RandomDoor(open_prob=0.5, shut_prob=0.5)


def rare() -> RandomDoor:
    """The door is shut nine tenths of the time."""
    return RandomDoor(open_prob=0.02, shut_prob=0.18)


def fair() -> Ice:
    """As often to the left as to the right."""
    return Ice(left_prob=0.5)


def _between_nodes(side: int, cells: int) -> np.ndarray:
    """Weights float32 [side, cells] of the two nodes beside each pixel; first and last node lie at the edges."""
    at = (np.arange(side) + 0.5) / side * (cells - 1)
    return np.maximum(1.0 - np.abs(at[:, None] - np.arange(cells)), 0.0).astype(np.float32)
