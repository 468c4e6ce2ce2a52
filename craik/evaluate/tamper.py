"""Windows of a simulated world in which something happens that cannot be, or that only looks so."""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craik.envs import paint
from craik.envs.policy import find_policy
from craik.envs.stochastic import Disturbed, RandomDoor
from craik.envs.world import Discrete, World
from craik.errors import UsageError

COLORS = (paint.RED, paint.ORANGE, paint.GREEN, paint.BLUE, paint.VIOLET)
COLOR = "agent_color"
STREAM = 7_777_777  # apart from the streams that collected data comes from


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """The same windows, told in three ways: frames uint8 [B, T, C, H, W] with the same actions.

    The frames before `moment` are the same in all three.
    """

    world: str
    untouched: Tensor
    teleport: Tensor
    """From `moment` on the object is elsewhere, and goes on from there."""
    recolor: Tensor
    """From `moment` on the object has another color."""
    actions: Tensor
    """float32 [B, T - 1, skip * A], discrete ones one-hot."""
    moment: int
    """Frame at which the change is first seen."""
    history: int
    """Frames that a model is to see before each prediction."""


def tell(
    world: World[Any],
    num: int,
    *,
    history: int,
    skip: int = 1,
    after: int = 4,
    before: int = 4,
    policy: str = "random",
    seed: int = 0,
) -> Told:
    """Simulate windows in three ways; chance in the world falls alike in all of them.

    Args:
        world: One of `craik.envs` with three channels; the object is its agent.
        num: Windows B.
        history: Frames that a model sees before each prediction.
        skip: Steps of the world from frame to frame.
        after: Frames from the moment on.
        before: Predicted frames before the moment.
        policy: Who acts, see `craik.envs.policy`; that of the training data, so that nothing else is new.
        seed: Decides all.

    Raises:
        UsageError: If the object of the world has no color to change.
    """
    rng = np.random.default_rng([seed, STREAM])
    state = world.reset(num, rng)
    color = other_color(state, rng)
    actor = find_policy(policy, world)
    memory, chance = actor.begin(state, rng), int(rng.integers(1 << 31))
    moment, total = history + before, history + before + after
    states, shown, actions = {"untouched": state}, dict[str, list[np.ndarray]](), []
    for at in range(total):
        if at == moment:
            now = states["untouched"]
            states |= {"teleport": teleported(world, now, rng), "recolor": with_color(now, color)}
        for name in ("untouched", "teleport", "recolor"):
            frames = world.render(states.get(name, states["untouched"]))
            shown.setdefault(name, []).append(frames)
        for step in range(skip if at < total - 1 else 0):
            action, memory = actor.act(states["untouched"], memory, rng)
            actions.append(world.action.fit(action, num))
            same = [chance, at * skip + step]
            states = {k: world.step(s, actions[-1], np.random.default_rng(same)) for k, s in states.items()}
    films = {name: as_film(frames) for name, frames in shown.items()}
    return Told(world.name, **films, actions=blocks(world, actions, skip), moment=moment, history=history)


def teleported(world: World[Any], state: Any, rng: np.random.Generator) -> Any:
    """States with the object somewhere else, where a goal could be; everything around it stays."""
    if isinstance(world, Disturbed):
        return replace(state, world=teleported(world.world, state.world, rng))
    if isinstance(world, RandomDoor):
        return replace(state, rooms=teleported(world.rooms, state.rooms, rng))
    return world.goal(state, rng)


def other_color(state: Any, rng: np.random.Generator) -> np.ndarray:
    """For the object of each world another one of `COLORS`, [B, 3].

    Raises:
        UsageError: If there is nothing in the states that is called `agent_color`.
    """
    old = color_of(state)
    if old is None:
        raise UsageError(
            f"a world whose states have no {COLOR} cannot be recolored, so there is no surprise test in it"
        )
    known = np.array(COLORS, dtype=np.float32)
    free = np.abs(known - old[:, None]).max(-1) > 1.0  # [B, colors]
    return known[np.argmax(rng.uniform(size=free.shape) * free, axis=1)]


def color_of(state: Any) -> np.ndarray | None:
    """The color of the object, [B, 3], wherever it is in a state."""
    if not is_dataclass(state):
        return None
    for field in fields(state):
        part = getattr(state, field.name)
        found = part if field.name == COLOR else color_of(part)
        if found is not None:
            return np.asarray(found)
    return None


def with_color(state: Any, color: np.ndarray) -> Any:
    """A state with the object in that color."""
    if not is_dataclass(state) or isinstance(state, type):
        return state
    parts = {f.name: getattr(state, f.name) for f in fields(state)}
    return replace(state, **{k: color if k == COLOR else with_color(part, color) for k, part in parts.items()})


def as_film(frames: list[np.ndarray]) -> Tensor:
    """Frames of each moment [B, H, W, C] as uint8 [B, T, C, H, W]."""
    return torch.from_numpy(np.stack(frames, 1)).permute(0, 1, 4, 2, 3)


def blocks(world: World[Any], actions: list[np.ndarray], skip: int) -> Tensor:
    """Actions of each step as a model takes them, float32 [B, T - 1, skip * A]."""
    taken = torch.from_numpy(np.stack(actions, 1))
    if isinstance(world.action, Discrete):
        taken = torch.nn.functional.one_hot(taken, world.action.num)
    return taken.float().reshape(len(taken), -1, skip * taken.shape[-1])
