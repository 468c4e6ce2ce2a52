"""Worlds a little other than the one that was learned in: which factors does planning survive?"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from craik.envs import paint
from craik.envs.stochastic import Distractor, Noise
from craik.envs.user import is_world
from craik.errors import UsageError

Change = Callable[[Any], Any]
"""Another value of a setting."""


@dataclass(frozen=True, slots=True)
class Variation:
    """One factor, and how its settings change where a world has them."""

    name: str
    what: str
    changes: tuple[tuple[str, Change], ...]
    """The first setting of these that the world has is the one that changes."""


def _to(value: Any) -> Change:
    return lambda _: value


def _times(factor: float) -> Change:
    """A number, or a range of numbers, scaled; whole numbers stay whole."""

    def change(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(change(part) for part in value)
        return round(value * factor) if isinstance(value, int) else value * factor

    return change


VARIATIONS = (
    Variation("agent_color", "a blue agent", (("agent_colors", _to((paint.BLUE,))),)),
    Variation("object_color", "an orange object", (("object_colors", _to((paint.ORANGE,))),)),
    Variation("wall_color", "violet walls", (("wall_colors", _to((paint.VIOLET,))),)),
    Variation("floor_color", "a floor of sand", (("floor_colors", _to((paint.SAND,))),)),
    Variation("agent_size", "an agent larger by 40 %", (("radius", _times(1.4)),)),
    Variation("object_size", "an object larger by 30 %", (("object_radius", _times(1.3)),)),
    Variation("door", "doors narrower by a quarter", (("door_half", _times(0.75)), ("door_width", _times(0.75)))),
    Variation("wall_width", "walls of 5 px", (("wall_width", lambda width: type(width)(5)),)),
    Variation("walls", "two walls in place of one", (("walls", _to((2, 2))),)),
    Variation("loops", "more doors", (("extra_doors", _to(0.5)),)),
    Variation("obstacles", "more obstacles", (("obstacles", _to(0.4)),)),
    Variation("speed", "moves shorter by a quarter", (("max_move", _times(0.75)),)),
    Variation("drag", "twice the drag", (("drag", _times(2.0)),)),
)
AROUND = (("distractor", "a distractor that drifts about", Distractor), ("noise", "noise behind it", Noise))


@dataclass(frozen=True, slots=True)
class Varied:
    """A world in which one factor is other."""

    name: str
    what: str
    world: Any


def varied(world: Any, names: tuple[str, ...]) -> tuple[Varied, ...]:
    """Variations of a world by name, or `all` that it has.

    Raises:
        UsageError: If it has no such factor.
    """
    found = {v.name: v for v in variations(world)}
    if names == ("all",):
        return tuple(found.values())
    for name in names:
        if name not in found:
            raise UsageError(
                f"--vary {name}: {world.name} can be varied by {', '.join(found) or 'nothing'}; or give: all"
            )
    return tuple(found[name] for name in names)


def variations(world: Any) -> tuple[Varied, ...]:
    """Every variation that a world has."""
    found = []
    for variation in VARIATIONS:
        other = changed(world, variation)
        if other is not None and other != world:
            found.append(Varied(variation.name, variation.what, other))
    if world.shape[2] == 3 and not any(isinstance(world, kind) for _, _, kind in AROUND):
        found += [Varied(name, what, kind(world)) for name, what, kind in AROUND]
    return tuple(found)


def changed(world: Any, variation: Variation) -> Any | None:
    """The world with one factor changed, or a world inside it; None where it has no such factor, or not so much."""
    parts = {f.name: getattr(world, f.name) for f in fields(world)} if is_dataclass(world) else {}
    for name, change in variation.changes:
        if name in parts:
            try:
                return replace(world, **{name: change(parts[name])})
            except ValueError:  # it does not go together with the other settings
                return None
    inside = next((name for name, part in parts.items() if is_world(part)), None)
    other = None if inside is None else changed(parts[inside], variation)
    return None if other is None else replace(world, **{str(inside): other})
