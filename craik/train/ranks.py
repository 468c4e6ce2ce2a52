"""Differentiable sums and gathers over ranks, so that batch statistics are those of the whole batch.

A plain all-reduce silently drops the gradient. Here the backward pass sums gradients over ranks too: every rank
computes the loss of the whole batch, and the gradient that reaches a rank's samples is that of the sum of all
ranks' losses, W times the gradient of one. Distributed data parallel averages gradients over the W ranks, which
gives exactly the gradient that one process with the whole batch would have.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def num_ranks() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum of x [...] over ranks, on every rank; x itself on one process."""
    return x if num_ranks() == 1 else SumOverRanks.apply(x)  # type: ignore[no-untyped-call]


def gather_over_ranks(x: Tensor) -> Tensor:
    """Samples [..., N, D] of all ranks in rank order, [..., W * N, D]; every rank must have the same N."""
    return x if num_ranks() == 1 else GatherOverRanks.apply(x)  # type: ignore[no-untyped-call]


def gather_own_first(x: Tensor) -> Tensor:
    """As `gather_over_ranks`, but each rank has its own samples first, as `core.energy.infonce` wants them."""
    if num_ranks() == 1:
        return x
    return gather_over_ranks(x).roll(-dist.get_rank() * x.shape[-2], -2)


class SumOverRanks(torch.autograd.Function):
    """All-reduce forward, all-reduce backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Sum of x over ranks."""
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Sum of the ranks' gradients."""
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class GatherOverRanks(torch.autograd.Function):
    """All-gather forward; backward sums the ranks' gradients and takes the own share."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Samples of all ranks in rank order."""
        ctx.num = x.shape[-2]
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.detach().contiguous())
        return torch.cat(parts, -2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Sum of the ranks' gradients of the samples of this rank."""
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(-2, dist.get_rank() * ctx.num, ctx.num)
