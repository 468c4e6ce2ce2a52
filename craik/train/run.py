"""The run folder: what a run writes, and how it survives being killed at any moment."""

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from craik import __version__
from craik.errors import UsageError

Json = dict[str, Any]
"""What is written to JSON files; the one place where a dict is data."""


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that it is whole or absent: temporary file, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def finite(value: Any) -> Any:
    """JSON has no NaN: non-finite numbers become null."""
    if isinstance(value, float) and not (value - value == 0):
        return None
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and records of one run."""

    path: Path

    @classmethod
    def claim(cls, path: Path, overwrite: bool = False) -> "RunFolder":
        """The place of a new run, of which nothing is written yet.

        Raises:
            UsageError: If the folder holds a run already and overwrite is off, holds other files, or cannot be written.
        """
        run = cls(path)
        if run.config_path.exists() and not overwrite:
            raise UsageError(
                f"{path} holds a run already ({run.progress()}). Continue it: craik train --resume {quote(str(path))}. "
                f"Start anew: --out {quote(f'{path}2')}, or --overwrite to delete it"
            )
        if path.exists() and not path.is_dir():
            raise UsageError(f"--out {path} is a file; give a folder")
        if path.exists() and any(path.iterdir()) and not run.config_path.exists():
            raise UsageError(f"--out {path} is not empty and holds no run; give a new folder")
        above = next(p for p in (path, *path.absolute().parents) if p.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            why = "is no folder" if not above.is_dir() else "cannot be written"
            raise UsageError(f"--out {path}: {above} {why}; give a place of your own, such as --out ~/runs/a")
        return run

    @classmethod
    def create(cls, path: Path, config: Json, overwrite: bool = False) -> "RunFolder":
        """A new run folder with its config.json.

        Raises:
            UsageError: As `claim`.
        """
        run = cls.claim(path, overwrite)
        if run.config_path.exists():
            run.clear()
        path.mkdir(parents=True, exist_ok=True)
        write_atomic(run.config_path, json.dumps(config, indent=1) + "\n")
        write_atomic(path / "env.json", json.dumps(environment(), indent=1) + "\n")
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing run folder.

        Raises:
            UsageError: If there is none, or its config.json cannot be read.
        """
        run = cls(path)
        if not run.config_path.exists():
            what = "no such folder" if not path.exists() else "holds no run (config.json is missing)"
            raise UsageError(f"{path}: {what}. Start one: craik train ijepa:tiny --data PATH --out {quote(str(path))}")
        config, kinds = run.config, {"steps": int, "data": dict, "conduct": dict}
        if not kinds.keys() <= config.keys():
            raise UsageError(
                f"{path} is a model folder, not a run: it has weights and no state to go on from. "
                f"Start a run from them: craik train RECIPE --init {quote(str(path))} --data PATH --out runs/a"
            )
        if wrong := [name for name, kind in kinds.items() if not isinstance(config[name], kind)]:
            raise UsageError(f"{run.config_path}: {', '.join(wrong)} cannot be what Craik wrote; put the file back")
        return run

    @property
    def config_path(self) -> Path:
        """Recipe, variant and every resolved value."""
        return self.path / "config.json"

    @property
    def config(self) -> Json:
        """The content of config.json."""
        try:
            config: Json = json.loads(self.config_path.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.config_path} cannot be read: {error}") from None
        if not isinstance(config, dict):
            raise UsageError(f"{self.config_path} holds no JSON object; it was not written by Craik")
        return config

    @property
    def checkpoints(self) -> Path:
        """Folder of resumable states."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """Folder that `craik.load` reads."""
        return self.path / "model"

    def clear(self) -> None:
        """Delete what a run wrote, and nothing else."""
        import shutil

        for name in ("checkpoints", "model", "media", "tensorboard"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in RUN_FILES:
            (self.path / name).unlink(missing_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Delete what writes that were cut off left behind."""
        for folder in (self.path, self.model, self.path / "media"):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)

    def record(self, name: str, row: Mapping[str, Any]) -> None:
        """Append one line to NAME.jsonl."""
        with open(self.path / f"{name}.jsonl", "a") as file:
            file.write(json.dumps(finite(row)) + "\n")

    def rows(self, name: str) -> Iterator[Json]:
        """Objects of NAME.jsonl; a line cut short by a crash is left out."""
        path = self.path / f"{name}.jsonl"
        if not path.exists():
            return
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row

    def rewind(self, step: int) -> None:
        """Forget what was recorded after a step: a resumed run records it again."""
        for name in ("metrics", "events"):
            kept = [json.dumps(row) for row in self.rows(name) if row.get("step", 0) <= step]
            if (self.path / f"{name}.jsonl").exists():
                write_atomic(self.path / f"{name}.jsonl", "".join(line + "\n" for line in kept))

    def progress(self) -> str:
        """How far the run is, for people."""
        last = 0
        for row in self.rows("metrics"):
            last = row.get("step", last)
        total = self.config.get("steps")
        return f"step {last:,}" + (f" of {total:,}" if total else "")

    def say(self, line: str) -> None:
        """Append a line to log.txt."""
        with open(self.path / "log.txt", "a") as file:
            file.write(line + "\n")


RUN_FILES = (
    "config.json",
    "env.json",
    "metrics.jsonl",
    "events.jsonl",
    "skipped.txt",
    "log.txt",
    "report.html",
    "README.md",
    "probe.json",
    "factors.json",
    "non_finite_batch.pt",
)
"""What a run writes beside its folders."""


def environment() -> Json:
    """Versions and hardware, for env.json."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "craik": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": gpu,
        "command": sys.argv,
    }
