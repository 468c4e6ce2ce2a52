"""Perception: frames of a world to the latents in which its model imagines."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from craik.core.target import Normalize, identity
from craik.core.tokens import Tokens


class Perception(nn.Module):
    """An encoder whose pooled tokens a head maps to one latent per frame.

    Args:
        encoder: Called as `encoder(x) -> Tokens`. The mean of a class token alone is that token.
        head: [M, Dx] -> [M, D]; None takes the pooled tokens as they are.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Identity() if head is None else head

    def forward(self, frames: Tensor) -> Tensor:
        """Latents [M, D] of normalized frames [M, C, H, W]."""
        tokens: Tokens = self.encoder(frames)
        latents: Tensor = self.head(tokens.mean())
        return latents


class Latents(nn.Module):
    """The latents of a world model as tokens, so that they can be used and probed where an encoder's features are.

    Args:
        world: The model.
        look: (model, normalized frames [M, C, H, W]) to its latents as tokens [M, 1 or N, D].
    """

    def __init__(self, world: nn.Module, look: Callable[[Any, Tensor], Tokens]) -> None:
        super().__init__()
        self.world = world
        self.look = look

    def forward(self, frames: Tensor) -> Tokens:
        """Tokens [M, 1 or N, D] of normalized frames [M, C, H, W]."""
        return self.look(self.world, frames)


class FrozenPatches(nn.Module):
    """The patch tokens of a pretrained encoder that never changes, in evaluation mode and without gradient.

    Args:
        encoder: Called as `encoder(x) -> Tokens`.
        normalize: What becomes of tokens [..., D] before they are latents: nothing, or `core.target.layer_normalize`.
    """

    def __init__(self, encoder: nn.Module, normalize: Normalize = identity) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.normalize = normalize

    def train(self, mode: bool = True) -> "FrozenPatches":
        """Stay in evaluation mode: dropout and running statistics belong to training."""
        super().train(mode)
        self.encoder.eval()
        return self

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Latents [M, N, D] of normalized frames [M, C, H, W]."""
        tokens: Tokens = self.encoder(frames)
        return self.normalize(tokens.x)
