"""Gradient planning: descend the cost through the model, from several starts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan.bounds import Bounds, Box, continuous
from craik.plan.noise import colored_noise
from craik.plan.solver import Evaluate, Plan, Search


class Adam:
    """Adam on one tensor, in place. torch's own spends longer on its bookkeeping than on a plan of this size."""

    def __init__(self, x: Tensor, lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.x, self.lr, self.betas = x, lr, betas
        self.first, self.second = torch.zeros_like(x), torch.zeros_like(x)
        self.num_steps = 0

    @torch.no_grad()
    def step(self, grad: Tensor) -> None:
        """One step down the gradient."""
        self.num_steps += 1
        self.first.lerp_(grad, 1 - self.betas[0])
        self.second.lerp_(grad.square(), 1 - self.betas[1])
        mean = self.first / (1 - self.betas[0] ** self.num_steps)
        square = self.second / (1 - self.betas[1] ** self.num_steps)
        self.x -= self.lr * mean / (square.sqrt() + 1e-8)


@dataclass(frozen=True, slots=True)
class Gradient:
    """Adam on the actions, projected onto the bounds after each step, with restarts side by side.

    Cheap where the cost is smooth; it stops in the first valley, so that a wall between start and goal defeats it
    (plain gradient planning fails in navigation: arXiv 2512.24497).

    Attributes:
        num_restarts: Starts per problem S; start 0 is the mean, the rest are spread around it.
        num_iterations: Adam steps at most, each one evaluation.
        lr: Step size [half-ranges of the bounds].
        spread: Standard deviation of the starts [half-ranges].
        beta: Exponent of the spectrum of the starts over time; 0 is white.
        noise: Standard deviation of the noise added at each step [half-ranges] (DINO-WM: 0.003).

    Source: Kingma and Ba 2015 for Adam; restarts and step size as in stable-worldmodel (arXiv 2605.21800).
    """

    num_restarts: int = 16
    num_iterations: int = 30
    lr: float = 0.1
    spread: float = 0.5
    beta: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.num_restarts < 1 or self.lr <= 0:
            raise UsageError(f"Gradient wants num_restarts >= 1 and lr > 0; got {self.num_restarts} and {self.lr}")

    def __call__(
        self, evaluate: Evaluate, bounds: Bounds, start: Tensor, rng: torch.Generator, deadline: float | None = None
    ) -> Plan:
        """See `craik.plan.solver.Solver`. Carries the best plan.

        Raises:
            ValueError: If the cost is not differentiable in the actions.
        """
        box = continuous(bounds, "Gradient").to(start)
        search = Search(evaluate, start, box, deadline)
        with torch.enable_grad():
            # In half-ranges, so that one step size suits dimensions of any unit.
            unit = (self.starts(search, box, rng) / box.half).detach().requires_grad_()
            adam = Adam(unit, self.lr)
            for _ in search.iterations(self.num_iterations):
                cost = search(unit * box.half)
                if not cost.requires_grad:
                    raise ValueError(
                        "Gradient needs a cost that is differentiable in the actions, and this one is cut off from "
                        "them; remove no_grad and rounding from model and costs, or use a sampling solver such as CEM"
                    )
                (grad,) = torch.autograd.grad(cost[torch.isfinite(cost)].sum(), unit)
                adam.step(torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0))
                self.settle(unit, box, rng)
        return search.plan()

    def starts(self, search: Search, box: Box, rng: torch.Generator) -> Tensor:
        """The mean, then the proposals, then noise around the mean, [B, S, H, A]."""
        noise = colored_noise((1, self.num_restarts, *search.mean.shape[1:]), self.beta, rng).to(search.mean)
        around = box.project(search.mean.unsqueeze(1) + self.spread * box.half * noise)
        return torch.cat([search.start, around], 1)[:, : self.num_restarts]

    @torch.no_grad()
    def settle(self, unit: Tensor, box: Box, rng: torch.Generator) -> None:
        """Add the step's noise and return to the bounds, in place; unit [B, S, H, A] in half-ranges."""
        if self.noise > 0:
            unit += self.noise * torch.randn(1, *unit.shape[1:], generator=rng, device=rng.device).to(unit)
        unit.copy_(box.project(unit * box.half) / box.half)
