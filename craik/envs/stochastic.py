"""Chance: a door that opens at random, and disturbances that any world can have around it.

`RandomDoor` has more than one future that matters. `Distractor` and `Noise` have futures that do not: a model that
spends its capacity on them predicts worse what counts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from craik.envs import geometry, paint, two_rooms
from craik.envs.paint import Color
from craik.envs.two_rooms import TwoRooms
from craik.envs.world import Action, Box, World


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


def _between_nodes(side: int, cells: int) -> np.ndarray:
    """Weights float32 [side, cells] of the two nodes beside each pixel; first and last node lie at the edges."""
    at = (np.arange(side) + 0.5) / side * (cells - 1)
    return np.maximum(1.0 - np.abs(at[:, None] - np.arange(cells)), 0.0).astype(np.float32)
