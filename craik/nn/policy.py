"""The reactive policy: from where one is, where one wants to be, and how long there is, to an action at once."""

import torch
from torch import Tensor, nn

from craik.nn.standard import Standard, perceptron


class ReactivePolicy(nn.Module):
    """A(state, goal, steps to go): one pass of a small network, no search.

    What it says is meant for the bounds' `nearest`: real actions, or a score for each of the discrete choices.

    Args:
        sample: Latents [M, *shape] that set the scale of its input.
        center: Middle of the range of an action, [A]; zeros where actions are discrete.
        half: Half of the range, [A]; ones where they are discrete.
        rng: CPU generator; decides the first weights.
        hidden: Width of the hidden layers.
        depth: Hidden layers.

    Source: LeCun 2022, section 3.1.1 (Mode-1); on frozen latents: arXiv 2605.08732.
    """

    center: Tensor
    reach: Tensor

    def __init__(
        self, sample: Tensor, center: Tensor, half: Tensor, rng: torch.Generator, hidden: int = 256, depth: int = 2
    ) -> None:
        super().__init__()
        self.standard = Standard(sample)
        self.register_buffer("center", center.clone())
        self.register_buffer("reach", half.clone())
        self.net = perceptron([2 * self.standard.width + 1, *[hidden] * depth, len(center)], rng)

    def forward(self, state: Tensor, goal: Tensor, to_go: Tensor) -> Tensor:
        """Actions [..., A] from states [..., *shape] to goals [..., *shape] with `to_go` [...] steps left."""
        return self.center + self.reach * self.relative(state, goal, to_go)

    def relative(self, state: Tensor, goal: Tensor, to_go: Tensor) -> Tensor:
        """The same in half-ranges from the middle: 1 is full effort, and what training compares."""
        left = to_go.clamp(min=0).log1p().unsqueeze(-1)
        out: Tensor = self.net(torch.cat([self.standard(state), self.standard(goal), left], -1))
        return out
