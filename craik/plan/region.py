"""Regions of a read-out space: to be reached, or to be kept out of.

A region is its signed distance: points [..., K] to [...], negative inside, in the units of the read-out.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Region = Callable[[Tensor], Tensor]


def ball(center: Sequence[float] | Tensor, radius: float) -> Region:
    """Points within `radius` of the center [K], or of one center for each problem [B, K]."""
    middle = torch.as_tensor(center, dtype=torch.float32)

    def signed_distance(points: Tensor) -> Tensor:
        return (points - aligned(middle, points)).norm(dim=-1) - radius

    return signed_distance


def rectangle(low: Sequence[float] | Tensor, high: Sequence[float] | Tensor) -> Region:
    """Points between two corners [K], or two corners for each problem [B, K]."""
    corners = torch.as_tensor(low, dtype=torch.float32), torch.as_tensor(high, dtype=torch.float32)

    def signed_distance(points: Tensor) -> Tensor:
        below, above = (aligned(corner, points) for corner in corners)
        excess = torch.maximum(below - points, points - above)  # [..., K], negative inside
        return excess.clamp(min=0).norm(dim=-1) + excess.amax(-1).clamp(max=0)

    return signed_distance


def outside(region: Region) -> Region:
    """Everything that is not in the region."""
    return lambda points: -region(points)


def aligned(value: Tensor, points: Tensor) -> Tensor:
    """A value [K] or [B, K] with the axes, dtype and device of points [B, ..., K]."""
    value = value.to(points)
    return value if value.ndim == 1 else value.view(len(value), *[1] * (points.ndim - 2), -1)
