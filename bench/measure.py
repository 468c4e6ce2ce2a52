"""Stop-watches: phases of a step, the machine's peak in matrix products, waiting for data, memory."""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.contenders import Contender, Work, draw_work, our_step, reference_step
from bench.settings import SETTINGS, Setting
from craik.data.images import load_images
from craik.data.loader import Loader

Clock = Callable[[], float]
PHASES = ("masks", "gradients", "optimizer", "ema")
"""A step is the sum of these; `augment` is timed beside them."""


@dataclass(slots=True)
class Times:
    """Seconds of one contender, one number a round."""

    phases: dict[str, list[float]] = field(default_factory=dict)

    def add(self, phase: str, seconds: float) -> None:
        """Note the time of a phase in this round."""
        self.phases.setdefault(phase, []).append(seconds)

    def median(self, phase: str) -> float:
        """Seconds of a phase."""
        return statistics.median(self.phases[phase])

    def steps(self) -> list[float]:
        """Seconds of the step in each round, without augmentation."""
        return [sum(parts) for parts in zip(*(self.phases[phase] for phase in PHASES), strict=True)]

    def step(self) -> float:
        """Seconds of a step, without augmentation."""
        return statistics.median(self.steps())


@dataclass(frozen=True, slots=True)
class Race:
    """Contenders timed in turn, so that what else the machine does falls on all of them alike."""

    times: dict[str, Times]
    peaks: dict[str, list[float]]
    """Matrix products [FLOP/s] by dtype, one number a round."""

    def ratio(self, name: str, to: str) -> float:
        """How many times as fast as another contender: median over rounds of the ratio within a round."""
        mine, theirs = self.times[name].steps(), self.times[to].steps()
        return statistics.median(b / a for a, b in zip(mine, theirs, strict=True))

    def share(self, name: str, flops: int, dtype: str) -> float:
        """Part of the peak that a step reaches [fraction], as the median over rounds."""
        rounds = zip(self.times[name].steps(), self.peaks[dtype], strict=True)
        return statistics.median(flops / seconds / peak for seconds, peak in rounds)


def race(
    contenders: list[Contender], work: Work, rounds: int, side: int = 2048, clock: Clock = time.perf_counter
) -> Race:
    """Time the contenders one after the other, `rounds` times, after one step each that does not count.

    Args:
        contenders: Who races.
        work: What each of them has to do.
        rounds: Steps that count.
        side: Rows and columns of the matrices whose product gives the peak.
        clock: Tells seconds; `time.process_time` counts this process alone, where others keep the machine busy.
    """
    device = work.images.device
    times = {contender.name: Times() for contender in contenders}
    peaks: dict[str, list[float]] = {"float32": [], "bf16": []}
    for contender in contenders:
        contender.step(work)
    for number in range(rounds):
        peaks["float32"].append(matmul_peak(torch.float32, device, side, clock))
        peaks["bf16"].append(matmul_peak(torch.bfloat16, device, side, clock))
        order = contenders if number % 2 == 0 else contenders[::-1]
        for contender in order:
            time_step(contender, work, number, times[contender.name], clock)
    return Race(times, peaks)


def time_step(contender: Contender, work: Work, seed: int, times: Times, clock: Clock) -> None:
    """One step, phase by phase."""
    rng = torch.Generator().manual_seed(seed)
    device = work.images.device
    times.add("augment", timed(lambda: contender.augment(work.canvases, rng), device, clock))
    times.add("masks", timed(lambda: contender.sample_masks(rng), device, clock))
    times.add("gradients", timed(lambda: contender.backward(work), device, clock))
    times.add("optimizer", timed(contender.optimizer.step, device, clock))
    times.add("ema", timed(contender.follow, device, clock))


def timed(act: Callable[[], object], device: torch.device, clock: Clock = time.perf_counter) -> float:
    """Seconds of an act, until the device is done with it."""
    synchronize(device)
    began = clock()
    act()
    synchronize(device)
    return clock() - began


def synchronize(device: torch.device) -> None:
    """Wait for a device that works on its own."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_peak(dtype: torch.dtype, device: torch.device, side: int, clock: Clock) -> float:
    """Best rate of products of square matrices of this side [FLOP/s]."""
    a = torch.randn(side, side, device=device).to(dtype)
    b = torch.randn(side, side, device=device).to(dtype)
    best = min(timed(lambda: a @ b, device, clock) for _ in range(3))
    return 2 * side**3 / best


def data_wait(contender: Contender, setting: Setting, work: Work, steps: int = 3) -> float:
    """Seconds a step waits for the loader, which reads from decoded images while the step computes."""
    images = load_images(f"toy:shapes?n={4 * setting.batch}", size=setting.canvas)
    batches = iter(Loader(images, setting.batch, seed=0))
    rng = torch.Generator().manual_seed(0)
    waits = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        samples = next(batches)
        waits.append(time.perf_counter() - began)
        contender.augment(samples.x.to(work.images.device), rng)
        contender.sample_masks(rng)
        contender.step(work)
    batches.close()
    return statistics.median(waits[1:])  # the first batch cannot have been read ahead


def peak_memory(setting: str, kind: str, bf16: bool, device: torch.device, threads: int) -> float:
    """Memory that two steps add to that of the process before them [bytes]; in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure_memory, (setting, kind, bf16, str(device), threads))


def measure_memory(setting: str, kind: str, bf16: bool, device: str, threads: int) -> float:
    """Growth of this process's largest size over two steps, weights and optimizer included [bytes]."""
    torch.set_num_threads(threads)
    where = torch.device(device)
    work = draw_work(SETTINGS[setting]).to(where)
    before = high_water(where)
    contender = make(kind, SETTINGS[setting], where, bf16)
    contender.step(work)
    contender.step(work)
    return high_water(where) - before


def high_water(device: torch.device) -> float:
    """The largest size so far, of the GPU's memory or of this process [bytes]; NaN where it is not known."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")  # getrusage would also count the process that started this one
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), float("nan"))


def make(kind: str, setting: Setting, device: torch.device, bf16: bool) -> Contender:
    """The contender of a kind: reference, ours, together or compiled."""
    if kind == "reference":
        return reference_step(setting, device, bf16=bf16)
    return our_step(setting, device, bf16=bf16, together=kind == "together", compiled=kind == "compiled")


def cpu_name() -> str:
    """What the processor calls itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
