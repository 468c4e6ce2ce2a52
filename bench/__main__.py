"""`python -m bench`: the training step beside the plain reference, in one table."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from rich.console import Console

from bench import flops
from bench.contenders import Contender, draw_work
from bench.measure import Race, data_wait, make, peak_memory, race
from bench.settings import SETTINGS, Setting
from bench.table import Machine, Row, show, write_json
from craik.errors import UsageError
from craik.train.runtime import choose_device, native_bf16


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Training steps of I-JEPA, ours and a plain reference, timed in turn on the same weights, images and masks."""

    setting: Literal["all", "tiny224", "small32"] = "all"
    """ViT-Tiny/16 at 224 px, batch 32; or 6 x 192 with patch 4 at 32 px, batch 128."""
    rounds: int = 5
    """Steps of each contender that are timed."""
    threads: int = os.cpu_count() or 1
    """Threads on a CPU."""
    clock: Literal["wall", "cpu"] = "wall"
    """cpu counts the processor time of this process: for a machine busy with other work; needs --threads 1."""
    device: str = "auto"
    """auto, cpu, cuda."""
    bf16: bool = False
    """Also measure bf16 autocast where the hardware only emulates it; where it is native it is always measured."""
    compile: bool = False
    """Also measure our step through torch.compile."""
    json: Path | None = None
    """Write all figures to this file."""


def main() -> None:
    """Run the benchmark."""
    options = tyro.cli(Bench)
    if options.clock == "cpu" and options.threads != 1:
        raise UsageError("--clock cpu adds up what all threads do, waiting included: add --threads 1")
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    bf16 = options.bf16 or native_bf16(device)
    names = list(SETTINGS) if options.setting == "all" else [options.setting]
    rows: list[Row] = []
    peaks: dict[str, list[float]] = {"float32": [], "bf16": []}
    for name in names:
        measured, result = measure(name, options, device, bf16)
        rows += measured
        peaks = {dtype: peaks[dtype] + result.peaks[dtype] for dtype in peaks}
    machine = Machine.of(device, native_bf16(device), peaks, options.rounds)
    show(machine, rows, Console(width=130))
    if options.json is not None:
        write_json(machine, rows, options.json)


def measure(name: str, options: Bench, device: torch.device, bf16: bool) -> tuple[list[Row], Race]:
    """The rows of one setting."""
    setting = SETTINGS[name]
    work = draw_work(setting).to(device)
    kinds = [("reference", False), ("ours", False), ("together", False)]
    kinds += [("compiled", False)] if options.compile else []
    kinds += [(kind, True) for kind in ("reference", "ours", "together")] if bf16 else []
    contenders = [make(kind, setting, device, half) for kind, half in kinds]
    side = 8192 if device.type == "cuda" else 2048
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    result = race(contenders, work, options.rounds, side, clock)
    rows = []
    for (kind, half), contender in zip(kinds, contenders, strict=True):
        memory = peak_memory(name, kind, half, device, options.threads)
        wait = None if kind == "reference" else data_wait(contender, setting, work)
        rows.append(row(setting, contender, result, memory, wait))
    return rows, result


def row(setting: Setting, contender: Contender, result: Race, memory: float, wait: float | None) -> Row:
    """One contender's figures."""
    times, work = result.times[contender.name], flops.training_step(setting)
    step, augment = times.step(), times.median("augment")
    return Row(
        setting=setting.name,
        contender=contender.name,
        images_per_s=setting.batch / step,
        images_per_s_augmented=setting.batch / (step + augment),
        times_reference=result.ratio(contender.name, "reference float32"),
        share_float32=result.share(contender.name, work, "float32"),
        share_bf16=result.share(contender.name, work, "bf16"),
        step_ms=1e3 * step,
        gradients_ms=1e3 * times.median("gradients"),
        masks_ms=1e3 * times.median("masks"),
        augment_ms=1e3 * augment,
        optimizer_ms=1e3 * times.median("optimizer"),
        ema_ms=1e3 * times.median("ema"),
        wait_ms=None if wait is None else 1e3 * wait,
        memory_mb=memory / 1e6,
    )


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
