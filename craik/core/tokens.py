"""Tokens: features and where they are. The only thing that every modality has to become."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Grid:
    """A lattice of tokens: an image has axes (h, w), a clip (t, h, w), a signal (t,).

    Tokens are numbered row-major: the last axis runs fastest.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape):
            raise ValueError(f"Grid has axes {self.axes} but shape {self.shape}; give one size per axis")
        if min(self.shape, default=0) < 1:
            raise ValueError(f"Grid shape {self.shape} has an empty axis; is the input smaller than one patch?")

    @property
    def num_tokens(self) -> int:
        """Number of cells N."""
        return math.prod(self.shape)

    def coords(self, device: torch.device | None = None) -> Tensor:
        """Coordinates of all tokens in token units, float32 [N, A]."""
        axes = [torch.arange(n, device=device, dtype=torch.float32) for n in self.shape]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)

    def index(self, at: Tensor) -> Tensor:
        """Number of the cell at each coordinate: [..., A] -> int64 [...]."""
        cells = at.round().long()
        number = cells[..., 0]
        for axis, size in enumerate(self.shape[1:], start=1):
            number = number * size + cells[..., axis]
        return number


@dataclass(frozen=True, slots=True)
class Tokens:
    """Features `x` [B, N, D] at coordinates `at` [B, N, A], in token units.

    `valid` [B, N] is False where a token is padding; None says that all tokens are real.
    """

    x: Tensor
    at: Tensor
    valid: Tensor | None = None

    def take(self, index: Tensor) -> "Tokens":
        """The tokens numbered by index int64 [B, K], in that order."""
        valid = None if self.valid is None else self.valid.gather(1, index)
        return Tokens(take(self.x, index), take(self.at, index), valid)

    def mean(self) -> Tensor:
        """Average over the real tokens, [B, D]."""
        if self.valid is None:
            return self.x.mean(1)
        weight = self.valid.to(self.x.dtype).unsqueeze(-1)
        return (self.x * weight).sum(1) / weight.sum(1).clamp(min=1)


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x [B, N, D] numbered by index int64 [B, K], as [B, K, D]."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
