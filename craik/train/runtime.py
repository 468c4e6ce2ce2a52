"""Runtime: device, precision, ranks, and seeds. The only place that asks the machine what it is."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.distributed as dist

from craik.errors import UsageError


class Precision(StrEnum):
    """Arithmetic of forward and backward; weights are float32 always."""

    auto = "auto"
    """bf16 where the hardware multiplies it natively, else float32."""
    float32 = "float32"
    bf16 = "bf16"


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how a run computes."""

    device: torch.device
    bf16: bool
    rank: int = 0
    world: int = 1

    def autocast(self) -> AbstractContextManager[object]:
        """Context for forward passes: bfloat16 autocast, or nothing."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and speaks."""
        return self.rank == 0

    def describe(self) -> str:
        """One phrase for people, e.g. "cpu (2 threads), float32"."""
        ranks = f", {self.world} ranks" if self.world > 1 else ""
        threads = f" ({torch.get_num_threads()} threads)" if self.device.type == "cpu" else ""
        return f"{self.device}{threads}, {'bf16' if self.bf16 else 'float32'}{ranks}"


def native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; emulation is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name, or the best there is: CUDA, then MPS, then CPU.

    Raises:
        UsageError: If the device is asked for and absent.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: no such device; use auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        build = "is a CPU build" if torch.version.cuda is None else "finds no GPU"
        raise UsageError(f"--device {name}: this torch {build} ({torch.__version__}); use --device cpu")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there are {torch.cuda.device_count()} GPUs, numbered from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"--device {name}: no Apple GPU here; use --device cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {name}: use auto, cpu, cuda, cuda:1 or mps")
    return device


@contextmanager
def start(device: str = "auto", precision: Precision = Precision.auto) -> Iterator[Runtime]:
    """The runtime of this process; joins its peers when started by torchrun, and leaves them at the end."""
    chosen = choose_device(device)
    bf16 = native_bf16(chosen) if precision is Precision.auto else precision is Precision.bf16
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Runtime(chosen, bf16)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Runtime(chosen, bf16, rank, world)
    finally:
        dist.destroy_process_group()


def step_rng(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """The generator of one step: all randomness of a step follows from seed, step and rank."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 4_099 + rank)
