"""iCEM: the cross-entropy method made sample-efficient for control."""

from dataclasses import dataclass

import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan.bounds import Bounds, Box, continuous
from craik.plan.moments import Moments, alike, blend, elites, moments
from craik.plan.noise import colored_noise
from craik.plan.solver import Evaluate, Plan, Search


@dataclass(frozen=True, slots=True)
class ICEM:
    """CEM with colored noise, memory of elites, a shrinking population and momentum.

    Elites are kept between iterations, and between steps through `Plan.carry`, from which the next search starts.
    The defaults spend about 670 candidates; the paper's settings spend 100 to 4000.

    Attributes:
        num_samples: Candidates of the first iteration.
        num_elites: Candidates that form the next Gaussian (paper: 10).
        num_iterations: Iterations at most.
        beta: Exponent of the noise spectrum over time; 0 white, 2 a random walk (paper: 0.25 to 4 by task).
        decay: Each iteration has fewer samples by this factor, never below twice the elites (paper: 1.25).
        keep_fraction: Share of the elites that join the next samples (paper: 0.3).
        momentum: Share of the old mean and deviation in the new (paper: 0.1).
        spread: First standard deviation [half-ranges of the bounds] (paper: 0.5).
        returns_mean: Give the final mean in place of the best candidate.

    Source: Pinneri et al. 2020 (arXiv 2008.06389), algorithm 1 and table S1. Differences: the mean is a candidate in
    every iteration, not in the last alone.
    """

    num_samples: int = 200
    num_elites: int = 10
    num_iterations: int = 5
    beta: float = 2.0
    decay: float = 1.25
    keep_fraction: float = 0.3
    momentum: float = 0.1
    spread: float = 0.5
    returns_mean: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.num_elites <= self.num_samples // 2:
            raise UsageError(
                f"ICEM wants 2 <= num_elites <= num_samples / 2; got {self.num_elites} elites of "
                f"{self.num_samples} samples"
            )

    def __call__(
        self, evaluate: Evaluate, bounds: Bounds, start: Tensor, rng: torch.Generator, deadline: float | None = None
    ) -> Plan:
        """See `craik.plan.solver.Solver`. Carries the mean and the elites it keeps."""
        box = continuous(bounds, "ICEM").to(start)
        search = Search(evaluate, start, box, deadline)
        gauss = Moments(search.mean, (self.spread * box.half).expand_as(search.mean))
        num_kept = max(1, round(self.keep_fraction * self.num_elites))
        kept = search.proposals
        with torch.no_grad():
            for iteration in search.iterations(self.num_iterations):
                actions = torch.cat([gauss.mean.unsqueeze(1), kept, self.sample(gauss, box, iteration, rng)], 1)
                best, cost = elites(actions, search(actions), self.num_elites)
                gauss = blend(gauss, moments(best, alike(cost), otherwise=gauss), self.momentum)
                kept = best[:, :num_kept]
            carry = torch.cat([gauss.mean.unsqueeze(1), kept], 1)
            return search.plan_of_mean(gauss.mean, carry) if self.returns_mean else search.plan(carry)

    def sample(self, gauss: Moments, box: Box, iteration: int, rng: torch.Generator) -> Tensor:
        """The candidates of an iteration beside the mean and the kept ones, [B, S, H, A]."""
        num = max(int(self.num_samples / self.decay**iteration), 2 * self.num_elites)
        noise = colored_noise((1, num, *gauss.mean.shape[1:]), self.beta, rng).to(gauss.mean)
        return box.project(gauss.mean.unsqueeze(1) + gauss.std.unsqueeze(1) * noise)
