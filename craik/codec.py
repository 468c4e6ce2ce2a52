"""Frozen dataclasses to JSON and back, strictly: what is unknown, or does not fit, is an error, never swallowed.

A key that is missing takes the default of its field, for it was written before there was such a field. So a new field
of a config has a default that does what was done before.
"""

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any

from craik.errors import UsageError

Json = dict[str, Any]
KIND = "kind"
"""Key that names the class where a field may hold one of several."""


def encode(value: Any) -> Any:
    """A dataclass as plain JSON values; fields of a union type carry the name of their class."""
    if is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value))
        return {f.name: encode_field(getattr(value, f.name), hints[f.name]) for f in fields(value)}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    if isinstance(value, Enum):
        return value.value
    return value


def encode_field(value: Any, hint: Any) -> Any:
    """One field; tagged with its class when the type alone would not tell."""
    encoded = encode(value)
    if is_dataclass(value) and len([c for c in options(hint) if is_dataclass(c)]) > 1:
        return {KIND: type(value).__name__, **encoded}
    return encoded


def decode(hint: Any, data: Any, where: str = "config") -> Any:
    """The value of a type from JSON values.

    Raises:
        UsageError: If a key is unknown, one without a default is missing, or a value has another type or does not fit
            the others; the place is named.
    """
    choices = options(hint)
    if data is None and type(None) in choices:
        return None
    classes = [c for c in choices if is_dataclass(c)]
    if classes:
        return decode_dataclass(classes, data, where)
    for choice in choices:
        if typing.get_origin(choice) is tuple and isinstance(data, list):
            return decode_tuple(typing.get_args(choice), data, where)
        if isinstance(choice, type) and issubclass(choice, Enum):
            if data in [member.value for member in choice]:
                return choice(data)
            continue
        if typing.get_origin(choice) is typing.Literal and data in typing.get_args(choice):
            return data
        if choice is float and isinstance(data, int | float) and not isinstance(data, bool):
            return float(data)
        if isinstance(choice, type) and isinstance(data, choice) and (choice is bool or not isinstance(data, bool)):
            return data
    raise UsageError(f"{where}: expected {hint}, got {data!r}")


def decode_dataclass(classes: list[Any], data: Any, where: str) -> Any:
    """A dataclass from a JSON object."""
    if not isinstance(data, dict):
        raise UsageError(f"{where}: expected an object, got {data!r}")
    cls = classes[0]
    if len(classes) > 1:
        names = {c.__name__: c for c in classes}
        if data.get(KIND) not in names:
            raise UsageError(f"{where}.{KIND}: expected one of {', '.join(names)}, got {data.get(KIND)!r}")
        cls = names[data[KIND]]
        data = {k: v for k, v in data.items() if k != KIND}
    hints = typing.get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(data) - known):
        raise UsageError(
            f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}. "
            "If a newer version of Craik wrote it, use that version"
        )
    required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(required - set(data)):
        raise UsageError(f"{where}: {', '.join(missing)} missing; was it written by another version of Craik?")
    values = {name: decode(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    try:
        return cls(**values)
    except ValueError as error:  # values that do not fit together
        raise UsageError(f"{where}: {error}") from None


def decode_tuple(args: tuple[Any, ...], data: list[Any], where: str) -> tuple[Any, ...]:
    """A tuple of fixed or open length."""
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(decode(args[0], v, f"{where}[{i}]") for i, v in enumerate(data))
    if len(args) != len(data):
        raise UsageError(f"{where}: expected {len(args)} values, got {len(data)}")
    return tuple(decode(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, data, strict=True)))


def options(hint: Any) -> tuple[Any, ...]:
    """Members of a union type, or the type itself."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def differences(old: Json, new: Json, where: str = "") -> list[str]:
    """Paths and values that differ between two encoded configs, e.g. `encoder.depth: 12 -> 6`."""
    found = []
    for key in sorted(set(old) | set(new)):
        path = f"{where}.{key}" if where else key
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, path)
        elif a != b:
            found.append(f"{path}: {a!r} -> {b!r}")
    return found
