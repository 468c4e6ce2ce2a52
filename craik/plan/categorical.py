"""CEM for discrete actions: a table of probabilities in place of a Gaussian."""

from dataclasses import dataclass

import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan.bounds import Bounds, Discrete
from craik.plan.moments import Moments, alike, elites, moments
from craik.plan.solver import Evaluate, Plan, Search


@dataclass(frozen=True, slots=True)
class CategoricalCEM:
    """Cross-entropy method with an independent distribution over the choices of every step.

    Attributes:
        num_samples: Candidates per iteration S; candidate 0 takes the most probable choices.
        num_elites: Candidates that form the next probabilities.
        num_iterations: Iterations at most.
        momentum: Share of the old probabilities in the new.
        explore: Share of the uniform distribution in what is sampled, so that no choice dies out.

    Source: de Boer et al. 2005, "A tutorial on the cross-entropy method", section 4.
    """

    num_samples: int = 300
    num_elites: int = 30
    num_iterations: int = 10
    momentum: float = 0.1
    explore: float = 0.02

    def __post_init__(self) -> None:
        if not 2 <= self.num_elites <= self.num_samples:
            raise UsageError(
                f"CategoricalCEM wants 2 <= num_elites <= num_samples; got {self.num_elites} elites of "
                f"{self.num_samples} samples"
            )

    def __call__(
        self, evaluate: Evaluate, bounds: Bounds, start: Tensor, rng: torch.Generator, deadline: float | None = None
    ) -> Plan:
        """See `craik.plan.solver.Solver`. Carries the probabilities and the elites.

        Raises:
            UsageError: If the actions are not discrete.
        """
        if not isinstance(bounds, Discrete):
            raise UsageError("CategoricalCEM plans with discrete choices, and here are real actions: use CEM or ICEM")
        search = Search(evaluate, start, bounds, deadline)
        table = search.mean  # [B, H, A]
        tried = bounds.nearest(search.start)
        with torch.no_grad():
            for _ in search.iterations(self.num_iterations):
                drawn = self.sample(table, bounds, rng)
                actions = torch.cat([tried, drawn], 1)[:, : self.num_samples]
                best, cost = elites(actions, search(actions), self.num_elites)
                chosen = moments(best, alike(cost), otherwise=Moments(table, table)).mean
                table = chosen.lerp(table, self.momentum)
                tried = bounds.nearest(table).unsqueeze(1)
            return search.plan(torch.cat([table.unsqueeze(1), best], 1))

    def sample(self, table: Tensor, bounds: Discrete, rng: torch.Generator) -> Tensor:
        """Candidates [B, S, H, A], one-hot, from probabilities [B, H, A], by the Gumbel-max trick."""
        shape = (1, self.num_samples, *table.shape[1:])
        uniform = torch.rand(shape, generator=rng, device=rng.device).to(table)
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-10, 1 - 1e-7)))
        log_prob = torch.log((1 - self.explore) * table + self.explore / bounds.num)
        return bounds.nearest(log_prob.unsqueeze(1) + gumbel).to(table)
