"""Command-line arguments from dataclasses, with errors for people."""

import shlex
import sys
from pathlib import Path
from typing import Any, TypeVar

import tyro

from craik.errors import UsageError

Arguments = TypeVar("Arguments")
PLAIN = (
    tyro.conf.PositionalMetavarFromFieldName,
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.DisallowNone,
)
"""How options of commands look: RUN instead of STR, --json without --no-json, and no {None} beside a type."""


def parse(
    cls: type[Arguments],
    arguments: list[str],
    command: str,
    description: str | None = None,
    default: Any = None,
    plain: bool = True,
) -> Arguments:
    """An instance of the dataclass from command-line arguments.

    A typo is refused with the nearest option and exit code 2; --help prints the options and exits with 0.

    Args:
        cls: The dataclass.
        arguments: What follows the name of the command.
        command: Name of the command, for the help page.
        description: First lines of the help page; the docstring of the class by default.
        default: Values of options that are not given.
        plain: Show options as in `PLAIN`; off where sections choose for themselves.

    Raises:
        UsageError: If the values do not fit together.
    """
    extra = {} if default is None else {"default": default}
    try:
        return tyro.cli(
            cls,
            prog=f"craik {command}",
            args=arguments,
            description=description or cls.__doc__,
            config=PLAIN if plain else (),
            **extra,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


def wants_help(arguments: list[str]) -> bool:
    """Whether the user asked for help rather than for work."""
    return any(a in ("-h", "--help") for a in arguments)


def say(line: str = "") -> None:
    """A line for people; results go to standard output, what accompanies them to standard error."""
    print(line, file=sys.stderr, flush=True)


def quoted(path: str | Path) -> str:
    """A path as it can be pasted into a shell."""
    return shlex.quote(str(path))


def free_folder(path: Path) -> Path:
    """The path, or the first of path-2, path-3, ... that does not exist."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
