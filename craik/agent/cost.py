"""Cost: what the agent minds. An intrinsic part that nothing can change, and a critic that learns.

    C = sum_i u_i IC_i + sum_j v_j TC_j

Guard rails are intrinsic. The goal of a task adds a distance to them, and the critic, which foresees what is beyond the
horizon.

Source: LeCun 2022, section 3.2.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from craik.errors import UsageError
from craik.plan import CriticCost, LatentDistance, Objective, Term
from craik.plan.costs import Critic
from craik.plan.objective import Cost, OverTime

GOAL, CRITIC = "goal", "critic"


class IntrinsicCost:
    """Named guard rails with their least weights, fixed for life.

    The terms are copied, so that no one outside holds what is inside; modules in them, such as the probe behind a
    read-out, stop learning; names, terms and weights can be read and not be set. This guards against mistakes, training
    and tasks, not against who rewrites private attributes. A plain function cannot be copied: what it refers to stays
    in the hands of who wrote it. A cost has to judge any rows of a batch alike.
    """

    __slots__ = ("_terms",)
    _terms: Mapping[str, Term]

    def __init__(self, terms: Mapping[str, Term] | None = None) -> None:
        terms = dict(terms or {})
        for name, term in terms.items():
            if name in (GOAL, CRITIC):
                raise UsageError(f"an intrinsic cost cannot be called {name!r}: that is what the task adds")
            if not 0 < term.weight < float("inf"):
                raise UsageError(f"the intrinsic cost {name!r} wants a positive weight; got {term.weight}")
        inside = copy.deepcopy(terms)
        for module in _modules(inside):
            module.eval().requires_grad_(False)
        object.__setattr__(self, "_terms", MappingProxyType(inside))

    @property
    def terms(self) -> Mapping[str, Term]:
        """Copies of the terms by name."""
        return copy.deepcopy(dict(self._terms))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("the intrinsic cost is immutable: build another agent to change what it minds by nature")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("the intrinsic cost is immutable: build another agent to change what it minds by nature")

    def weighted(self, weights: Mapping[str, float]) -> dict[str, Term]:
        """The terms with weights raised by a task.

        Raises:
            UsageError: If a weight would be lowered.
        """
        for name in self._terms.keys() & weights.keys():
            if not weights[name] >= self._terms[name].weight:
                raise UsageError(
                    f"the intrinsic cost {name!r} weighs {self._terms[name].weight:g} at least; the task asks for "
                    f"{weights[name]:g}: a task may raise it, never lower it"
                )
        return {name: Term(term.cost, weights.get(name, term.weight)) for name, term in self._terms.items()}

    def names(self) -> tuple[str, ...]:
        """Names of the terms."""
        return tuple(self._terms)


class Wanted(NamedTuple):
    """What a task makes of the cost, for the rows of a batch."""

    whole: Objective
    """Guard rails, goal and critic, over imagined futures."""
    remaining: Objective
    """Goal and critic alone: how much is left."""
    intrinsic: Objective
    """Guard rails and goal, without what was learned: what memory keeps."""


class CostModule:
    """Guard rails by nature, and a critic that can be trained anew.

    Args:
        intrinsic: Guard rails, fixed for life.
        scale: Squared latent distance that counts as 1: `latent_scale` of some data.
        critic: Steps between two latents; None while there is none. Set it to another at any time.
        steps: What counts as 1 for the critic [steps].
    """

    def __init__(
        self, intrinsic: IntrinsicCost, scale: float, critic: Critic | None = None, steps: float = 10.0
    ) -> None:
        self._intrinsic = intrinsic
        self.scale = scale
        self.critic = critic
        self.steps = steps

    @property
    def intrinsic(self) -> IntrinsicCost:
        """Guard rails; without a setter."""
        return self._intrinsic

    def wanted(self, goal: Tensor | Cost, weights: Mapping[str, float], over: OverTime) -> Wanted:
        """The objective of getting to goal latents [B, D], or of a cost in place of them."""
        rails = self.intrinsic.weighted(weights)
        away = LatentDistance(goal, self.scale, over) if isinstance(goal, Tensor) else goal
        named = {GOAL: Term(away, weights[GOAL])} if weights[GOAL] > 0 else {}
        if weights[CRITIC] > 0 and isinstance(goal, Tensor) and self.critic is not None:
            named[CRITIC] = Term(CriticCost(self.critic, goal, self.steps, over), weights[CRITIC])
        intrinsic = rails | {GOAL: Term(away, weights[GOAL] or 1.0)}
        return Wanted(Objective(rails | named), Objective(named), Objective(intrinsic))

    @torch.no_grad()
    def steps_to_go(self, state: Tensor, goal: Tensor, otherwise: float) -> Tensor:
        """Steps [B] from states [B, D] to goals [B, D], by the critic; `otherwise` without one."""
        if self.critic is None:
            return state.new_full((len(state),), otherwise)
        return self.critic(state, goal)


def at(objective: Callable[[Tensor, Tensor], Tensor], state: Tensor, actions: Tensor) -> Tensor:
    """Cost [B] of being at states [B, D] and doing actions [B, A] there."""
    return objective(state[:, None, None], actions[:, None, None])[:, 0]


def _modules(thing: object) -> Iterator[nn.Module]:
    """Modules in a tree of mappings and dataclasses."""
    if isinstance(thing, nn.Module):
        yield thing
    elif isinstance(thing, Mapping):
        for value in thing.values():
            yield from _modules(value)
    elif hasattr(thing, "__dataclass_fields__"):
        for name in thing.__dataclass_fields__:
            yield from _modules(getattr(thing, name))
