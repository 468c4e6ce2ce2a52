"""What a run has written down, read back for pictures and texts. Nothing but the files of the folder is needed."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craik.errors import UsageError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Series:
    """One measured quantity over the run."""

    steps: NDArray[np.int64]
    """Optimizer steps, [M]."""
    values: NDArray[np.float64]
    """Values at these steps, [M]; NaN where a value was not finite."""

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A failure that was raised while training."""

    step: int
    name: str
    evidence: str
    cure: str
    last_healthy: int | None
    end: int | None = None
    """Step at which it no longer held; None where that was not recorded."""

    @property
    def when(self) -> str:
        """Its steps for people."""
        return f"step {self.step:,}" + ("" if self.end is None else f", over at step {self.end:,}")


@dataclass(frozen=True, slots=True)
class Record:
    """The files of a run folder."""

    path: Path
    config: Json
    env: Json
    metrics: tuple[Json, ...]
    events: tuple[Json, ...]
    probe: Json | None

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read a run folder, of a run that is finished, stopped, or still training.

        Raises:
            UsageError: If it holds no run, or a model alone, or config.json or probe.json is damaged.
        """
        if not (path / "config.json").exists():
            what = "holds no run (config.json is missing)" if path.exists() else "no such folder"
            raise UsageError(f"{path}: {what}. Start one: craik train ijepa:tiny --data PATH --out {path}")
        if (path / "model.safetensors").exists():
            raise UsageError(
                f"{path} is a model folder, not a run: nothing was recorded there. Try its features instead: "
                f"craik probe {path} --train PATH --test PATH"
            )
        probe = path / "probe.json"
        return cls(
            path=path,
            config=read_json(path / "config.json"),
            env=read_json(path / "env.json") if (path / "env.json").exists() else {},
            metrics=tuple(read_lines(path / "metrics.jsonl")),
            events=tuple(read_lines(path / "events.jsonl")),
            probe=read_probe(probe) if probe.exists() else None,
        )

    @property
    def method(self) -> str:
        """Recipe and variant, as the command line names them."""
        return f"{self.config.get('recipe', 'unknown')}:{self.config.get('variant', 'unknown')}"

    @property
    def step(self) -> int:
        """Last recorded step."""
        return max((int(row.get("step", 0)) for row in self.metrics), default=0)

    @property
    def total(self) -> int | None:
        """Planned number of steps."""
        total = self.config.get("steps")
        return total if isinstance(total, int) and total > 0 else None

    @property
    def seconds(self) -> float:
        """Training time [s]; a resumed run counts from 0 again, so its parts are added up."""
        clock = [float(row["seconds"]) for row in self.metrics if row.get("seconds") is not None]
        ends = [now for now, after in zip(clock, [*clock[1:], 0.0], strict=False) if after < now]
        return sum(ends)

    @property
    def terms(self) -> list[str]:
        """Names of the parts of the loss, in their order."""
        return list(dict.fromkeys(key[5:] for row in self.metrics for key in row if key.startswith("loss/")))

    @property
    def ahead(self) -> list[int]:
        """Model steps ahead at which a world model was scored, ascending."""
        return sorted({int(key[6:]) for row in self.metrics for key in row if re.fullmatch(r"ahead_\d+", key)})

    @property
    def alarms(self) -> list[Alarm]:
        """Alarms in the order they were raised."""
        found: list[Alarm] = []
        for row in self.events:
            step, name = int(row.get("step", 0)), str(row.get("name", "unknown"))
            if row.get("kind") == "alarm":
                evidence, cure = str(row.get("evidence", "")), str(row.get("cure", ""))
                found.append(Alarm(step, name, evidence, cure, row.get("last_healthy")))
            elif row.get("kind") == "alarm_end":
                found = [replace(a, end=step) if a.name == name and a.end is None else a for a in found]
        return found

    def series(self, name: str) -> Series:
        """All values of a quantity; rows without it are left out, a recorded null is NaN."""
        found = [(int(row["step"]), row[name]) for row in self.metrics if name in row and "step" in row]
        values = [float("nan") if value is None else float(value) for _, value in found]
        return Series(np.array([step for step, _ in found], dtype=np.int64), np.array(values, dtype=np.float64))

    def first(self, name: str) -> float | None:
        """First finite value of a quantity."""
        values = self.finite(name)
        return float(values[0]) if len(values) else None

    def last(self, name: str) -> float | None:
        """Last finite value of a quantity."""
        values = self.finite(name)
        return float(values[-1]) if len(values) else None

    def finite(self, name: str) -> NDArray[np.float64]:
        """Finite values of a quantity, [M]."""
        values = self.series(name).values
        return values[np.isfinite(values)]


def read_json(path: Path) -> Json:
    """A JSON object from a file."""
    try:
        content: Json = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} cannot be read: it holds no JSON object")
    return content


def read_probe(path: Path) -> Json:
    """The result of `craik probe` from a file."""
    content = read_json(path)
    if missing := sorted({"scores", "train", "test", "num_train", "num_test", "num_classes"} - set(content)):
        raise UsageError(
            f"{path}: no result of craik probe ({', '.join(missing)} missing). Delete it, or measure again: "
            "craik probe RUN --train PATH --test PATH"
        )
    return content


def read_lines(path: Path) -> Iterator[Json]:
    """Objects of a .jsonl file; a last line that a running or killed program cut short is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def flatten(config: Json, prefix: str = "") -> list[tuple[str, str]]:
    """A nested config as (dotted name, value) rows."""
    rows: list[tuple[str, str]] = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            rows += flatten(value, f"{name}.")
        else:
            rows.append((name, "none" if value is None else show(value)))
    return rows


def show(value: Any) -> str:
    """A config value for people."""
    if isinstance(value, list):
        return ", ".join(show(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
