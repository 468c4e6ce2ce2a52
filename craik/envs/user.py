"""A user's own world or gymnasium environment by import path: `my.py:MyEnv`."""

import difflib
import importlib.util
import sys
import traceback
import zlib
from pathlib import Path
from typing import Any

from craik.errors import UsageError

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
    module = _module(path.resolve())
    if not hasattr(module, name):
        known = [n for n in vars(module) if not n.startswith("_")]
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(f"{path} has no {name!r}." + (f" Did you mean {near[0]}?" if near else ""))
    return getattr(module, name)


def is_world(thing: Any) -> bool:
    """Whether a class or an object has all that a `World` has; classes show it without being called."""
    return all(hasattr(thing, part) for part in _PARTS)


def _module(path: Path) -> Any:
    name = f"craik_env_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # as `python my.py` finds the files beside it
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UsageError(f"{error.filename}: line {error.lineno}: {error.msg}") from None
    except (ImportError, NameError, AttributeError, TypeError, ValueError, LookupError) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        raise UsageError(f"{path}: line {lines[-1] if lines else 1}: {type(error).__name__}: {error}") from None
    return module
