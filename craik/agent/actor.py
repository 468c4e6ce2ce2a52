"""The actor: proposes actions at once, improves them by planning, and teaches itself what planning found.

Source: LeCun 2022, section 3.1 (Mode-1, Mode-2, and amortized inference from one to the other).
"""

import time
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from craik.agent.configurator import Configuration
from craik.agent.memory import Ring
from craik.core.world import WorldModel
from craik.errors import UsageError
from craik.nn.policy import ReactivePolicy
from craik.plan import Bounds, Box, Objective, Plan, Situation, evaluator


class Lesson(NamedTuple):
    """What planning decided, along the first axis."""

    state: Tensor
    """Latents [B, D]."""
    goal: Tensor
    """Latents [B, D]."""
    to_go: Tensor
    """Steps to the goal as far as was known, [B]."""
    action: Tensor
    """First choice of the plan, [B, A]."""


class Proposal(NamedTuple):
    """What the policy would do, and what the model says comes of it."""

    actions: Tensor
    """Chosen, [B, H, A]."""
    imagined: Tensor
    """[B, H, D]."""


@dataclass(slots=True, eq=False)
class Actor:
    """Proposes and optimizes, for B problems side by side.

    Attributes:
        bounds: Actions of the environment, not of blocks.
        policy: Reacts; see `policy_for`. None plans always.
        rng: CPU generator; decides all noise.
        lessons: What planning decided, the policy's school.
        taught: Lessons that had been written when the policy was last taught; 0 before.
    """

    bounds: Bounds
    policy: ReactivePolicy | None
    rng: torch.Generator
    lessons: Ring[Lesson] = field(default_factory=lambda: Ring[Lesson](50_000))
    taught: int = field(default=0, init=False)
    _carry: Tensor | None = field(default=None, init=False)
    _plan: Tensor | None = field(default=None, init=False)
    _age: Tensor | None = field(default=None, init=False)
    _optimizer: torch.optim.Optimizer | None = field(default=None, init=False)

    @torch.no_grad()
    def propose(
        self,
        model: WorldModel,
        situation: Situation,
        goal: Tensor,
        to_go: Tensor,
        horizon: int,
        configuration: Configuration,
    ) -> Proposal:
        """Let the policy act `horizon` steps in imagination, towards goal latents [B, D] `to_go` [B] steps away."""
        if self.policy is None:
            raise ValueError("this actor has no policy: it can only plan")
        latents, past, done = situation.latents, situation.past, []
        bounds = configuration.bounds.to(latents)
        for step in range(horizon):
            done.append(bounds.nearest(self.policy(latents[:, -1], goal, (to_go - step).clamp(min=1))))
            whole = configuration.whole(done[-1]).unsqueeze(1)
            came = model.rollout(latents, past, whole)
            latents, past = torch.cat([latents, came], 1), torch.cat([past, whole], 1)
        return Proposal(torch.stack(done, 1), latents[:, -horizon:])

    def optimize(
        self,
        model: WorldModel,
        situation: Situation,
        objective: Objective,
        configuration: Configuration,
        rows: Tensor,
        proposed: Tensor | None = None,
    ) -> Plan:
        """Plan for some of the problems, from where their last search ended, and from what the policy proposes.

        Args:
            model: Imagines.
            situation: Of these R problems alone.
            objective: What is wanted, for these R problems.
            configuration: Solver, bounds, horizon and budget.
            rows: Which problems these are, bool [B] with R of them true.
            proposed: Actions of the policy, [R, H, A].
        """
        task, bounds = configuration.task, configuration.bounds
        deadline = None if task.seconds is None else time.perf_counter() + task.seconds
        neutral = bounds.neutral().to(situation.latents)
        start = neutral.expand(len(situation.now), 1, task.horizon, -1)
        if self._carry is not None and self._age is not None:
            start = shifted(self._carry[rows], self._age[rows], neutral)
        if proposed is not None:
            start = torch.cat([start, proposed.unsqueeze(1)], 1)
        evaluate = evaluator(configuration.imagining(model), situation, objective)
        plan = configuration.solver(evaluate, bounds, start, self.rng, deadline)
        self._keep(plan, rows, neutral)
        return plan

    def check(self, bounds: Bounds) -> None:
        """Whether the policy chooses among these actions for a step of the model.

        Raises:
            UsageError: If it does not.
        """
        if self.policy is not None and self.policy.center.numel() != bounds.size:
            raise UsageError(
                f"the policy chooses {self.policy.center.numel()} numbers for a step of the model and the task wants "
                f"{bounds.size}: policy_for(..., block=) wants the block of the task, or 1 where actions are held"
            )

    def holds(self, num_steps: int) -> Tensor | None:
        """Which problems have a plan whose first `num_steps` steps are not all taken, bool [B]; None without plans."""
        return None if self._age is None else self._age < num_steps

    def planned(self) -> Tensor:
        """The choice that is due of each plan, [B, A]."""
        assert self._plan is not None and self._age is not None
        at = self._age.clamp(max=self._plan.shape[1] - 1)
        return self._plan[torch.arange(len(at), device=at.device), at]

    def stepped(self, left: Tensor) -> None:
        """A step was taken; who left its plan for something else, bool [B], begins the next search from nothing."""
        if self._plan is not None and self._age is not None:
            self._age = torch.where(left, self._plan.shape[1], self._age + 1)

    def forget_plans(self) -> None:
        """All searches begin from nothing."""
        self._carry = self._plan = self._age = None

    def _keep(self, plan: Plan, rows: Tensor, neutral: Tensor) -> None:
        """Keep the plans of some problems beside those of the others."""
        shape = (len(rows), *plan.carry.shape[1:])
        if self._age is None or self._plan is None:
            self._plan = neutral.expand(len(rows), *plan.actions.shape[1:]).clone()
            self._age = torch.full((len(rows),), shape[2], device=rows.device)
        if self._carry is None or self._carry.shape != shape:
            self._carry = neutral.expand(shape).clone()
        self._plan[rows], self._carry[rows] = plan.actions.to(self._plan), plan.carry.to(self._carry)
        self._age[rows] = 0

    def distill(self, num_steps: int = 300, batch: int = 256, lr: float = 1e-3) -> float:
        """Teach the policy what planning decided, by mean squared error; the mean of the last tenth of the losses.

        Raises:
            UsageError: If there is no policy, or no lesson.
        """
        if self.policy is None:
            raise UsageError("this actor has no policy to teach: give it one, see craik.agent.policy_for")
        lessons = self.lessons.rows()
        wanted = (lessons.action - self.policy.center) / self.policy.reach
        if self._optimizer is None:
            self._optimizer = torch.optim.AdamW(self.policy.parameters(), lr)
        losses = []
        for step in range(num_steps):
            for group in self._optimizer.param_groups:
                group["lr"] = lr * (1 - step / num_steps)
            some = torch.randint(len(wanted), (batch,), generator=self.rng).to(wanted.device)
            pred = self.policy.relative(lessons.state[some], lessons.goal[some], lessons.to_go[some])
            loss = F.mse_loss(pred, wanted[some])
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            losses.append(float(loss.detach()))
        self.taught = self.lessons.written
        last = losses[-max(1, num_steps // 10) :]
        return sum(last) / len(last)


def shifted(carry: Tensor, by: Tensor, neutral: Tensor) -> Tensor:
    """Candidates [R, K, H, A] without their first `by` [R] steps; neutral actions [A] follow."""
    at = torch.arange(carry.shape[2], device=by.device) + by[:, None]
    left = (at < carry.shape[2])[:, None, :, None]
    kept = carry.gather(2, at.clamp(max=carry.shape[2] - 1)[:, None, :, None].expand_as(carry))
    return torch.where(left, kept, neutral)


def policy_for(
    latents: Tensor, bounds: Bounds, rng: torch.Generator, block: int = 1, hidden: int = 256, depth: int = 2
) -> ReactivePolicy:
    """A policy for the actions of a world, not yet taught.

    Args:
        latents: A sample [M, D] that sets the scale of its input.
        bounds: Actions of the environment.
        rng: CPU generator; decides the first weights.
        block: Actions of the environment that it chooses for one step of the model; 1 where they are held.
        hidden: Width of the hidden layers.
        depth: Hidden layers.
    """
    wide = bounds.block(block)
    center = wide.center if isinstance(wide, Box) else torch.zeros(wide.size)
    half = wide.half if isinstance(wide, Box) else torch.ones(wide.size)
    return ReactivePolicy(latents, center.to(latents.device), half.to(latents.device), rng, hidden, depth)
