"""A user's own world or gymnasium environment by import path: `my.py:MyEnv`."""

import difflib
from pathlib import Path
from typing import Any

from craik.errors import UsageError
from craik.userfile import load_module

_PARTS = ("action", "shape", "max_steps", "truth_names", "reset", "step", "render", "goal", "reached", "distance")


def load(spec: str) -> Any:
    """What a file calls by a name.

    Raises:
        UsageError: there is no such file or name, or the file fails on import; the line is named.
    """
    path_text, _, name = spec.rpartition(":")
    path = Path(path_text or spec).expanduser()
    if not path_text or not name:
        raise UsageError(f"{spec}: which environment in the file? For example: {path}:MyEnv")
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], n=1)
        raise UsageError(f"{path}: no such file." + (f" Did you mean {path.parent / near[0]}?" if near else ""))
    module = load_module(path, "craik_env")
    if not hasattr(module, name):
        known = [n for n in vars(module) if not n.startswith("_")]
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(f"{path} has no {name!r}." + (f" Did you mean {near[0]}?" if near else ""))
    return getattr(module, name)


def is_world(thing: Any) -> bool:
    """Whether a class or an object has all that a `World` has; classes show it without being called."""
    return all(hasattr(thing, part) for part in _PARTS)
