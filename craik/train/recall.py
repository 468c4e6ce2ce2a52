"""Recall: what a run knew of its health, from the rows of its metrics.jsonl shown to a sentinel once more."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from craik.core.collapse import Spectrum, VarianceShare
from craik.train.health import Observation, Sentinel, StepRecord


@dataclass(slots=True)
class Memory:
    """What a run knew after its last recorded row."""

    sentinel: Sentinel
    seen: Observation | None = None
    """The last check."""
    scores: dict[str, float] = field(default_factory=dict)
    """Scores of the probe at the last check."""


def recall(rows: Iterable[Mapping[str, Any]], grace: int, checkpoints: Collection[int] = ()) -> Memory:
    """The memory of the run that wrote these rows.

    Args:
        rows: Rows of metrics.jsonl in their order.
        grace: Steps before rank and predictor were judged.
        checkpoints: Steps of the checkpoints that are there, of which the last healthy one is remembered.
    """
    memory, waiting = Memory(Sentinel(grace)), sorted(checkpoints)
    for row in rows:
        while waiting and row["step"] > waiting[0]:
            pass_checkpoint(memory.sentinel, waiting.pop(0))
        if "effective_rank" in row:
            memory.seen = observation(row)
            known = {"step", *memory.seen.row()}
            memory.scores = {name: value for name, value in row.items() if name not in known and value is not None}
            memory.sentinel.observe(memory.seen)
        elif "rate" in row:
            memory.sentinel.record(step_record(row))
    for step in waiting:
        pass_checkpoint(memory.sentinel, step)
    return memory


def pass_checkpoint(sentinel: Sentinel, step: int) -> None:
    """A checkpoint was written after what the sentinel has seen so far."""
    if sentinel.healthy:
        sentinel.last_healthy = step


def observation(row: Mapping[str, Any]) -> Observation:
    """The check that wrote a row."""
    share = None
    if row.get("target_between_samples") is not None and row.get("target_by_position") is not None:
        share = VarianceShare(float(row["target_between_samples"]), float(row["target_by_position"]))
    names = [f.name for f in fields(Observation) if f.name not in ("step", "embedding", "relative_std", "targets")]
    return Observation(
        int(row["step"]),
        Spectrum(**{f.name: number(row, f.name) for f in fields(Spectrum)}),
        number(row, "relative_std"),
        share,
        **{name: row.get(name) for name in names},
    )


def step_record(row: Mapping[str, Any]) -> StepRecord:
    """The window of steps that wrote a row."""
    names = ("loss", "grad_norm", "rate", "wait_share")
    return StepRecord(int(row["step"]), *(number(row, name) for name in names))


def number(row: Mapping[str, Any], name: str) -> float:
    """A recorded number; what was not finite is stored as null."""
    value = row.get(name)
    return math.nan if value is None else float(value)
