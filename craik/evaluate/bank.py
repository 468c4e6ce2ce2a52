"""A bank of real frames with their latents: it shows what an imagined latent looks like, without any decoder."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from craik.core.latent_world import pooled
from craik.core.world import WorldModel
from craik.data.episode import Episodes

CHUNK = 64  # frames encoded at once


class Nearest(NamedTuple):
    """What of a bank is nearest to latents [...]."""

    rows: np.ndarray
    """Which frame, int64 [...]."""
    distance: Tensor
    """Squared distance of the latents, mean over features, over the variance of the bank, [...]."""


class Bank(NamedTuple):
    """Real frames and their latents."""

    frames: np.ndarray
    """uint8 [M, H, W, C]."""
    latents: Tensor
    """[M, D] or [M, N, D], on the CPU."""

    def nearest(self, latents: Tensor) -> Nearest:
        """The frame nearest to each latent [..., D] or, where the bank has patches, [..., N, D].

        Raises:
            ValueError: If latents are of another kind than those of the bank.
        """
        kind = self.latents.shape[1:]
        if latents.shape[latents.ndim - len(kind) :] != kind:
            raise ValueError(f"latents are {list(latents.shape)}, the bank has {list(self.latents.shape)}")
        lead = latents.shape[: latents.ndim - len(kind)]
        bank = self.latents.flatten(1).double()
        squares, rows = torch.cdist(latents.cpu().reshape(-1, bank.shape[1]).double(), bank).square().min(1)
        spread = bank.var(0, correction=0).mean().clamp(min=1e-12) * bank.shape[1]
        return Nearest(rows.view(lead).numpy(), (squares / spread).view(lead).float())

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        """Frames uint8 [..., H, W, C] of rows [...]."""
        return self.frames[rows]


def bank_of(model: WorldModel, *frames: np.ndarray) -> Bank:
    """A bank of frames uint8 [n, H, W, C].

    Args:
        model: As `craik.load` gives it: `encode` takes raw frames.
        frames: One or more lots of them.
    """
    every = np.concatenate(frames)
    return Bank(every, encode_each(model, every))


@torch.inference_mode()
def encode_each(model: WorldModel, frames: np.ndarray, *, pool: bool = False) -> Tensor:
    """Latents [N, ...] of frames uint8 [N, H, W, C], each alone, on the CPU; `pool` takes the mean over patches."""
    found = []
    for part in torch.from_numpy(frames).permute(0, 3, 1, 2).unsqueeze(1).split(CHUNK):
        latents = model.encode(part)
        found.append((pooled(latents) if pool else latents)[:, 0].float().cpu())
    return torch.cat(found)


def spread_rows(episodes: Episodes, num: int) -> np.ndarray:
    """Rows of at most `num` frames, spread evenly over the episodes, int64 [N]."""
    chosen = np.linspace(0, episodes.num_frames - 1, min(num, episodes.num_frames)).astype(np.int64)
    return episodes.every_row[chosen]
