"""Predictor of the next frame's patches from those seen, and from tokens that say what was done there."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from craik.core.tokens import Grid
from craik.nn.block import Trunk, init_linear
from craik.nn.causal import frame_causal
from craik.nn.position import Rotary
from craik.nn.sizes import Size


class FramePredictor(nn.Module):
    """From the patch tokens of frames, and what is told beside each, to the patch tokens of the frames that follow.

    A frame is its condition tokens (one for the action, one for the state, ...) and then its patches; a token sees all
    of its own and of earlier frames. Positions are rotary: patches turn by time, row and column, condition tokens by
    time alone.

    Args:
        width: Features of a patch token D.
        size: Size of the trunk.
        told: Numbers in each thing that is told: of an action, of a state.
        grid: Lattice (h, w) of the patches of a frame.
        rotary: Positions (t, h, w) for attention.

    Source: Assran et al. 2025 (arXiv 2506.09985), section 3.1.
    """

    def __init__(self, width: int, size: Size, told: Sequence[int], grid: Grid, rotary: Rotary) -> None:
        super().__init__()
        self.grid = grid
        self.embed = nn.Linear(width, size.width)
        self.conditions = nn.ModuleList(nn.Linear(num, size.width) for num in told)
        self.trunk = Trunk(size, rotary)
        self.proj = nn.Linear(size.width, width)
        for linear in (self.embed, *self.conditions, self.proj):
            assert isinstance(linear, nn.Linear)
            init_linear(linear)

    def forward(self, latents: Tensor, told: Sequence[Tensor]) -> Tensor:
        """The patches of the frames that follow, [B, T, N, D].

        Args:
            latents: Patch tokens of the frames seen, [B, T, N, D].
            told: What is told at each of these frames, [B, T, A], [B, T, K], ...

        Raises:
            ValueError: If a shape does not fit.
        """
        x, at, visible = self.sequence(latents, told)
        num, first = latents.shape[1], len(told)

        def patches(tokens: Tensor) -> Tensor:
            return tokens.unflatten(-2, (num, -1))[..., first:, :].flatten(-3, -2)

        out: Tensor = self.proj(self.trunk(x, at, pick=patches, visible=visible))
        return out.unflatten(1, (num, -1))

    def states(self, latents: Tensor, told: Sequence[Tensor]) -> list[Tensor]:
        """The residual stream after each block, condition tokens included, each [B, T * (C + N), width]."""
        x, at, visible = self.sequence(latents, told)
        return self.trunk.states(x, at, visible=visible)

    def sequence(self, latents: Tensor, told: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Tokens [B, S, width], their coordinates [B, S, 3], and who sees whom [S, S]; None where all see all."""
        num = latents.shape[1]
        wanted = [latents.shape[:2]] * len(self.conditions)
        if latents.shape[2] != self.grid.num_tokens or [t.shape[:2] for t in told] != wanted:
            raise ValueError(
                f"latents are {list(latents.shape)} and told is {[list(t.shape) for t in told]}; expected "
                f"{self.grid.num_tokens} patches in each frame, and {len(self.conditions)} things told at each"
            )
        tokens = [embed(t).unsqueeze(2) for embed, t in zip(self.conditions, told, strict=True)]
        x = torch.cat([*tokens, self.embed(latents)], 2)  # [B, T, C + N, width]
        at = coordinates(num, len(told), self.grid, latents.device)
        visible = frame_causal(num, x.shape[2], x.device) if num > 1 else None
        return x.flatten(1, 2), at.expand(len(x), -1, -1), visible


def coordinates(num_frames: int, num_told: int, grid: Grid, device: torch.device | None = None) -> Tensor:
    """Coordinates (t, h, w) of all tokens of frames, [1, T * (C + N), 3], condition tokens first in each.

    At row and column 0 these are not turned by them. Columns are counted in units in which the frame is as wide as it
    is high, as published: on a lattice of 4 x 6 they lie 4 / 6 apart.
    """
    height, width = grid.shape
    places = grid.coords(device)
    places = places * places.new_tensor([1.0, height / width])
    frame = torch.cat([places.new_zeros(num_told, 2), places])
    time = torch.arange(num_frames, device=device, dtype=frame.dtype).repeat_interleave(len(frame))
    return torch.cat([time[:, None], frame.repeat(num_frames, 1)], 1).unsqueeze(0)
