"""Elites and weighted moments: how samples become the next distribution, per problem."""

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Mean and standard deviation of weighted candidates, each [B, H, A]."""

    mean: Tensor
    std: Tensor


def elites(actions: Tensor, cost: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The `num` candidates of lowest cost, best first: actions [B, K, H, A] and costs [B, K]."""
    cost, index = cost.topk(min(num, cost.shape[1]), dim=1, largest=False)
    return actions[torch.arange(len(actions), device=actions.device)[:, None], index], cost


def alike(cost: Tensor) -> Tensor:
    """Equal weights [B, K] for candidates of finite cost, none for the others."""
    return torch.isfinite(cost).to(cost.dtype)


def moments(actions: Tensor, weight: Tensor, otherwise: Moments, unbiased: bool = False) -> Moments:
    """Moments of candidates [B, K, H, A] under weights [B, K] not negative; `otherwise` where all weights are 0.

    The deviation is that of the population; or, for weights 0 and 1, the unbiased one, which is 0 for a single one.
    """
    total = weight.sum(1)
    share = (weight / total.clamp(min=1e-30)[:, None])[..., None, None].to(actions.dtype)
    mean = (share * actions).sum(1)
    variance = (share * (actions - mean.unsqueeze(1)).square()).sum(1)
    if unbiased:
        variance = variance * (total / (total - 1).clamp(min=1))[:, None, None].to(variance.dtype)
    std = variance.sqrt()
    known = (total > 0)[:, None, None]
    return Moments(torch.where(known, mean, otherwise.mean), torch.where(known, std, otherwise.std))


def blend(old: Moments, new: Moments, momentum: float | Tensor, std_momentum: float | Tensor | None = None) -> Moments:
    """Between the two: momentum x old + (1 - momentum) x new; deviations by a momentum of their own, where given."""
    std_momentum = momentum if std_momentum is None else std_momentum
    return Moments(torch.lerp(new.mean, old.mean, momentum), torch.lerp(new.std, old.std, std_momentum))
