"""Causal transformer blocks over time, and which tokens may see which."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from craik.nn.attention import Attention
from craik.nn.block import MLP


@dataclass(frozen=True, slots=True)
class CausalSize:
    """Size of a predictor over time, whose heads have a width of their own. Default: LeWorldModel's."""

    width: int = 192
    """Features per token inside the blocks D."""
    depth: int = 6
    """Number of blocks."""
    heads: int = 16
    """Attention heads H."""
    head_width: int = 64
    """Features per head; heads x head_width need not be the width."""
    hidden: int = 2048
    """Hidden width of the MLP."""


def frame_causal(num_frames: int, per_frame: int = 1, device: torch.device | None = None) -> Tensor:
    """Whether a query token may see a key token: those of its own and of earlier frames.

    Args:
        num_frames: Frames T.
        per_frame: Tokens of each frame N; they see one another.
        device: Where the result lives.

    Returns:
        Bool [T * N, T * N], row a query, column a key.

    Source: Zhou et al. 2024 (arXiv 2411.04983), section 3.1: without it, planning with 3 frames fails.
    """
    frame = torch.arange(num_frames, device=device).repeat_interleave(per_frame)
    return frame[:, None] >= frame[None, :]


class CausalBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): no bias in q, k, v; LayerNorm eps 1e-5; dropout."""

    def __init__(self, size: CausalSize, dropout_prob: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width)
        self.attn = Attention(size.width, size.heads, size.head_width, bias=False, dropout_prob=dropout_prob)
        self.norm2 = nn.LayerNorm(size.width)
        self.mlp = MLP(size.width, size.hidden, dropout_prob)
        self.drop = nn.Dropout(dropout_prob)

    def mix(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """The attention branch of x [B, N, D], under visible [N, N]."""
        out: Tensor = self.drop(self.attn(self.norm1(x), visible=visible))
        return out

    def feed(self, x: Tensor) -> Tensor:
        """The MLP branch of x [..., D]."""
        out: Tensor = self.drop(self.mlp(self.norm2(x)))
        return out

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        x = x + self.mix(x, visible)
        return x + self.feed(x)


class PatchPredictor(nn.Module):
    """From patch tokens and the actions taken there to the patch tokens of the next frame, causal over frames.

    The action is repeated for every patch and stands beside its features; positions are learned.

    Args:
        width: Features of a patch token D.
        cond_width: Features of an embedded action; D + cond_width must be the size's width.
        size: Size of the blocks.
        num_frames: Most frames that can be given.
        per_frame: Patch tokens of a frame N.
        dropout_prob: Probability of dropout in the blocks.

    Source: Zhou et al. 2024 (arXiv 2411.04983), section 3.1.
    """

    def __init__(
        self,
        width: int,
        cond_width: int,
        size: CausalSize,
        num_frames: int,
        per_frame: int,
        dropout_prob: float = 0.0,
    ) -> None:
        super().__init__()
        if size.width != width + cond_width:
            raise ValueError(f"the blocks are {size.width} wide, expected {width} + {cond_width}")
        self.width = width
        self.position = nn.Parameter(torch.empty(1, num_frames, per_frame, size.width))
        nn.init.normal_(self.position, std=0.02)
        self.blocks = nn.ModuleList(CausalBlock(size, dropout_prob) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width)

    def forward(self, latents: Tensor, cond: Tensor) -> Tensor:
        """Next latents [B, T, N, D] of latents [B, T, N, D] and embedded actions [B, T, Da].

        Raises:
            ValueError: If there are more frames or other patches than positions, or not one action per frame.
        """
        num, per_frame = latents.shape[1:3]
        most = self.position.shape[1:3]
        if num > most[0] or per_frame != most[1] or cond.shape[:2] != latents.shape[:2]:
            raise ValueError(
                f"the predictor takes at most {most[0]} frames of {most[1]} patches and one action for each frame; "
                f"got latents {list(latents.shape)} and actions {list(cond.shape)}"
            )
        tiled = cond.unsqueeze(2).expand(-1, -1, per_frame, -1)
        x = (torch.cat([latents, tiled], -1) + self.position[:, :num]).flatten(1, 2)
        visible = frame_causal(num, per_frame, x.device)
        for block in self.blocks:
            x = block(x, visible)
        out: Tensor = self.norm(x)[..., : self.width]
        return out.unflatten(1, (num, per_frame))
