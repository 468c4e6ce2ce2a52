"""Python files of users: their recipes and environments."""

import importlib.util
import sys
import traceback
import zlib
from pathlib import Path
from types import ModuleType

from craik.errors import UsageError


def load_module(path: Path, kind: str) -> ModuleType:
    """The module that a user's file makes; `kind` begins its name in sys.modules.

    Raises:
        UsageError: If it cannot be run; with the line of the file where it fails.
    """
    path = path.resolve()
    name = f"{kind}_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # as `python mine.py` finds the files beside it
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UsageError(f"{error.filename}: line {error.lineno}: {error.msg}") from None
    except (ImportError, NameError, AttributeError, TypeError, ValueError, LookupError) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        raise UsageError(f"{path}: line {lines[-1] if lines else 1}: {type(error).__name__}: {error}") from None
    return module
