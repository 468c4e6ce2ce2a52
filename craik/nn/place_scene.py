"""Perception in two streams: what the agent moves, and what stays around it."""

import torch
from torch import Tensor, nn

from craik.core.tokens import Tokens
from craik.nn.keypoints import Keypoints


class PlaceScene(nn.Module):
    """One vector per frame: its first features are the place, the rest the scene. Two ConvNets that share nothing.

    Which is which is told by the terms of the loss. The streams are apart because one network is taken over by what is
    learned first: in two rooms by the wall, after which no action could be read for hundreds of steps
    (results/two_rooms).

    Args:
        place: Keypoints of what moves.
        scene: Keypoints of what stays.
        num_place: Features of the place.
        num_scene: Features of the scene.
        hidden: Hidden width from the scene's keypoints to its features; the place has a quarter of it.
    """

    def __init__(self, place: Keypoints, scene: Keypoints, num_place: int, num_scene: int, hidden: int) -> None:
        super().__init__()
        self.place, self.scene = place, scene
        self.to_place = two_layers(place.width, hidden // 4, num_place)
        self.to_scene = two_layers(scene.width, hidden, num_scene)
        self.num_place = num_place
        self.width = num_place + num_scene

    def forward(self, frames: Tensor, keep: Tensor | None = None, wanted: Tensor | None = None) -> Tokens:
        """One token [M, 1, D] of frames [M, C, H, W].

        Raises:
            ValueError: If only a part of the frame is to be seen.
        """
        if keep is not None:
            raise ValueError("keypoints are looked for in the whole frame: this encoder cannot be shown a part of it")
        frames = frames.contiguous(memory_format=torch.channels_last)  # once for both
        x = torch.cat([self.to_place(self.place(frames)), self.to_scene(self.scene(frames))], -1)
        tokens = Tokens(x.unsqueeze(1), x.new_zeros(len(x), 1, 2))
        return tokens if wanted is None else tokens.take(wanted)


def two_layers(ins: int, hidden: int, outs: int) -> nn.Sequential:
    """Linear, SiLU, linear."""
    return nn.Sequential(nn.Linear(ins, hidden), nn.SiLU(), nn.Linear(hidden, outs))
