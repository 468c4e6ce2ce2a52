"""Positions from coordinates of any rank: sin-cos codes, looked-up tables, rotary angles."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.core.tokens import Grid


def sincos(at: Tensor, dim: int, order: Sequence[int] | None = None, base: float = 10000.0) -> Tensor:
    """Sin-cos code of coordinates, [..., A] -> float64 [..., dim].

    Each axis gets dim / A channels: first all sines, then all cosines, of its coordinate times base^(-j / m).

    Args:
        at: Coordinates in token units.
        dim: Width of the code; a multiple of 2 A.
        order: Axis that each share of the channels encodes. I-JEPA's table has the column first: (1, 0).
        base: Largest wavelength over 2 pi.

    Raises:
        ValueError: If dim is not a multiple of twice the number of axes.
    """
    num_axes = at.shape[-1]
    if dim % (2 * num_axes):
        raise ValueError(
            f"a sin-cos code of {num_axes} axes needs a width that is a multiple of {2 * num_axes}, got {dim}"
        )
    half = dim // (2 * num_axes)
    omega = base ** (-torch.arange(half, dtype=torch.float64, device=at.device) / half)
    codes = []
    for axis in order or range(num_axes):
        angle = at[..., axis, None].double() * omega
        codes += [angle.sin(), angle.cos()]
    return torch.cat(codes, dim=-1)


class Table(nn.Module):
    """A code per cell of a grid, added to tokens: fixed sin-cos, or whatever a checkpoint carries.

    The table is a parameter without gradient, as in the published code, so that the EMA and checkpoints treat it
    alike. An input on another grid gets the table resampled bicubically (any two-axis grid).
    """

    def __init__(self, grid: Grid, dim: int, order: Sequence[int] | None = None) -> None:
        super().__init__()
        self.grid = grid
        code = sincos(grid.coords(), dim, order)
        self.table = nn.Parameter(code.to(torch.get_default_dtype()), requires_grad=False)  # [N, D]

    def forward(self, at: Tensor, grid: Grid) -> Tensor:
        """Codes of the tokens at coordinates [..., A] of the given grid, [..., D]."""
        return F.embedding(grid.index(at), self.table if grid.shape == self.grid.shape else self.resampled(grid))

    def resampled(self, grid: Grid) -> Tensor:
        """The table for another two-axis grid, [N', D]."""
        if len(grid.shape) != 2 or len(self.grid.shape) != 2:
            raise ValueError(f"position table of grid {self.grid.shape} cannot be resampled to {grid.shape}")
        image = self.table.T.unflatten(1, self.grid.shape).unsqueeze(0)
        image = F.interpolate(image, size=grid.shape, mode="bicubic", align_corners=False)
        return image.flatten(2)[0].T


class SinCos(nn.Module):
    """The sin-cos code of any coordinates, fractional ones too, computed where it is asked for."""

    def __init__(self, dim: int, base: float = 10000.0) -> None:
        super().__init__()
        self.dim = dim
        self.base = base

    def forward(self, at: Tensor, grid: Grid) -> Tensor:
        """Codes of coordinates [..., A] in token units, [..., D]; the grid does not matter."""
        return sincos(at, self.dim, base=self.base).to(torch.get_default_dtype())


class Rotation(NamedTuple):
    """Cosines and sines [B, 1, N, d] of the angles by which heads are turned."""

    cos: Tensor
    sin: Tensor


class Rotary:
    """Rotary positions: every axis turns its share of each head's channel pairs by coordinate times frequency.

    The head of d channels is split evenly into A shares of an even size; channels left over are not turned.
    Angles depend on coordinates alone, so one rotation serves all heads and blocks.

    Source: Su et al. 2021 (arXiv 2104.09864), for any number of axes.
    """

    def __init__(self, head_dim: int, num_axes: int, base: float = 10000.0) -> None:
        self.head_dim = head_dim
        self.pairs = head_dim // (2 * num_axes)
        if self.pairs == 0:
            raise ValueError(f"head of {head_dim} channels is too narrow to rotate by {num_axes} axes")
        self.base = base

    def __call__(self, at: Tensor) -> Rotation:
        """Rotation of the tokens at coordinates [B, N, A]."""
        steps = torch.arange(self.pairs, device=at.device, dtype=torch.float32) / self.pairs
        angle = (at.float().unsqueeze(-1) * self.base**-steps).flatten(-2)  # [B, N, A * pairs]
        angle = angle.repeat_interleave(2, dim=-1)
        angle = F.pad(angle, (0, self.head_dim - angle.shape[-1])).unsqueeze(1)
        return Rotation(angle.cos(), angle.sin())


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn neighboring channel pairs of x [B, H, N, d]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.stack((-odd, even), dim=-1).flatten(-2)
    return x * rotation.cos.to(x.dtype) + turned * rotation.sin.to(x.dtype)
