"""Objectives: weighted sums of named costs over imagined futures.

A cost judges latents [B, S, H, D] that follow from actions [B, S, H, A] as [B, S]. Any callable will do. Those of
`craik.plan.costs` come divided by a scale of their own, so that about 1 means "as bad as not trying": weights then
compare, whatever the unit of a latent is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Cost = Callable[[Tensor, Tensor], Tensor]
"""Cost [B, S] of imagined latents [B, S, H, D] and the actions [B, S, H, A] that lead there."""


@dataclass(frozen=True, slots=True)
class Term:
    """A cost and its weight in the sum."""

    cost: Cost
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Objective:
    """Weighted sum of named costs; itself a cost."""

    named: Mapping[str, Term]

    def __call__(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Total cost [B, S]."""
        return torch.stack(list(self.terms(latents, actions).values())).sum(0)

    def terms(self, latents: Tensor, actions: Tensor) -> dict[str, Tensor]:
        """Weighted cost [B, S] of each name; they add up to the total."""
        wanted = actions.shape[:2]
        costs = {}
        for name, term in self.named.items():
            cost = term.cost(latents, actions)
            if cost.shape != wanted:
                raise ValueError(f"the cost {name!r} must give [B, S] = {list(wanted)}; got {list(cost.shape)}")
            costs[name] = term.weight * cost
        return costs


OverTime = Callable[[Tensor], Tensor]
"""Cost [B, S] of a cost at each step [B, S, H]."""


def terminal(steps: Tensor) -> Tensor:
    """Cost at the last step alone: only where the plan ends matters.

    It leaves the way free to lead around things. Under a receding horizon it may put off arriving for ever, since the
    end of the plan recedes as well; then execute more of the plan, or take `summed`.
    """
    return steps[..., -1]


def summed(steps: Tensor) -> Tensor:
    """Cost of all steps, divided by H so that weights keep their meaning at any horizon.

    Arriving early pays, and detours cost: surer under a receding horizon, and sooner caught in a dead end.
    """
    return steps.mean(-1)


def worst_step(steps: Tensor) -> Tensor:
    """Cost of the worst step: for what must never happen."""
    return steps.amax(-1)
