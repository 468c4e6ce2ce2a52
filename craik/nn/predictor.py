"""Predictor: from context tokens and the coordinates asked for to the latents there."""

import torch
from torch import Tensor, nn

from craik.core.tokens import Grid, Tokens
from craik.nn.block import Trunk, init_linear
from craik.nn.position import Rotary, SinCos, Table
from craik.nn.sizes import Size


class Predictor(nn.Module):
    """A narrow transformer over [context | mask tokens], read out at the mask tokens.

    Each of the T target sets is predicted alone: its mask tokens see the context and one another, never those of
    another set. `together=True` lets all sets of a sample see one another in a single pass, which is several times
    cheaper where sets are small, and another method. `out` is the width of what is predicted, where it is not the
    encoder's.

    Source: Assran et al. 2023 (arXiv 2301.08243), section 3.
    """

    def __init__(
        self,
        width: int,
        size: Size,
        grid: Grid,
        position: Table | SinCos | None = None,
        rotary: Rotary | None = None,
        together: bool = False,
        out: int | None = None,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.together = together
        self.embed = nn.Linear(width, size.width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, size.width))
        self.position = position
        self.trunk = Trunk(size, rotary)
        self.proj = nn.Linear(size.width, out or width)
        nn.init.normal_(self.mask_token, std=0.02)
        init_linear(self.embed)
        init_linear(self.proj)

    def forward(self, context: Tokens, where: Tensor, cond: Tensor | None = None) -> Tensor:
        """Latents at coordinates where [B, T, K, A], given context [B, Kc, D] and tokens cond [B, C, D]: [B, T, K, D].

        Condition tokens, when given, are read like context without a position.
        """
        batch, sets, wanted = where.shape[:3]
        if self.together:
            where = where.flatten(1, 2).unsqueeze(1)
        seen, at = self.embed(context.x), context.at
        if self.position is not None:
            seen = seen + self.position(at, self.grid)
        if cond is not None:
            seen = torch.cat([seen, self.embed(cond)], 1)
            at = torch.cat([at, at.new_zeros(batch, cond.shape[1], at.shape[-1])], 1)
        asked = self.questions(where, seen.dtype)  # [B, T, K, Dp]
        x = torch.cat([tile(seen, where.shape[1]), asked.flatten(0, 1)], 1)  # [B * T, Kc + K, Dp]
        at = torch.cat([tile(at, where.shape[1]), where.flatten(0, 1)], 1)
        num_asked = where.shape[2]
        pred: Tensor = self.proj(self.trunk(x, at, pick=lambda t: t[:, -num_asked:]))
        return pred.reshape(batch, sets, wanted, -1)

    def questions(self, where: Tensor, dtype: torch.dtype) -> Tensor:
        """The mask token with the position of each coordinate [B, T, K, A], [B, T, K, Dp]."""
        token = self.mask_token.to(dtype)
        if self.position is None:
            return token.expand(*where.shape[:3], -1)
        return token + self.position(where, self.grid)


def tile(x: Tensor, sets: int) -> Tensor:
    """Repeat each sample for its target sets, [B, ...] -> [B * T, ...]."""
    return x if sets == 1 else x.unsqueeze(1).expand(-1, sets, *x.shape[1:]).flatten(0, 1)
