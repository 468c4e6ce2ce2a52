"""Energies: how incompatible a prediction is with what it should have been. Low is compatible.

Each maps prediction and goal [B, T, K, D] to one energy per sample and target set, [B, T]. They are computed in
float32 (float64 for float64) also inside autocast, for a mean over many tokens loses digits in half precision.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from craik.core.precision import full_precision

Energy = Callable[[Tensor, Tensor], Tensor]


def smooth_l1(pred: Tensor, goal: Tensor, beta: float = 1.0) -> Tensor:
    """Huber distance, mean over tokens and features: [B, T, K, D] -> [B, T]. I-JEPA's code uses beta 1."""
    return F.smooth_l1_loss(full_precision(pred), full_precision(goal), reduction="none", beta=beta).mean((-2, -1))


def l1(pred: Tensor, goal: Tensor) -> Tensor:
    """Absolute difference, mean over tokens and features: [B, T, K, D] -> [B, T]. V-JEPA."""
    return (full_precision(pred) - full_precision(goal)).abs().mean((-2, -1))


def l2(pred: Tensor, goal: Tensor) -> Tensor:
    """Squared difference, mean over tokens and features: [B, T, K, D] -> [B, T]. I-JEPA's paper."""
    return (full_precision(pred) - full_precision(goal)).square().mean((-2, -1))


def cosine(pred: Tensor, goal: Tensor) -> Tensor:
    """One minus cosine similarity, mean over tokens: [B, T, K, D] -> [B, T], in [0, 2]."""
    return 1 - F.cosine_similarity(full_precision(pred), full_precision(goal), dim=-1).mean(-1)


def infonce(temperature: float = 0.1, gather: Callable[[Tensor], Tensor] | None = None) -> Energy:
    """Contrastive energy: a prediction must find its own goal among all goals of the batch.

    Args:
        temperature: Divides the cosine similarities; small is strict.
        gather: Collects goals [M, D] of all ranks as [W * M, D], own rank first; None on one process.

    Returns:
        An energy [B, T, K, D] -> [B, T]: mean cross-entropy [nats] over the K tokens of a set.

    Source: van den Oord et al. 2018 (arXiv 1807.03748), equation 4.
    """
    return partial(_infonce, temperature=temperature, gather=gather)


def _infonce(pred: Tensor, goal: Tensor, *, temperature: float, gather: Callable[[Tensor], Tensor] | None) -> Tensor:
    anchors = F.normalize(full_precision(pred), dim=-1).flatten(0, -2)
    goals = F.normalize(full_precision(goal), dim=-1).flatten(0, -2)
    candidates = goals if gather is None else gather(goals)
    own = torch.arange(len(anchors), device=pred.device)
    with torch.autocast(pred.device.type, enabled=False):
        energy = F.cross_entropy(anchors @ candidates.T / temperature, own, reduction="none")
    return energy.view(pred.shape[:-1]).mean(-1)
