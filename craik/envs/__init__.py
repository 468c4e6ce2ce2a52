"""Worlds to learn and plan in: small, exact and fast, drawn with numpy.

`find("two_rooms")` is a world, `find("two_rooms:many")` a variant of it (a function in its file),
`find("maze+distractor+noise")` one with disturbances around it, `find("./my.py:MyWorld")` a user's own.
`connect` opens any of them, and gymnasium environments, for acting.
"""

import difflib
import importlib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from craik.errors import UsageError

if TYPE_CHECKING:
    from craik.envs.vector import Envs
    from craik.envs.world import World

_WORLDS = {
    "two_rooms": ("two_rooms", "TwoRooms"),
    "random_door": ("stochastic", "RandomDoor"),
    "ice": ("stochastic", "Ice"),
    "point_mass": ("point_mass", "PointMass"),
    "push_disc": ("push_disc", "PushDisc"),
    "maze": ("maze", "Maze"),
    "grid": ("grid", "Grid"),
}
_AROUND = {"distractor": "Distractor", "noise": "Noise"}


@dataclass(frozen=True, slots=True)
class Listing:
    """A world and its variants, each (name, what it is)."""

    name: str
    title: str
    variants: tuple[tuple[str, str], ...]


def find(spec: str) -> "World[Any]":
    """The world that a spec names.

    Args:
        spec: `NAME[:variant]`, then any of `+distractor` and `+noise`; or `FILE.py:NAME` for a user's own.

    Raises:
        UsageError: there is no such world, variant or disturbance (the nearest names are suggested), or the file
            holds a gymnasium environment, which `connect` opens.
    """
    name, *around = spec.split("+") if ".py:" not in spec and not spec.endswith(".py") else [spec]
    world = _own(name) if ".py:" in name or name.endswith(".py") else _builtin(name)
    for what in around:
        stochastic = importlib.import_module("craik.envs.stochastic")
        world = getattr(stochastic, _AROUND[_known(what, list(_AROUND), "disturbance")])(world)
    return world


def connect(spec: str, num: int, seed: int = 0, side: int | None = None) -> "Envs":
    """Environments to act in: worlds as `find` knows them, gymnasium ids (`gym:ID`), a user's own of either kind.

    Args:
        spec: which.
        num: how many that step together.
        seed: the same seed gives the same episodes.
        side: size of the frames of gymnasium environments [px]; None leaves them as they are.

    Raises:
        UsageError: there is no such environment, or gymnasium is not installed.
    """
    from craik.envs.vector import Vector

    thing: Any = spec.removeprefix("gym:")
    if not spec.startswith("gym:"):
        from craik.envs.user import is_world, load

        thing = load(spec) if ".py:" in spec else None
        if thing is None or is_world(thing):
            return Vector(find(spec), num, seed)
    from craik.envs.gym import from_gymnasium

    return from_gymnasium(thing, num, seed, side)


def listing() -> tuple[Listing, ...]:
    """All built-in worlds."""
    found = []
    for name in _WORLDS:
        kind, known = _parts(name)
        titles = tuple((v, _title(function)) for v, function in known.items())
        found.append(Listing(name, _title(kind), titles))
    return tuple(found)


def _builtin(spec: str) -> "World[Any]":
    name, _, variant = spec.partition(":")
    kind, known = _parts(_known(name, list(_WORLDS), "world"))
    return known[_known(variant, list(known), f"variant of {name}")]() if variant else kind()


def _own(spec: str) -> "World[Any]":
    from craik.envs.user import is_world, load

    thing = load(spec)
    if not is_world(thing):
        raise UsageError(
            f"{spec} is no world: it lacks some of what craik.envs.world.World has. A gymnasium environment can be "
            "collected from and planned in, but has no exact distances and no expert."
        )
    return thing() if isinstance(thing, type) else thing


def _parts(name: str) -> tuple[Any, dict[str, Any]]:
    """The class of a world, and its variants: functions of its file that take nothing and return it."""
    file, kind_name = _WORLDS[name]
    module = importlib.import_module(f"craik.envs.{file}")
    kind = getattr(module, kind_name)
    functions = {n: f for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__}
    return kind, {n: f for n, f in functions.items() if inspect.signature(f).return_annotation is kind}


def _known(name: str, known: list[str], what: str) -> str:
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    own = " Your own file works too: ./my.py:MyEnv" if what == "world" else ""
    raise UsageError(f"no {what} {name!r}.{hint} There are: {', '.join(known) or 'none'}.{own}")


def _title(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]
