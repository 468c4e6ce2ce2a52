"""MPPI: the mean of all candidates, each weighted by how good it is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan.bounds import Bounds, continuous
from craik.plan.moments import Moments, moments
from craik.plan.noise import colored_noise
from craik.plan.solver import Evaluate, Plan, Search


@dataclass(frozen=True, slots=True)
class MPPI:
    """Model predictive path integral control, iterated.

    Convention of the temperature, for published code disagrees on it: it *divides* the cost gap, and the gap is first
    divided by the median gap of the problem's candidates. At temperature t the median candidate weighs exp(-1 / t) of
    the best: 0.1 follows the best few, 10 weighs nearly all alike. So one setting serves costs of any scale and offset,
    and a few candidates of huge cost change nothing. To follow code that multiplies the raw gap by lambda, think of
    t = 1 / (lambda x median gap).

    Attributes:
        num_samples: Candidates per iteration S; candidate 0 is the mean.
        num_iterations: Iterations at most; 1 is the original algorithm.
        temperature: Divides the cost gap [median gaps].
        spread: First standard deviation [half-ranges of the bounds].
        min_spread: Smallest standard deviation [half-ranges]; equal to `spread`, the deviation stays as it is.
        beta: Exponent of the noise spectrum over time; 0 is white.
        returns_mean: Give the final mean, as the method has it; False gives the best candidate seen.

    Source: Williams et al. 2017, "Information theoretic MPC for model-based reinforcement learning"; iterations and
    adapted deviation as in TD-MPC (Hansen et al. 2022, arXiv 2203.04955, section 3).
    """

    num_samples: int = 300
    num_iterations: int = 6
    temperature: float = 0.1
    spread: float = 0.5
    min_spread: float = 0.05
    beta: float = 0.0
    returns_mean: bool = True

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise UsageError(f"MPPI wants a temperature above 0; got {self.temperature}; 0.1 follows the best few")

    def __call__(
        self, evaluate: Evaluate, bounds: Bounds, start: Tensor, rng: torch.Generator, deadline: float | None = None
    ) -> Plan:
        """See `craik.plan.solver.Solver`. Carries the mean."""
        box = continuous(bounds, "MPPI").to(start)
        search = Search(evaluate, start, box, deadline)
        gauss = Moments(search.mean, (self.spread * box.half).expand_as(search.mean))
        shape = (1, self.num_samples, *search.mean.shape[1:])
        tried = search.proposals
        with torch.no_grad():
            for _ in search.iterations(self.num_iterations):
                noise = colored_noise(shape, self.beta, rng).to(start)
                actions = gauss.mean.unsqueeze(1) + gauss.std.unsqueeze(1) * noise
                actions = box.project(torch.cat([gauss.mean.unsqueeze(1), tried, actions], 1)[:, : self.num_samples])
                gauss = moments(actions, self.weights(search(actions)), otherwise=gauss)
                std = torch.minimum(gauss.std, self.spread * box.half)
                gauss = gauss._replace(std=torch.maximum(std, self.min_spread * box.half))
                tried = tried[:, :0]
            carry = gauss.mean.unsqueeze(1)
            return search.plan_of_mean(gauss.mean, carry) if self.returns_mean else search.plan(carry)

    def weights(self, cost: Tensor) -> Tensor:
        """Weights [B, S] in [0, 1] of costs [B, S], 1 for the best; 0 for infinite costs."""
        finite = torch.isfinite(cost)
        lowest = torch.where(finite, cost, torch.inf).amin(1, keepdim=True)
        gap = torch.where(finite, cost - lowest, torch.nan)  # [B, S]
        scale = gap.nanmedian(1, keepdim=True).values.clamp(min=1e-12)
        return torch.nan_to_num(torch.exp(-gap / (self.temperature * scale)), nan=0.0)
