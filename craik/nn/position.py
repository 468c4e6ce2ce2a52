"""Positions from coordinates of any rank: sin-cos codes, looked-up tables, rotary angles."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.core.tokens import Grid


def sincos(at: Tensor, dim: int, order: Sequence[int] | None = None, base: float = 10000.0) -> Tensor:
    """Sin-cos code of coordinates, [..., A] -> float64 [..., dim].

    Each axis gets dim / A channels: first all sines, then all cosines, of its coordinate times base^(-j / m). Where
    three or more axes do not share dim evenly, shares are rounded up to an even size and the last one is cut, as
    V-JEPA does; its wide models divide 1024 channels among time, row and column.

    Args:
        at: Coordinates in token units.
        dim: Width of the code; with one or two axes a multiple of 2 A.
        order: Axis that each share of the channels encodes. I-JEPA's table has the column first: (1, 0).
        base: Largest wavelength over 2 pi.

    Raises:
        ValueError: If one or two axes cannot share dim evenly.
    """
    num_axes = at.shape[-1]
    if dim % (2 * num_axes) and num_axes < 3:
        raise ValueError(
            f"a sin-cos code of {num_axes} axes needs a width that is a multiple of {2 * num_axes}, got {dim}"
        )
    half = -(-dim // (2 * num_axes))
    omega = base ** (-torch.arange(half, dtype=torch.float64, device=at.device) / half)
    codes = []
    for axis in order or range(num_axes):
        angle = at[..., axis, None].double() * omega
        codes += [angle.sin(), angle.cos()]
    return torch.cat(codes, dim=-1)[..., :dim]


RESAMPLING = {1: "linear", 2: "bicubic", 3: "trilinear"}
"""How a table of so many axes is fitted to another grid."""


class Table(nn.Module):
    """A code per cell of a grid, added to tokens: fixed sin-cos, or whatever a checkpoint carries.

    The table is a parameter without gradient, as in the published code, so that the EMA and checkpoints treat it
    alike. An input on another grid gets the table resampled, up to three axes.

    Args:
        grid: Lattice that the codes are for.
        dim: Width of a code.
        order: Axis that each share of the channels encodes, see `sincos`.
        keeps_pace: A grid that differs in a shorter first axis alone gets the beginning of the table, as in V-JEPA 2
            with tables; V-JEPA 1 stretches the time of short clips.
    """

    def __init__(self, grid: Grid, dim: int, order: Sequence[int] | None = None, keeps_pace: bool = False) -> None:
        super().__init__()
        self.grid = grid
        self.keeps_pace = keeps_pace
        code = sincos(grid.coords(), dim, order)
        self.table = nn.Parameter(code.to(torch.get_default_dtype()), requires_grad=False)  # [N, D]

    def forward(self, at: Tensor, grid: Grid) -> Tensor:
        """Codes of the tokens at coordinates [..., A] of the given grid, [..., D]."""
        return F.embedding(grid.index(at), self.table if grid.shape == self.grid.shape else self.resampled(grid))

    def resampled(self, grid: Grid) -> Tensor:
        """The table for another grid of as many axes, [N', D]."""
        shape, rank = self.grid.shape, len(self.grid.shape)
        if rank != len(grid.shape) or rank not in RESAMPLING:
            raise ValueError(f"position table of grid {shape} cannot be resampled to {grid.shape}")
        if self.keeps_pace and grid.shape[1:] == shape[1:] and grid.shape[0] < shape[0]:
            return self.table[: grid.num_tokens]
        lattice = self.table.T.unflatten(1, shape).unsqueeze(0)
        lattice = F.interpolate(lattice, size=grid.shape, mode=RESAMPLING[rank], align_corners=False)
        return lattice.flatten(2)[0].T


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
    """By how much heads are turned, [B, 1, N, d]: y = cos x + sin x', where x' swaps the channels of each pair.

    The sine of the first of a pair is negative, as in a rotation.
    """

    cos: Tensor
    sin: Tensor

    def take(self, pick: Callable[[Tensor], Tensor]) -> "Rotation":
        """The rotation of the tokens that `pick` takes from the token axis (dim -2)."""
        return Rotation(pick(self.cos.squeeze(1)).unsqueeze(1), pick(self.sin.squeeze(1)).unsqueeze(1))


class Rotary:
    """Rotary positions: every axis turns its share of each head's channel pairs by coordinate times frequency.

    The head of d channels is split evenly into A shares of an even size; channels left over are not turned.
    Angles depend on coordinates alone, so one rotation serves all heads and blocks.

    Args:
        head_dim: Channels of a head d.
        num_axes: Number of coordinates A.
        base: Largest wavelength over 2 pi.
        tiled: Reproduce a slip of V-JEPA 2 and 2-AC, which their weights need: the frequencies of a share are laid
            out as f0 f1 ... f0 f1 ... while pairs are neighbors, so the two channels of a pair turn by different
            angles, and products depend on more than differences of positions. V-JEPA 2.1 has f0 f0 f1 f1 ...

    Source: Su et al. 2021 (arXiv 2104.09864), for any number of axes.
    """

    def __init__(self, head_dim: int, num_axes: int, base: float = 10000.0, tiled: bool = False) -> None:
        self.head_dim = head_dim
        self.pairs = head_dim // (2 * num_axes)
        if self.pairs == 0:
            raise ValueError(f"head of {head_dim} channels is too narrow to rotate by {num_axes} axes")
        self.base = base
        self.tiled = tiled

    def __call__(self, at: Tensor, dtype: torch.dtype = torch.float32) -> Rotation:
        """Rotation of the tokens at coordinates [B, N, A], for features of this type.

        Angles are computed in float32 for half precision too. Samples that share their coordinates, as on a full
        grid, share their angles.
        """
        batch, dtype = len(at), torch.promote_types(dtype, torch.float32)
        if at.stride(0) == 0:  # the same coordinates, expanded
            at = at[:1]
        steps = torch.arange(self.pairs, device=at.device, dtype=dtype) / self.pairs
        angle = at.to(dtype).unsqueeze(-1) * self.base**-steps  # [B, N, A, pairs]
        cos, sin = self.spread(angle.cos(), 1.0), self.spread(angle.sin(), 0.0)
        sin[..., 0::2] *= -1
        return Rotation(cos.expand(batch, -1, -1, -1), sin.expand(batch, -1, -1, -1))

    def spread(self, wave: Tensor, rest: float) -> Tensor:
        """Cosines or sines of all frequencies [B, N, A, pairs] laid out over a head, [B, 1, N, d]."""
        both = torch.cat([wave, wave], -1) if self.tiled else wave.repeat_interleave(2, dim=-1)
        both = both.flatten(-2)
        return F.pad(both, (0, self.head_dim - both.shape[-1]), value=rest).unsqueeze(1)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn neighboring channel pairs of x [B, H, N, d]."""
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * rotation.cos.to(x.dtype), swapped, rotation.sin.to(x.dtype))
