"""Clips that need no file: a square that moves on noise."""

import torch

from craik.data.loader import Samples


def moving_squares(num: int, frames: int, side: int = 40, seed: int = 0) -> Samples:
    """Raw clips uint8 [num, frames, 3, side, side]."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 60, (num, frames, 3, side, side), generator=rng, dtype=torch.uint8)
    for clip in x:
        row, column, down, right = (int(torch.randint(2, 10, (), generator=rng)) for _ in range(4))
        color = torch.randint(100, 255, (3, 1, 1), generator=rng, dtype=torch.uint8)
        for t, frame in enumerate(clip):
            top, left = row + t * down // 4, column + t * right // 4
            frame[:, top : top + 10, left : left + 10] = color
    sizes = torch.tensor([[side, side]] * num, dtype=torch.int32)
    return Samples(x, sizes, torch.arange(num))
