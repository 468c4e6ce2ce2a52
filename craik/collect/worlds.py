"""Environments by what the user calls them."""

from dataclasses import asdict, fields, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from craik.collect.crew import Make
from craik.collect.simulate import Attempt, Simulator
from craik.data.trajectory import ActionSpace
from craik.envs import connect, find
from craik.envs.user import is_world, load
from craik.envs.world import Discrete
from craik.errors import CraikError, UsageError


def maker(env: str, size: int | None) -> Make:
    """What makes the environment in any process.

    Args:
        env: A world such as two_rooms:many, a gymnasium id as gym:ID, or a file of the user as my.py:MyEnv.
        size: Side of the frames [px]; None leaves it as it is.
    """
    return partial(open_env, env, size)


def open_env(env: str, size: int | None) -> Simulator:
    """The environment.

    Raises:
        UsageError: There is none, or its frames have one size only.
    """
    own = load(env) if ".py:" in env else None
    if env.startswith("gym:") or (own is not None and not is_world(own)):
        return connect(env, 1, 0, size)
    world = find(env)
    if size is None or world.shape[:2] == (size, size):
        return world
    sized: Simulator = _sized(world, size)
    if sized.shape[:2] != (size, size):
        height, width, _ = world.shape
        raise UsageError(f"{env} draws frames of {height} x {width} px and no others; leave --size out")
    return sized


def made(make: Make, env: str) -> Simulator:
    """The environment, made in this process.

    Raises:
        UsageError: There is none, or it raises something of its own when it is made.
    """
    attempt = Attempt(passing=(CraikError,))
    with attempt:
        return make()
    assert attempt.failure is not None
    raise UsageError(f"{env} cannot be made: {attempt.failure.error} ({attempt.failure.place}). Mend it first.")


def _sized(world: Any, size: int) -> Any:
    """The world with another side of its frames, or of those of the world inside it."""
    parts = {field.name: getattr(world, field.name) for field in fields(world)} if is_dataclass(world) else {}
    if "side" in parts:
        return replace(world, side=size)
    inside = next((name for name, part in parts.items() if is_world(part)), None)
    return world if inside is None else replace(world, **{inside: _sized(parts[inside], size)})


def settings_of(world: Simulator) -> dict[str, Any]:
    """The settings of a world, as JSON has them; none of an environment of others."""
    return {key: _plain(value) for key, value in asdict(world).items()} if is_dataclass(world) else {}


def space_of(world: Simulator) -> ActionSpace:
    """The action space of an environment, as it is stored with the data."""
    action = world.action
    if isinstance(action, Discrete):
        return ActionSpace("discrete", action.num)
    return ActionSpace(
        "box", action.size, tuple(map(float, action.low)), tuple(map(float, action.high)), action.max_norm
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if isinstance(value, str | int | float | bool) or value is None else repr(value)
