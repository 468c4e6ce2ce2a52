"""Steps between two latents as a metric: nothing from a latent to itself, and no way is longer than its parts."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from craik.nn.standard import FeatureScale


class LatentMetric(nn.Module):
    """Steps between latents, the same both ways: how far apart a network lays them.

    The network gives G groups of features. The distance in a group is the greatest difference of a feature, and the
    metric a blend of the greatest and the mean of the groups. Whatever the weights it is symmetric, and the triangle
    inequality holds; and with features enough it can be any such distance, around walls and all, which the Euclidean
    distance of features cannot.

    Args:
        width: Features of a latent D.
        unit: What counts as 1 in the features [steps].
        hidden: Width of the hidden layers.
        depth: Hidden layers.
        groups: G.
        group: Features of a group.
        sharpness: Multiplies the first weights, as in `ResidualPredictor`: walls are thin.

    Sources: Wang et al. 2023 (arXiv 2304.01203: steps as a quasimetric); Wang and Isola 2022 (arXiv 2211.15120: blend
    of maximum and mean). Difference: symmetric, by the maximum norm, in which every finite metric can be embedded
    (Frechet 1910), in place of interval lengths, for which features have to be sorted.
    """

    def __init__(
        self,
        width: int,
        unit: float = 4.0,
        hidden: int = 256,
        depth: int = 3,
        groups: int = 16,
        group: int = 16,
        sharpness: float = 2.0,
    ) -> None:
        super().__init__()
        self.scale = FeatureScale(width)
        widths = [width, *[hidden] * depth]
        layers: list[nn.Module] = []
        for ins, outs in pairwise(widths):
            layers += [nn.Linear(ins, outs), nn.SiLU()]
        with torch.no_grad():
            for parameter in layers[0].parameters():
                parameter.mul_(sharpness)
        self.net = nn.Sequential(*layers, nn.Linear(hidden, groups * group), nn.Unflatten(-1, (groups, group)))
        self.blend = nn.Parameter(torch.zeros(()))
        self.unit = unit

    def forward(self, latents: Tensor, goals: Tensor) -> Tensor:
        """Steps [...] from latents [..., D] to goals [..., D], whose leading axes may broadcast."""
        return self.between(self.lay(latents), self.lay(goals))

    def lay(self, latents: Tensor) -> Tensor:
        """Where latents [..., D] lie: features [..., G, F]."""
        features: Tensor = self.net(self.scale(latents))
        return features

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """Steps [...] between features [..., G, F]."""
        apart = (a - b).abs().amax(-1)
        share = self.blend.sigmoid()
        return self.unit * (share * apart.amax(-1) + (1 - share) * apart.mean(-1))
