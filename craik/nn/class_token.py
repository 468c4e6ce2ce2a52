"""Vision transformer whose answer is a class token, in the layout of transformers' ViTModel."""

import torch
from torch import Tensor, nn

from craik.core.tokens import Grid, Tokens
from craik.nn.block import Trunk
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify

VIT_EPS = 1e-12  # LayerNorms of transformers' ViTModel


class ClassEncoder(nn.Module):
    """ViT with a class token and learned positions; its representation is the class token after the final norm.

    Args:
        tokenizer: Turns images into Tokens [B, N, D].
        grid: Token lattice the positions are for.
        size: Width, depth and heads; the width must be the tokenizer's.
        eps: Of all LayerNorms.

    Source: Dosovitskiy et al. 2021 (arXiv 2010.11929), section 3.1.
    """

    def __init__(self, tokenizer: Patchify, grid: Grid, size: Size, eps: float = VIT_EPS) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.lattice = grid
        self.class_token = nn.Parameter(torch.empty(1, 1, size.width))
        self.position = nn.Parameter(torch.empty(1, 1 + grid.num_tokens, size.width))
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.position, std=0.02)
        self.trunk = Trunk(size, eps=eps)
        self.width = size.width

    def grid(self, sizes: tuple[int, ...]) -> Grid:
        """Token lattice of an input of this height and width.

        Raises:
            ValueError: If it is not the lattice of the learned positions.
        """
        grid = self.tokenizer.grid(sizes)
        if grid.shape != self.lattice.shape:
            sides = tuple(n * side for n, side in zip(self.lattice.shape, self.tokenizer.patch, strict=True))
            raise ValueError(f"images are {sizes} pixels, the learned positions are for {sides}")
        return grid

    def embed(self, x: Tensor, keep: Tensor | None = None) -> Tokens:
        """Class token, then patches, with positions: [B, 1 + N, D], or [B, 1 + K, D] with keep [B, K]."""
        grid = self.grid(tuple(x.shape[2:]))
        patches: Tokens = self.tokenizer(x, keep)
        codes = self.position[0, 1:][grid.index(patches.at)]
        first = (self.class_token + self.position[:, :1]).expand(len(x), -1, -1)
        middle = (patches.at.new_tensor(grid.shape) - 1) / 2
        at = torch.cat([middle.expand(len(x), 1, -1), patches.at], 1)
        return Tokens(torch.cat([first, patches.x + codes], 1), at)

    def forward(self, x: Tensor, keep: Tensor | None = None, wanted: Tensor | None = None) -> Tokens:
        """Class token [B, 1, D] of x [B, C, H, W], at the middle of the lattice; `keep` [B, K] limits what it sees."""
        tokens = self.embed(x, keep)
        answer = Tokens(self.trunk(tokens.x, tokens.at, pick=lambda t: t[:, :1]), tokens.at[:, :1])
        return answer if wanted is None else answer.take(wanted)

    def hidden(self, x: Tensor) -> Tensor:
        """Last hidden state [B, 1 + N, D], class token first."""
        tokens = self.embed(x)
        out: Tensor = self.trunk(tokens.x, tokens.at)
        return out

    def layers(self, x: Tensor, num: int) -> list[Tensor]:
        """Class token [B, 1, D] after each of the last `num` blocks, through the final norm, last block last."""
        tokens = self.embed(x)
        return [self.trunk.norm(state[:, :1]) for state in self.trunk.states(tokens.x, tokens.at)[-num:]]
