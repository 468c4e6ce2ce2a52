"""`python -m bench.attention`: scaled_dot_product_attention against matmul-softmax-matmul, per shape and dtype.

The numbers behind `craik.nn.attention.attend`: forward and backward from a fused q, k, v, both kernels in turn.
"""

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench.measure import cpu_name, timed
from craik.nn.attention import attention_map
from craik.train.runtime import choose_device, native_bf16

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Shape:
    """Sequences, heads, tokens and channels of a head."""

    batch: int
    heads: int
    tokens: int
    dim: int
    what: str = ""


SHAPES = (
    Shape(128, 3, 9, 64, "32 px context"),
    Shape(512, 3, 21, 32, "32 px predictor"),
    Shape(32, 3, 43, 64, "224 px context"),
    Shape(128, 3, 64, 64, "32 px target"),
    Shape(128, 3, 79, 64, "224 px predictor"),
    Shape(32, 3, 196, 64, "224 px target"),
    Shape(8, 3, 400, 64),
    Shape(4, 3, 784, 64),
    Shape(2, 3, 1568, 64),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time of scaled_dot_product_attention over that of the explicit form; above 1 the explicit form wins."""

    rounds: int = 9
    """Runs of each kernel that are timed."""
    threads: int = os.cpu_count() or 1
    """Threads on a CPU."""
    device: str = "auto"
    """auto, cpu, cuda."""


def main() -> None:
    """Print the table."""
    options = tyro.cli(Options)
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    table = Table("batch x heads x tokens x dim", "", "float32", "bf16", "bf16 / float32, faster kernel")
    for shape in SHAPES:
        wide = compare(shape, torch.float32, device, options.rounds)
        half = compare(shape, torch.bfloat16, device, options.rounds)
        size = f"{shape.batch} x {shape.heads} x {shape.tokens} x {shape.dim}"
        cells = (f"{wide.ratio:.2f}", f"{half.ratio:.2f}", f"{half.best / wide.best:.2f}")
        table.add_row(size, shape.what, *cells)
    native = "native" if native_bf16(device) else "emulated"
    console = Console(width=110)
    console.print(f"{cpu_name()}, {device}, {options.threads} threads, torch {torch.__version__}, bf16 {native}")
    console.print(table)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of one shape and dtype."""

    ratio: float
    """Time of the fused kernel over the explicit one, median over rounds."""
    best: float
    """Seconds of the faster one, median over rounds."""


def compare(shape: Shape, dtype: torch.dtype, device: torch.device, rounds: int) -> Comparison:
    """Both kernels in turn."""
    size = (shape.batch, shape.tokens, 3 * shape.heads * shape.dim)
    qkv = torch.randn(size, device=device).to(dtype).requires_grad_()
    fused, explicit = F.scaled_dot_product_attention, written_out
    times: dict[Kernel, list[float]] = {fused: [], explicit: []}
    for number in range(rounds + 1):
        for kernel, seconds in times.items():
            took = timed(lambda kernel=kernel: run(kernel, qkv, shape.heads), device)
            if number:  # the first round warms up
                seconds.append(took)
    ratio = statistics.median(a / b for a, b in zip(times[fused], times[explicit], strict=True))
    return Comparison(ratio, min(statistics.median(seconds) for seconds in times.values()))


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The explicit form."""
    return attention_map(q, k) @ v


def run(kernel: Kernel, qkv: Tensor, heads: int) -> None:
    """Forward and backward as a block does it, without the linear layers."""
    q, k, v = (part.transpose(1, 2) for part in qkv.unflatten(-1, (3, heads, -1)).unbind(2))
    out = kernel(q, k, v).transpose(1, 2).flatten(2)
    out.backward(out.detach())
    qkv.grad = None


if __name__ == "__main__":
    main()
