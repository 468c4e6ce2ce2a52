"""CEM: sample, keep the elites, sample around them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan.bounds import Bounds, continuous
from craik.plan.moments import Moments, alike, blend, elites, moments
from craik.plan.solver import Evaluate, Plan, Search


@dataclass(frozen=True, slots=True)
class CEM:
    """Cross-entropy method with an independent Gaussian for every step and dimension.

    The published latent world models plan with it: 300 samples and 30 elites, 10 to 30 iterations (DINO-WM, LeWM).

    Attributes:
        num_samples: Candidates per iteration S; candidate 0 is the mean.
        num_elites: Candidates that form the next Gaussian.
        num_iterations: Iterations at most.
        spread: First standard deviation [half-ranges of the bounds].
        min_spread: Smallest standard deviation [half-ranges]; keeps the search awake where elites agree early.
        momentum: Share of the old mean and deviation in the new.
        returns_mean: Give the final mean in place of the best candidate. It is steadier where the model is wrong in
            places that a lucky candidate finds, and worse where the cost has several valleys.

    Source: Rubinstein 1999; de Boer et al. 2005, "A tutorial on the cross-entropy method".
    """

    num_samples: int = 300
    num_elites: int = 30
    num_iterations: int = 10
    spread: float = 1.0
    min_spread: float = 0.0
    momentum: float = 0.0
    returns_mean: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.num_elites <= self.num_samples:
            raise UsageError(
                f"CEM wants 2 <= num_elites <= num_samples; got {self.num_elites} elites of {self.num_samples} samples"
            )

    def __call__(
        self, evaluate: Evaluate, bounds: Bounds, start: Tensor, rng: torch.Generator, deadline: float | None = None
    ) -> Plan:
        """See `craik.plan.solver.Solver`. Carries the mean and its elites."""
        box = continuous(bounds, "CEM").to(start)
        search = Search(evaluate, start, box, deadline)
        gauss = Moments(search.mean, (self.spread * box.half).expand_as(search.mean))
        shape = (1, self.num_samples, *search.mean.shape[1:])
        tried = search.proposals
        with torch.no_grad():
            for _ in search.iterations(self.num_iterations):
                noise = torch.randn(shape, generator=rng, device=rng.device).to(start)
                actions = gauss.mean.unsqueeze(1) + gauss.std.unsqueeze(1) * noise
                actions = box.project(torch.cat([gauss.mean.unsqueeze(1), tried, actions], 1)[:, : self.num_samples])
                best, cost = elites(actions, search(actions), self.num_elites)
                gauss = blend(gauss, moments(best, alike(cost), otherwise=gauss), self.momentum)
                gauss = gauss._replace(std=torch.maximum(gauss.std, self.min_spread * box.half))
                tried = tried[:, :0]
            carry = torch.cat([gauss.mean.unsqueeze(1), best], 1)
            return search.plan_of_mean(gauss.mean, carry) if self.returns_mean else search.plan(carry)
