"""The command line. It imports a command's code, and torch, only when that command runs."""

import difflib
import sys

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("[images]", "the main job on embedded data, offline, in minutes"),
    "train": ("RECIPE[:variant] --data PATH --out DIR", "pretrain; --resume DIR continues a run"),
    "probe": ("RUN --train PATH --test PATH", "kNN, linear, attentive and few-label probes, with baselines"),
    "embed": ("RUN PATH -o FILE", "features of images as npz, parquet or safetensors"),
    "search": ("RUN QUERY --in PATH", "the images most like a query, as a contact sheet"),
    "dedup": ("RUN PATH", "groups of near-duplicates"),
    "report": ("RUN", "pictures and one HTML file"),
    "inspect": ("PATH", "what is in a data set, and what is wrong with it"),
    "weights": ("info|load|export", "other people's checkpoints, both ways"),
    "recipes": ("", "the methods and their variants"),
    "doctor": ("", "what works on this machine"),
}
"""Arguments and purpose of each command; craik/commands/NAME.py does it."""


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

    from craik.errors import CraikError

    module = importlib.import_module(f"craik.commands.{name}")
    try:
        code: int = module.main(arguments)
    except CraikError as error:
        print(f"craik {name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"craik {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
