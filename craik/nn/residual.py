"""A predictor for worlds of which one frame shows the whole state: what an action changes is added to the latent."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.nn.standard import FeatureScale


class ResidualPredictor(nn.Module):
    """Next latent = latent + a matrix x action + a small network of latent and action. Looks at one frame.

    The matrix is what free motion is; the network begins at nothing and learns where it is otherwise. Both work on
    standardized features once `scale.set` has been told latents; before, on the features as they are.

    Args:
        width: Features of a latent D.
        action_width: Features of an action A.
        hidden: Width of the hidden layers.
        depth: Hidden layers.
        moving: The first so many features of a latent change, the others are copied; None for all.
        sharpness: Multiplies the first weights of the first layer. Fresh networks are smooth, and whether a step meets
            a wall is decided within a pixel of some sixty; at 5 the error twelve steps ahead fell by a fifth
            (results/two_rooms).
    """

    def __init__(
        self,
        width: int,
        action_width: int,
        hidden: int = 256,
        depth: int = 3,
        sharpness: float = 5.0,
        moving: int | None = None,
    ) -> None:
        super().__init__()
        self.scale = FeatureScale(width)
        widths = [width + action_width, *[hidden] * depth]
        layers: list[nn.Module] = []
        for ins, outs in pairwise(widths):
            layers += [nn.Linear(ins, outs), nn.SiLU()]
        first = layers[0]
        with torch.no_grad():
            for parameter in first.parameters():
                parameter.mul_(sharpness)
        self.net = nn.Sequential(*layers, nn.Linear(hidden, moving or width))
        self.free = nn.Linear(action_width, moving or width, bias=False)
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, latents: Tensor, cond: Tensor) -> Tensor:
        """Next latents [..., D] of latents [..., D] and actions [..., A]."""
        change = self.free(cond) + self.net(torch.cat([self.scale(latents), cond], -1))
        return latents + self.scale.std * F.pad(change, (0, latents.shape[-1] - change.shape[-1]))
