"""Episodes as latents: what a perception that no longer changes makes of every frame, to train on many times over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from craik.data.episode import Episodes
from craik.data.windows import Windows
from craik.errors import UsageError

Encode = Callable[[Tensor], Tensor]
"""Frames uint8 [M, C, H, W] to latents [M, D]."""
Watch = Callable[[str, int, int, float], None]
"""Told what is done, steps so far, steps in all, and the last loss; may raise to stop."""

CHUNK = 512  # frames encoded at once


def unwatched(what: str, step: int, total: int, loss: float) -> None:
    """Nobody is told."""


class Span(NamedTuple):
    """Windows of latents: [B, T, D], and the actions between them [B, T - 1, A]."""

    latents: Tensor
    actions: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Some episodes with the latents of all their frames, in memory."""

    episodes: Episodes
    latents: Tensor
    """Of their frames, episode after episode, [M, D]."""
    row: np.ndarray
    """From the row of a frame in the folder to its row here."""

    @classmethod
    def of(cls, episodes: Episodes, encode: Encode, most_frames: int = 200_000, watch: Watch = unwatched) -> "Encoded":
        """Encode episodes, spread evenly where there are more frames than wanted.

        Raises:
            UsageError: If a latent is not finite, or there are no actions.
        """
        if episodes.actions is None:
            raise UsageError(f"{episodes.name}: no actions, so there are no consequences to learn")
        share = min(1.0, most_frames / episodes.num_frames)
        chosen = np.unique(np.linspace(0, len(episodes) - 1, max(1, round(share * len(episodes)))).astype(np.int64))
        some = episodes.subset(chosen)
        rows = some.every_row
        found = []
        for first in range(0, len(rows), CHUNK):
            frames = np.ascontiguousarray(some.frames.read(rows[first : first + CHUNK]).transpose(0, 3, 1, 2))
            found.append(encode(torch.from_numpy(frames)).float())
            watch("encoding", min(first + CHUNK, len(rows)), len(rows), float("nan"))
        latents = torch.cat(found)
        if not bool(torch.isfinite(latents).all()):
            raise UsageError(f"latents of {episodes.name} are not finite: the training met NaN")
        row = np.full(int(rows.max()) + 1, -1)
        row[rows] = np.arange(len(rows))
        return cls(some, latents, row)

    def windows(self, num_frames: int, skip: int) -> Windows:
        """All windows of so many frames, to be drawn from."""
        return Windows(self.episodes, num_frames, skip)

    def draw(self, windows: Windows, num: int, rng: torch.Generator) -> Span:
        """Some windows at random."""
        seen, between = windows.rows(torch.randint(len(windows), (num,), generator=rng).numpy())
        assert self.episodes.actions is not None
        actions = windows.blocks(self.episodes.actions[between])
        return Span(self.latents[torch.from_numpy(self.row[seen])], actions.to(self.latents))

    def any(self, num: int, rng: torch.Generator) -> Tensor:
        """Latents of frames at random [num, D]."""
        return self.latents[torch.randint(len(self.latents), (num,), generator=rng)]
