"""The critic: how many steps it takes from one latent to another, around walls and all."""

import torch
from torch import Tensor, nn

from craik.nn.standard import Standard, perceptron


class TemporalDistance(nn.Module):
    """Steps between two latents, the same both ways: a small network, averaged over both orders of its inputs.

    Args:
        sample: Latents [M, *shape] that set the scale of its input.
        rng: CPU generator; decides the first weights.
        unit: What counts as 1 at the output of the network [steps]; a usual distance.
        hidden: Width of the hidden layers.
        depth: Hidden layers.

    Source: arXiv 2608.12959; the trainable critic of LeCun 2022, section 3.4.
    """

    unit: Tensor

    def __init__(
        self, sample: Tensor, rng: torch.Generator, unit: float = 10.0, hidden: int = 256, depth: int = 2
    ) -> None:
        super().__init__()
        self.standard = Standard(sample)
        self.register_buffer("unit", torch.tensor(unit))
        self.net = perceptron([3 * self.standard.width, *[hidden] * depth, 1], rng)

    def forward(self, latents: Tensor, goals: Tensor) -> Tensor:
        """Steps [...] from latents [..., *shape] to goals [..., *shape], whose leading axes may broadcast."""
        return self.unit * self.relative(latents, goals).clamp(min=0)

    def relative(self, latents: Tensor, goals: Tensor) -> Tensor:
        """Steps over the unit, [...], what training compares; below 0 only by error."""
        a, b = torch.broadcast_tensors(self.standard(latents), self.standard(goals))
        gap = (a - b).abs()  # all that matters near by
        both: Tensor = self.net(torch.stack([torch.cat([a, b, gap], -1), torch.cat([b, a, gap], -1)]))
        return both.mean(0).squeeze(-1)
