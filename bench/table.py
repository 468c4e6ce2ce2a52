"""The result: one record a row, as a table for people and as JSON for programs."""

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.measure import cpu_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured of one contender; medians over rounds."""

    setting: str
    contender: str
    images_per_s: float
    """Images a second of a full step, augmentation not counted."""
    images_per_s_augmented: float
    """The same with augmentation."""
    times_reference: float
    """How many times as fast as the float32 reference: median of the ratios within each round."""
    share_float32: float
    """Published work over time over the float32 peak of matrix products measured beside it [fraction]."""
    share_bf16: float
    """The same over the bf16 peak."""
    step_ms: float
    gradients_ms: float
    """Forward and backward."""
    masks_ms: float
    augment_ms: float
    optimizer_ms: float
    ema_ms: float
    wait_ms: float | None
    """Waiting for the loader; the reference has none."""
    memory_mb: float
    """Growth of the process over two steps, weights and optimizer included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where it was measured."""

    processor: str
    device: str
    threads: int
    torch: str
    native_bf16: bool
    peak_float32: float
    """Best rate of matrix products in this run [GFLOP/s]."""
    peak_float32_median: float
    peak_bf16: float
    peak_bf16_median: float
    rounds: int

    @classmethod
    def of(cls, device: torch.device, native: bool, peaks: dict[str, list[float]], rounds: int) -> "Machine":
        """This machine."""
        return cls(
            processor=cpu_name(),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            native_bf16=native,
            peak_float32=max(peaks["float32"]) / 1e9,
            peak_float32_median=statistics.median(peaks["float32"]) / 1e9,
            peak_bf16=max(peaks["bf16"]) / 1e9,
            peak_bf16_median=statistics.median(peaks["bf16"]) / 1e9,
            rounds=rounds,
        )


def show(machine: Machine, rows: Sequence[Row], console: Console) -> None:
    """Print the table."""
    console.print(
        f"{machine.processor} ({machine.device}), {machine.threads} threads, torch {machine.torch}, "
        f"bf16 {'native' if machine.native_bf16 else 'emulated'}. Matrix products, best (median) of "
        f"{machine.rounds} rounds: float32 {machine.peak_float32:,.0f} ({machine.peak_float32_median:,.0f}), "
        f"bf16 {machine.peak_bf16:,.0f} ({machine.peak_bf16_median:,.0f}) GFLOP/s."
    )
    for setting in dict.fromkeys(row.setting for row in rows):
        mine = [row for row in rows if row.setting == setting]
        table = Table(title=setting, title_justify="left")
        table.add_column("")
        for row in mine:
            table.add_column(row.contender, justify="right")
        for label, cells in lines(mine):
            table.add_row(label, *cells)
        console.print(table)


def lines(rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """The lines of a setting's table: a label and one cell a contender."""
    return [
        ("images/s", [f"{r.images_per_s:,.1f}" for r in rows]),
        ("images/s with augmentation", [f"{r.images_per_s_augmented:,.1f}" for r in rows]),
        ("times the float32 reference", [f"{r.times_reference:.2f}" for r in rows]),
        ("share of float32 peak", [f"{r.share_float32:.0%}" for r in rows]),
        ("share of bf16 peak", [f"{r.share_bf16:.0%}" for r in rows]),
        ("step, ms", [f"{r.step_ms:,.0f}" for r in rows]),
        ("  forward and backward, ms", [f"{r.gradients_ms:,.0f}" for r in rows]),
        ("  masks, ms (share of step)", [f"{r.masks_ms:.1f} ({r.masks_ms / r.step_ms:.1%})" for r in rows]),
        ("  optimizer, ms", [f"{r.optimizer_ms:.1f}" for r in rows]),
        ("  EMA, ms", [f"{r.ema_ms:.1f}" for r in rows]),
        ("augmentation, ms", [f"{r.augment_ms:.1f}" for r in rows]),
        ("data wait, ms", ["-" if r.wait_ms is None else f"{r.wait_ms:.1f}" for r in rows]),
        ("memory, MB", [f"{r.memory_mb:,.0f}" for r in rows]),
    ]


def write_json(machine: Machine, rows: Sequence[Row], path: Path) -> None:
    """Write everything that was measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": asdict(machine), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=2) + "\n")
