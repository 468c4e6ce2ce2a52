"""Frames as a model sees them outside of training, whatever size they were recorded at."""

import torch
import torch.nn.functional as F
from torch import Tensor


def as_volume(x: Tensor) -> Tensor:
    """Clips [B, T, C, H, W] as encoders take them, [B, C, T, H, W]; images [B, C, H, W] as they are."""
    return x.transpose(1, 2) if x.ndim == 5 else x


def center_square(frames: Tensor, side: int) -> Tensor:
    """The short side resized to `side` (bilinear with antialiasing), the center square cut out, one channel made three.

    Args:
        frames: uint8, or float in [0, 1], [..., C, H, W] with C of 1 or 3.
        side: Of the result [pixels].

    Returns:
        float32 [..., 3, side, side] in [0, 1]; exactly the pixels where the frames have this size.

    Raises:
        ValueError: If there are neither 1 nor 3 channels.
    """
    *lead, channels, height, width = frames.shape
    if channels not in (1, 3):
        raise ValueError(f"frames are {list(frames.shape)}; expected [..., 1 or 3 channels, height, width]")
    x = frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()
    if (height, width) != (side, side):
        short = min(height, width)
        size = [round(side * height / short), round(side * width / short)]
        x = F.interpolate(x.reshape(-1, channels, height, width), size, mode="bilinear", antialias=True)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        x = x[..., top : top + side, left : left + side].reshape(*lead, channels, side, side)
    return x.expand(*lead, 3, side, side)
