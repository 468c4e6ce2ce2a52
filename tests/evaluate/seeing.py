"""A model that sees where the colored dot of two rooms is, and knows that actions move it: no learning, no luck."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from craik.collect import Plan, collect
from craik.data.episode import Episodes
from craik.envs.two_rooms import EXTENT

SIDE = 64
COLORFUL = 60  # least difference of channels; walls and floor have less


class Eyes:
    """Latents are the place of the dot [px], whatever its color; walls do not stop it in imagination."""

    def __init__(self, deaf: bool = False, skip: int = 1) -> None:
        self.deaf, self.skip = deaf, skip

    def encode(self, frames: Tensor) -> Tensor:
        assert frames.dtype == torch.uint8 and frames.shape[2] == 3
        x = frames.float()
        weight = (x.amax(2) - x.amin(2) - COLORFUL).clamp(0, 60)  # [B, T, H, W]
        at = torch.arange(SIDE) + 0.5
        total = weight.sum((-2, -1)).clamp(min=1e-6)
        place = [(weight.sum(-2) * at).sum(-1), (weight.sum(-1) * at).sum(-1)]
        return torch.stack([p / total for p in place], -1) * EXTENT / SIDE - 0.5

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        assert past.shape[1] == latents.shape[1] - 1
        moves = actions.unflatten(-1, (self.skip, 2)).sum(-2)
        return latents[:, -1:] + (0 * moves if self.deaf else moves).cumsum(1)


class Tints(Eyes):
    """Latents are the mean color of the frame, which stays: startled by another color alone."""

    def encode(self, frames: Tensor) -> Tensor:
        return frames.float().mean((-2, -1))

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        return latents[:, -1:].expand(-1, actions.shape[1], -1)


class Blank(Eyes):
    """A collapsed model."""

    def encode(self, frames: Tensor) -> Tensor:
        return torch.ones(*frames.shape[:2], 2)


def rooms(folder: Path, episodes: int = 12, steps: int = 20, env: str = "two_rooms", seed: int = 0) -> Episodes:
    """A few episodes of a wandering dot."""
    collect(Plan(env=env, episodes=episodes, policy="walk", steps=steps, seed=seed), folder)
    return Episodes.open(folder)


def places(episodes: Episodes, rows: np.ndarray) -> Tensor:
    """True places [N, 2]."""
    assert episodes.states is not None
    return torch.from_numpy(episodes.states[rows][..., :2])
