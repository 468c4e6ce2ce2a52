"""Hierarchical planning: a slow model plans far in macro-actions, its first step is the sub-goal of the fast one.

Both levels speak of the same latents. A macro-action stands for a chunk of actions, and one step of the slow model
takes as long as the chunk. The top level does not say which actions to take, but what state they should lead to.

Source: LeCun 2022, section 4.7; HWM (arXiv 2604.03208).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan.bounds import Box
from craik.plan.horizon import Controller
from craik.plan.objective import Objective
from craik.plan.solver import Evaluate, Solver


class SlowModel(Protocol):
    """Predicts far ahead in few steps."""

    def rollout(self, latent: Tensor, macro: Tensor) -> Tensor:
        """Latents [B, S, K, D] that follow from latents [B, D] under macro-actions [B, S, K, Z]."""


Towards = Callable[[Tensor], Objective]
"""Objective of getting to goal latents [B, D]."""


class Route(NamedTuple):
    """What the top level decided."""

    subgoal: Tensor
    """First latent on the way, [B, D]."""
    depth: Tensor
    """Macro-actions planned, int64 [B]."""
    final: Tensor
    """Distance to the goal that is left at the end of the route, [B]."""


@dataclass(frozen=True, slots=True)
class Pathfinder:
    """The top level: a route of macro-actions, as short as will do.

    Attributes:
        model: The slow model.
        solver: Any of `craik.plan`.
        bounds: Macro-actions that the slow model knows; what its training produced (HWM: 2.5 standard deviations).
        towards: Objective at this level. HWM adds 0.1 x the squared macro-action, the negative log of its prior.
        distance: From latents [B, D] to goals [B, D], as [B].
        enough: A route that ends this near the goal is long enough.
        depths: Numbers of macro-actions to try, growing; a longer route is sought only where a shorter one failed.
        seconds: Wall-clock budget of a route [s], shared by the depths.
    """

    model: SlowModel
    solver: Solver
    bounds: Box
    towards: Towards
    distance: Callable[[Tensor, Tensor], Tensor]
    enough: float
    depths: Sequence[int] = (1, 2, 4, 8)
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.depths or list(self.depths) != sorted(set(self.depths)) or self.depths[0] < 1:
            raise UsageError(f"depths must be whole numbers from 1 that grow; got {list(self.depths)}")

    def __call__(self, latent: Tensor, goal: Tensor, rng: torch.Generator) -> Route:
        """Route from latents [B, D] to goals [B, D]; of those that stay too far, the one that ends nearest."""
        began = time.perf_counter()
        route = Route(
            goal.clone(),
            torch.zeros(len(goal), dtype=torch.int64, device=goal.device),
            torch.full((len(goal),), torch.inf, dtype=goal.dtype, device=goal.device),
        )
        rows = torch.arange(len(goal), device=goal.device)
        known = self.bounds.neutral().to(goal).expand(len(goal), 1, 0, -1)  # [B, 1, K, Z] of the shorter routes
        for turn, depth in enumerate(self.depths):
            share = (turn + 1) / len(self.depths)
            deadline = None if self.seconds is None else began + share * self.seconds
            known = self.deepen(latent[rows], goal[rows], known, depth, rng, deadline)
            with torch.no_grad():
                ahead = self.model.rollout(latent[rows], known)[:, 0]  # [B, K, D]
                final = self.distance(ahead[:, -1], goal[rows])
            nearer = final < route.final[rows]
            route.subgoal[rows[nearer]] = ahead[nearer, 0]
            route.depth[rows[nearer]] = depth
            route.final[rows[nearer]] = final[nearer]
            lost = ~(route.final[rows] <= self.enough)
            rows, known = rows[lost], known[lost]
            if not len(rows):
                break
        return route

    def deepen(
        self, latent: Tensor, goal: Tensor, known: Tensor, depth: int, rng: torch.Generator, deadline: float | None
    ) -> Tensor:
        """Best route of one depth, [B, 1, depth, Z]; shorter ones [B, 1, K, Z], with nothing after them, compete."""
        neutral = self.bounds.neutral().to(goal)
        longer = torch.cat([known, neutral.expand(len(goal), 1, depth - known.shape[2], -1)], 2)
        start = torch.cat([neutral.expand_as(longer), longer], 1)
        return self.solver(self.evaluator(latent, goal), self.bounds, start, rng, deadline).actions.unsqueeze(1)

    def evaluator(self, latent: Tensor, goal: Tensor) -> Evaluate:
        """Cost [B, S] of macro-actions [B, S, K, Z]."""
        objective = self.towards(goal)
        return lambda macro: objective(self.model.rollout(latent, macro), macro)


@dataclass(slots=True)
class HierarchicalController:
    """Plans a route far ahead, and actions towards its first latent; straight to the goal once that is close.

    Attributes:
        pathfinder: The top level.
        controller: The lower level.
        towards: Objective at the lower level, for sub-goals and for the goal.
        close: Goals within this distance are planned for directly.
        hold: Calls of `act` for which a sub-goal stays; 1 finds a new route each time.
        route: The last route.
    """

    pathfinder: Pathfinder
    controller: Controller
    towards: Towards
    close: float
    hold: int = 1
    route: Route | None = field(default=None, init=False)
    age: int = field(default=0, init=False)

    def act(self, latents: Tensor, past: Tensor, goal: Tensor) -> Tensor:
        """The actions to execute now, as `Controller.act` gives them, towards goal latents [B, D]."""
        now = latents[:, -1]
        direct = self.pathfinder.distance(now, goal) <= self.close
        if self.route is None or self.age >= self.hold:
            self.route, self.age = self.pathfinder(now, goal, self.controller.rng), 0
        self.age += 1
        wanted = torch.where(direct.view(-1, *[1] * (goal.ndim - 1)), goal, self.route.subgoal)
        return self.controller.act(latents, past, self.towards(wanted))

    def reset(self) -> None:
        """Forget route and plan: a new episode begins."""
        self.route = None
        self.controller.reset()

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the problems: bool [B] or indices."""
        if self.route is not None:
            self.route = Route(*(of_all[rows] for of_all in self.route))
        self.controller.keep(rows)
