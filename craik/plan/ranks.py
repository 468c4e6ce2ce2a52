"""Rank correlation."""

import torch
from torch import Tensor


def ranks(x: Tensor) -> Tensor:
    """Rank of each number of x [N], from 1; ties share their mean rank, float64."""
    _, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[inverse]


def spearman(x: Tensor, y: Tensor) -> float:
    """Spearman's rank correlation of x [N] and y [N], -1 to 1; NaN where one of them is constant."""
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    norm = a.norm() * b.norm()
    return float(a @ b / norm) if float(norm) > 0 else float("nan")
