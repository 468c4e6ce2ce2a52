"""One file = one method = one story. Selected by import path, without a registry.

`find("ijepa:tiny")` imports craik.recipes.ijepa and names its function tiny; `find("./mine.py:big")` does the same
with a user's file.
"""

import ast
import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from craik.errors import UsageError
from craik.userfile import load_module


@dataclass(frozen=True, slots=True)
class Method:
    """A recipe file, and one of its variants."""

    name: str
    """As the user wrote it, without the variant."""
    variant: str
    module: ModuleType

    @property
    def config(self) -> Any:
        """The variant's Config, a frozen dataclass."""
        return getattr(self.module, self.variant)()

    @property
    def build(self) -> Callable[[Any], Any]:
        """From a Config to a Recipe."""
        build: Callable[[Any], Any] = self.module.build
        return build

    def fit(self, config: Any, episodes: Any) -> Any:
        """The config with what only the data can tell, such as the scale of actions, where the recipe asks for it."""
        asked: Callable[[Any, Any], Any] | None = getattr(self.module, "fit", None)
        return config if asked is None else asked(config, episodes)

    def __str__(self) -> str:
        return f"{self.name}:{self.variant}"


def find(spec: str) -> Method:
    """The method and variant that a spec such as `ijepa:tiny` or `./mine.py:big` names.

    Raises:
        UsageError: If there is no such recipe or variant; the nearest names are suggested.
    """
    name, variant = spec.rsplit(":", 1) if ":" in spec and not spec.endswith(".py") else (spec, "")
    module = load(name)
    known = variants(module)
    if not variant:
        raise UsageError(f"{spec}: which variant?\n{describe(name)}\nFor example: craik train {name}:{usual(known)}")
    if variant not in known:
        raise UsageError(f"{name} has no variant {variant!r}.{suggestion(variant, known)} It has: {', '.join(known)}")
    if name.endswith(".py"):
        name = str(Path(name).expanduser().resolve())  # a run is gone on with from any folder
    return Method(name, variant, module)


def load(name: str) -> ModuleType:
    """A recipe file, built in or a user's, with its Config, build and at least one variant.

    Raises:
        UsageError: If there is none, or it lacks one of these.
    """
    module = load_file(Path(name).expanduser()) if name.endswith(".py") else load_builtin(name)
    if not is_dataclass(getattr(module, "Config", None)) or not callable(getattr(module, "build", None)):
        raise UsageError(f"{name} is no recipe: it has to define a dataclass Config and a function build(config)")
    if not variants(module):
        raise UsageError(f"{name} has no variants: define a function without arguments that returns a Config")
    return module


def describe(name: str) -> str:
    """The variants of a recipe, one line each."""
    module = load(name)
    known = variants(module)
    width = max(map(len, known))
    purpose = {v: (inspect.getdoc(getattr(module, v)) or "").split("\n")[0] for v in known}
    return "\n".join(f"  {name}:{v:<{width}}  {purpose[v]}".rstrip() for v in known)


def usual(known: list[str]) -> str:
    """The variant to try first."""
    return "tiny" if "tiny" in known else known[0]


def load_builtin(name: str) -> ModuleType:
    """The recipe file craik/recipes/NAME.py."""
    known = builtin()
    if name not in known:
        raise UsageError(
            f"no recipe {name!r}.{suggestion(name, known)} There are: {', '.join(known)}; "
            "your own file works too: ./mine.py:variant"
        )
    return importlib.import_module(f"craik.recipes.{name}")


def load_file(path: Path) -> ModuleType:
    """A user's recipe file."""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], n=1)
        raise UsageError(f"{path}: no such recipe file." + (f" Did you mean {path.parent / near[0]}?" if near else ""))
    return load_module(path, "craik_recipe")


def builtin() -> list[str]:
    """Names of the recipes that come with Craik."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def variants(module: ModuleType) -> list[str]:
    """Functions of a recipe that take nothing and return its Config, in the order of the file."""
    found = []
    for name, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            signature = inspect.signature(value)
            if not signature.parameters and signature.return_annotation in (module.Config, "Config"):
                found.append(name)
    return found


@dataclass(frozen=True, slots=True)
class Listing:
    """A recipe as `craik recipes` shows it."""

    name: str
    title: str
    variants: tuple[tuple[str, str], ...]
    """Names and one-line descriptions."""


def listing() -> list[Listing]:
    """All built-in recipes, read from their source without importing them."""
    rows = []
    for name in builtin():
        tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text())
        functions = [
            (node.name, (ast.get_docstring(node) or "").split("\n")[0])
            for node in tree.body
            if isinstance(node, ast.FunctionDef)
            and not node.args.args
            and isinstance(node.returns, ast.Name)
            and node.returns.id == "Config"
        ]
        if functions:
            rows.append(Listing(name, (ast.get_docstring(tree) or "").split("\n")[0], tuple(functions)))
    return rows


def suggestion(word: str, known: list[str]) -> str:
    """A did-you-mean sentence with a leading space, or nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""
