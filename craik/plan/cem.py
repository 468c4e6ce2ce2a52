"""CEM: sample, keep the elites, sample around them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan.bounds import Bounds, Box, continuous
from craik.plan.moments import Moments, alike, blend, elites, moments
from craik.plan.noise import white_noise
from craik.plan.solver import Evaluate, Plan, Search


@dataclass(frozen=True, slots=True)
class CEM:
    """Cross-entropy method with an independent Gaussian for every step and dimension.

    The published latent world models plan with it: 300 samples and 30 elites, 10 to 30 iterations (DINO-WM, LeWM).

    Attributes:
        num_samples: Candidates per iteration S.
        num_elites: Candidates that form the next Gaussian.
        num_iterations: Iterations at most.
        spread: First standard deviation [half-ranges of the bounds]; one, or one for each number of an action.
        min_spread: Smallest standard deviation [half-ranges]; keeps the search awake where elites agree early.
        momentum: Share of the old mean in the new; one, or one for each number of an action.
        std_momentum: Share of the old deviation in the new; None takes `momentum`.
        unbiased: The deviation of n elites is over n - 1.
        includes_mean: Candidate 0 is the mean, as is; else all are drawn.
        returns_mean: Give the final mean in place of the best candidate. It is steadier where the model is wrong in
            places that a lucky candidate finds, and worse where the cost has several valleys.

    Source: Rubinstein 1999; de Boer et al. 2005, "A tutorial on the cross-entropy method".
    """

    num_samples: int = 300
    num_elites: int = 30
    num_iterations: int = 10
    spread: float | tuple[float, ...] = 1.0
    min_spread: float = 0.0
    momentum: float | tuple[float, ...] = 0.0
    std_momentum: float | tuple[float, ...] | None = None
    unbiased: bool = False
    includes_mean: bool = True
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
        gauss = Moments(search.mean, (each(self.spread, box) * box.half).expand_as(search.mean))
        keep = each(self.momentum, box)
        keep_std = keep if self.std_momentum is None else each(self.std_momentum, box)
        shape = (1, self.num_samples, *search.mean.shape[1:])
        tried = search.start[:, 0 if self.includes_mean else 1 :]
        with torch.no_grad():
            for _ in search.iterations(self.num_iterations):
                noise = white_noise(shape, rng).to(start)
                actions = gauss.mean.unsqueeze(1) + gauss.std.unsqueeze(1) * noise
                actions = box.project(torch.cat([tried, actions], 1)[:, : self.num_samples])
                best, cost = elites(actions, search(actions), self.num_elites)
                found = moments(best, alike(cost), otherwise=gauss, unbiased=self.unbiased)
                gauss = blend(gauss, found, keep, keep_std)
                gauss = gauss._replace(std=torch.maximum(gauss.std, self.min_spread * box.half))
                tried = gauss.mean.unsqueeze(1)[:, : int(self.includes_mean)]
            carry = torch.cat([gauss.mean.unsqueeze(1), best], 1)
            return search.plan_of_mean(gauss.mean, carry) if self.returns_mean else search.plan(carry)


def each(setting: float | tuple[float, ...], box: Box) -> Tensor:
    """A setting for each number of an action, [A] or a scalar; of a block, the same for every action inside.

    Raises:
        UsageError: If there is another number of them.
    """
    numbers = torch.as_tensor(setting, dtype=box.low.dtype, device=box.low.device)
    if numbers.ndim and len(numbers) * box.num_inside != box.size:
        raise UsageError(
            f"CEM was given {len(numbers)} settings for actions of {box.size // box.num_inside} numbers: give one for "
            "each, or one for all"
        )
    return numbers.repeat(box.num_inside) if numbers.ndim else numbers
