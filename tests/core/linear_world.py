"""The smallest encoder and predictor that the core can work with: sums that can be checked by hand."""

import torch
from torch import Tensor, nn

from craik.core import Grid, Mask, Tokens


class Cells(nn.Module):
    """Each number of x [B, N] becomes a token x * weight + bias, [B, N, D]."""

    def __init__(self, dim: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(1, dim)
        self.norm = nn.BatchNorm1d(dim, affine=False)

    def forward(self, x: Tensor, keep: Tensor | None = None, wanted: Tensor | None = None) -> Tokens:
        at = Grid(("t",), (x.shape[1],)).coords().expand(len(x), -1, -1)
        tokens = Tokens(self.linear(x.unsqueeze(-1)), at)
        if keep is not None:
            tokens = tokens.take(keep)
        return tokens if wanted is None else tokens.take(wanted)


class MeanPlusPlace(nn.Module):
    """Predicts the mean context token plus the place asked for; adds the mean condition."""

    def __init__(self, dim: int = 3) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))

    def forward(self, context: Tokens, where: Tensor, cond: Tensor | None = None) -> Tensor:
        pred = self.gain * context.mean()[:, None, None] + where
        return pred if cond is None else pred + cond.mean(1)[:, None, None]


def task(batch: int = 2) -> Mask:
    """Six cells: the first three are seen, two sets of the rest are asked for."""
    return Mask(torch.tensor([[0, 1, 2]]).repeat(batch, 1), torch.tensor([[[3, 4], [5, 4]]]).repeat(batch, 1, 1))
