"""Keypoints: where a ConvNet sees each of a few things, as coordinates."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 4  # side of the patches that the first convolution maps [pixels]
SPREAD = 2.0  # of the coordinates: from -2 to 2, so that their deviation is about 1


class Keypoints(nn.Module):
    """A small ConvNet with one heat map per keypoint; its output is where each map is hot.

    A softmax over the places makes a distribution of each map, and its mean is the keypoint, finer than the lattice. A
    dot that moves a pixel moves its keypoint by as much, wherever it is: what a pooled feature forgets and a flattened
    map learns for every place anew. Works at any size of frame.

    Args:
        width: Channels inside.
        num: Keypoints K.
        sharpness: Multiplies the heat. At 1 a fresh network's maps are all but flat, every keypoint lies in the middle,
            and little gradient comes through. At 10 actions could not be read from places for 100 to 200 steps, at 20
            for 40 (results/two_rooms).
        channels: Channels of a frame.

    Source: Levine et al. 2016 (arXiv 1504.00702), section 5.2 (spatial softmax); Finn et al. 2016 (arXiv 1509.06113).
    Difference: the sharpness is fixed and high.
    """

    def __init__(self, width: int, num: int, sharpness: float = 20.0, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, PATCH, PATCH)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.heat = nn.Conv2d(width, num, 1)
        self.sharpness = sharpness
        self.width = 2 * num
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, frames: Tensor) -> Tensor:
        """Coordinates [M, 2 * K] of frames [M, C, H, W]: x of keypoint 1, y of keypoint 1, x of keypoint 2, ..."""
        heat = self.maps(frames)
        hot = heat.flatten(2).softmax(-1)  # [M, K, N]
        return SPREAD * (hot @ lattice(heat)).flatten(1)

    def maps(self, frames: Tensor) -> Tensor:
        """Heat [M, K, H / 4, W / 4]."""
        x = F.relu(self.stem(frames.contiguous(memory_format=torch.channels_last)), inplace=True)
        heat: Tensor = self.heat(F.relu(self.conv(x), inplace=True))
        return self.sharpness * heat


def lattice(maps: Tensor) -> Tensor:
    """Coordinates (x, y) of the cells of maps [M, K, H, W], row by row, each from -1 to 1, [H * W, 2]."""
    rows, columns = (torch.linspace(-1, 1, side, device=maps.device, dtype=maps.dtype) for side in maps.shape[2:])
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], -1)
