"""A video encoder with a summary: a class token that reads all, and frames that see no later ones."""

import torch
from torch import Tensor, nn

from craik.core.tokens import Grid, Tokens, take
from craik.nn.block import Block, Trunk
from craik.nn.position import Table
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify


class ClipEncoder(nn.Module):
    """ViT whose tokens see those of their own and earlier frames, and whose class token sees all of them.

    The class token is read by nobody else, so what tokens say of a moment does not depend on what comes after it.

    Args:
        tokenizer: Patches (t, p, p).
        grid: Lattice of the position table.
        size: Width, depth and heads.

    Source: LeVJEPA (arXiv 2608.27395); fixed sin-cos positions are ours.
    """

    def __init__(self, tokenizer: Patchify, grid: Grid, size: Size) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.position = Table(grid, size.width)
        self.class_token = nn.Parameter(torch.empty(1, 1, size.width))
        nn.init.trunc_normal_(self.class_token, std=0.02)
        self.trunk = Trunk(size)
        self.width = size.width

    def grid(self, sizes: tuple[int, ...]) -> Grid:
        """Token lattice of an input [B, C, T, H, W]."""
        return self.tokenizer.grid(sizes)

    def read(self, x: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tokens]:
        """Class token [B, D] and tokens [B, N, D] of x [B, C, T, H, W]; those in keep [B, K] alone, if given."""
        x = self.tokenizer.whole(x)
        tokens: Tokens = self.tokenizer(x, keep)
        codes = self.position(tokens.at, self.grid(tuple(x.shape[2:])))
        state = torch.cat([self.class_token.expand(len(x), -1, -1), tokens.x + codes], 1)
        visible = sees(tokens.at[..., 0])
        for block in self.trunk.blocks:
            assert isinstance(block, Block)
            state = state + block.attn(block.norm1(state), visible=visible)
            state = state + block.mlp(block.norm2(state))
        out: Tensor = self.trunk.norm(state)
        return out[:, 0], Tokens(out[:, 1:], tokens.at)

    def forward(self, x: Tensor, keep: Tensor | None = None, wanted: Tensor | None = None) -> Tokens:
        """Tokens [B, N, D]; arguments as of `Encoder`."""
        _, tokens = self.read(x, keep)
        return tokens if wanted is None else Tokens(take(tokens.x, wanted), take(tokens.at, wanted))


def sees(time: Tensor) -> Tensor:
    """Which token each may see, of tokens at times [B, N] behind a class token: bool [B, 1, 1 + N, 1 + N]."""
    batch, num = time.shape
    visible = torch.ones(batch, 1 + num, 1 + num, dtype=torch.bool, device=time.device)
    visible[:, 1:, 0] = False
    visible[:, 1:, 1:] = time.unsqueeze(1) <= time.unsqueeze(2)
    return visible.unsqueeze(1)
