"""The command line. It imports a command's code, and torch, only when that command runs."""

import difflib
import errno
import sys

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("[images|world]", "the main job on embedded data, offline, in minutes"),
    "train": ("RECIPE[:variant] --data PATH --out DIR", "pretrain; --resume DIR continues a run"),
    "probe": ("RUN --train PATH --test PATH", "kNN, linear, attentive and few-label probes, with baselines"),
    "embed": ("RUN PATH -o FILE", "features of images as npz, parquet or safetensors"),
    "search": ("RUN QUERY --in PATH", "the images most like a query, as a contact sheet"),
    "dedup": ("RUN PATH", "groups of near-duplicates"),
    "surprise": ("RUN CLIP...", "surprise over time in a video; --physics: what cannot be"),
    "report": ("RUN", "pictures and one HTML file"),
    "collect": ("ENV -o DATA", "episodes from a simulated world; asked again, it goes on"),
    "import": ("SRC -o DATA", "recorded trajectories: npz, HDF5, parquet, LeRobot"),
    "inspect": ("PATH", "what is in a data set, and what is wrong with it"),
    "plan": ("RUN --env ENV", "does a world model plan? success beside random, no-op and oracle"),
    "act": ("RUN --env ENV", "an agent that plans, learns to react, and knows when to do which"),
    "weights": ("info|load|export", "other people's checkpoints, both ways"),
    "recipes": ("", "the methods and their variants"),
    "doctor": ("", "what works on this machine"),
}
"""Arguments and purpose of each command; craik/commands/NAME.py does it, NAME_.py where Python has that word."""


def usage() -> str:
    """The help page."""
    rows = [f"  craik {name:<8} {arguments:<40} {purpose}" for name, (arguments, purpose) in COMMANDS.items()]
    return "\n".join(
        [
            "craik: Joint-Embedding Predictive Architectures",
            "",
            *rows,
            "",
            "Every command has --help. New here? Start with: craik demo",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 fine, 1 failed, 2 bad usage or data, 3 collapsed, 130 interrupted."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) > 1 and arguments[0] == "help":
        arguments = [arguments[1], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        from craik import __version__

        print(f"craik {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean craik {near[0]}?" if near else "Try: craik --help"
        print(f"craik: no command {name!r}. {hint}", file=sys.stderr)
        return 2
    return run(name, rest)


def run(name: str, arguments: list[str]) -> int:
    """Run a command's module; what the user can mend is told without a traceback."""
    import importlib
    import keyword

    from craik.errors import CraikError

    file = f"{name}_" if keyword.iskeyword(name) else name
    try:
        module = importlib.import_module(f"craik.commands.{file}")
        code: int = module.main(arguments)
    except CraikError as error:
        return fail(name, str(error), error.exit_code)
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        sys.stderr.close()
        return 1
    except OSError as error:
        wrong_path = isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError)
        where = "" if error.filename is None else f"{error.filename}: "
        return fail(name, f"{where}{error.strerror or error}", 2 if wrong_path or error.errno == errno.EROFS else 1)
    except KeyboardInterrupt:
        return fail(name, "interrupted", 130)
    except SystemExit as error:  # how the parser of options ends after --help, or after an option it does not know
        return error.code if isinstance(error.code, int) else 0
    return code


def fail(name: str, message: str, code: int) -> int:
    """Tell what went wrong; the exit code."""
    print(f"craik {name}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
