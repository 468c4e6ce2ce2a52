"""Command-line arguments from dataclasses, with errors for people."""

import sys
from typing import Any, TypeVar

import tyro

from craik.errors import UsageError

Arguments = TypeVar("Arguments")


def parse(
    cls: type[Arguments], arguments: list[str], command: str, description: str | None = None, default: Any = None
) -> Arguments:
    """An instance of the dataclass from command-line arguments.

    A typo is refused with the nearest option and exit code 2; --help prints the options and exits with 0.

    Raises:
        UsageError: If the values do not fit together.
    """
    extra = {} if default is None else {"default": default}
    try:
        return tyro.cli(cls, prog=f"craik {command}", args=arguments, description=description or cls.__doc__, **extra)
    except ValueError as error:
        raise UsageError(str(error)) from None


def wants_help(arguments: list[str]) -> bool:
    """Whether the user asked for help rather than for work."""
    return any(a in ("-h", "--help") for a in arguments)


def say(line: str = "") -> None:
    """A line for people; results go to standard output, what accompanies them to standard error."""
    print(line, file=sys.stderr, flush=True)
