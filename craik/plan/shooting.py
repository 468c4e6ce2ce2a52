"""Random shooting: the baseline that every other solver must beat."""

from dataclasses import dataclass

import torch
from torch import Tensor

from craik.plan.bounds import Bounds
from craik.plan.solver import Evaluate, Plan, Search


@dataclass(frozen=True, slots=True)
class RandomShooting:
    """Draw action sequences uniformly, keep the best. Real or discrete actions.

    Attributes:
        num_samples: Candidates per iteration S; candidate 0 of the first iteration is the mean, for discrete actions
            its most probable choices.
        num_iterations: Iterations at most; raise it to fill a wall-clock budget.
    """

    num_samples: int = 1000
    num_iterations: int = 1

    def __call__(
        self, evaluate: Evaluate, bounds: Bounds, start: Tensor, rng: torch.Generator, deadline: float | None = None
    ) -> Plan:
        """See `craik.plan.solver.Solver`. Carries the best plan."""
        bounds = bounds.to(start)
        search = Search(evaluate, start, bounds, deadline)
        tried = bounds.nearest(search.start)
        with torch.no_grad():
            for _ in search.iterations(self.num_iterations):
                drawn = bounds.uniform((1, self.num_samples, start.shape[-2]), rng).to(start)
                actions = torch.cat([tried, drawn.expand(len(start), -1, -1, -1)], 1)[:, : self.num_samples]
                search(actions)
                tried = tried[:, :0]
        return search.plan()
