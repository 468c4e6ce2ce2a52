"""What all solvers are: one signature, and one way to keep the best, to survive NaN, and to stop in time.

    solver(evaluate, bounds, start, rng, deadline) -> Plan

Letters: B problems side by side, S candidates for each, H horizon, A width of an action.

Every solver keeps its statistics per problem, and draws one set of noise for all problems: a plan depends on the
problem, the start and the seed, not on which other problems share the batch.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from craik.plan.bounds import Bounds

Evaluate = Callable[[Tensor], Tensor]
"""Cost [B, S] of candidate actions [B, S, H, A]; differentiable where a gradient solver is to work."""


class Plan(NamedTuple):
    """What a solver found."""

    actions: Tensor
    """Best actions, [B, H, A]."""
    cost: Tensor
    """Their cost, [B]; infinite where no candidate had a finite one."""
    trace: Tensor
    """Best cost so far after each evaluation, [E, B]."""
    carry: Tensor
    """Where a next search may start, [B, K, H, A]: the mean, then K - 1 candidates worth another look."""
    evaluations: int
    """Candidates evaluated for each problem."""
    seconds: float
    """Wall-clock time of the search [s]."""


class Solver(Protocol):
    """Looks for actions of low cost."""

    def __call__(
        self, evaluate: Evaluate, bounds: Bounds, start: Tensor, rng: torch.Generator, deadline: float | None = None
    ) -> Plan:
        """The best plan within the solver's own limits and before the deadline.

        Args:
            evaluate: Maps candidates [B, S, H, A] to costs [B, S]. NaN and infinite costs are never chosen.
            bounds: What actions are allowed, for one model step.
            start: Mean to start from, [B, H, A]; or [B, K, H, A]: the mean, then candidates to try at once, be they
                the elites of the last step or the proposals of a policy. The mean is candidate 0.
            rng: Decides all noise; advancing it is the only side effect. May live on another device.
            deadline: Moment on `time.perf_counter()` [s] by which to return. No iteration is begun that would,
                going by the longest so far, end later; the first always runs.

        Raises:
            UsageError: If the solver cannot work with these bounds.
        """


class Search:
    """The memory of one call of a solver: the best so far, the trace, the clock.

    for _ in search.iterations(10):
        cost = search(candidates)
    return search.plan(carry)
    """

    def __init__(self, evaluate: Evaluate, start: Tensor, bounds: Bounds, deadline: float | None) -> None:
        self.began = time.perf_counter()
        self.evaluate = evaluate
        self.deadline = deadline
        if start.ndim not in (3, 4) or start.shape[-1] != bounds.size:
            raise ValueError(
                f"start must be [B, H, A] or [B, K, H, A] with A = {bounds.size}, the size of the bounds; "
                f"got {list(start.shape)}"
            )
        self.start = bounds.project(start if start.ndim == 4 else start.unsqueeze(1))  # [B, K, H, A]
        self.actions = bounds.nearest(self.start[:, 0])
        self.cost = start.new_full((len(start),), math.inf)
        self.trace: list[Tensor] = []
        self.evaluations = 0

    @property
    def mean(self) -> Tensor:
        """Mean to start from, [B, H, A]."""
        return self.start[:, 0]

    @property
    def proposals(self) -> Tensor:
        """Further candidates to try at once, [B, K - 1, H, A]."""
        return self.start[:, 1:]

    def iterations(self, num: int) -> Iterator[int]:
        """Count up to `num`, or as far as the deadline lets; at least one."""
        longest, before = 0.0, time.perf_counter()
        for iteration in range(num):
            yield iteration
            if self.deadline is not None:
                self.wait()
                now = time.perf_counter()
                longest, before = max(longest, now - before), now
                if now + longest > self.deadline:
                    return

    def wait(self) -> None:
        """Let an accelerator finish what it was given, so that the clock speaks of work done."""
        float(self.cost[0])

    def __call__(self, actions: Tensor) -> Tensor:
        """Cost [B, S] of candidates [B, S, H, A], infinite where it is not finite; the best is remembered."""
        cost = self.evaluate(actions)
        if cost.shape != actions.shape[:2]:
            raise ValueError(f"evaluate must give costs [B, S] = {list(actions.shape[:2])}; got {list(cost.shape)}")
        cost = torch.where(torch.isfinite(cost), cost, math.inf)
        self.evaluations += actions.shape[1]
        self.remember(actions.detach(), cost.detach().to(self.cost))
        return cost

    def remember(self, actions: Tensor, cost: Tensor) -> None:
        """Keep the best candidate of each problem if it beats the best so far."""
        lowest, index = cost.min(1)
        better = lowest < self.cost
        self.cost = torch.where(better, lowest, self.cost)
        winners = actions[torch.arange(len(actions), device=actions.device), index]
        self.actions = torch.where(better[:, None, None], winners, self.actions)
        self.trace.append(self.cost)

    def plan(self, carry: Tensor | None = None) -> Plan:
        """The best that was evaluated. `carry` [B, K, H, A] is the best itself when None."""
        return self.result(self.actions, self.cost, carry)

    def plan_of_mean(self, mean: Tensor, carry: Tensor) -> Plan:
        """The mean [B, H, A] at its own cost, whatever else was seen; the best where that cost is infinite."""
        cost = self(mean.unsqueeze(1))[:, 0].detach().to(self.cost)
        usable = torch.isfinite(cost)
        actions = torch.where(usable[:, None, None], mean, self.actions)
        return self.result(actions, torch.where(usable, cost, self.cost), carry)

    def result(self, actions: Tensor, cost: Tensor, carry: Tensor | None) -> Plan:
        """A plan of these actions, with the trace and the time so far."""
        self.wait()
        seconds = time.perf_counter() - self.began
        carry = actions.unsqueeze(1) if carry is None else carry
        return Plan(actions, cost, torch.stack(self.trace), carry, self.evaluations, seconds)
