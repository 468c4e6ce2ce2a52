"""Receding horizon: plan H steps, execute the first few, shift, plan again."""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from craik.core.world import WorldModel
from craik.errors import UsageError
from craik.plan.bounds import Bounds
from craik.plan.imagine import Futures, Situation, evaluator
from craik.plan.objective import Cost
from craik.plan.solver import Plan, Solver


@dataclass(slots=True)
class Controller:
    """Model predictive control in latent space, for B problems side by side.

    Each search starts where the last one ended, shifted by what was executed and padded with the neutral action. The
    only state is that plan; `reset` forgets it.

    Attributes:
        model: Imagines; in evaluation mode, on the device of the latents.
        solver: Any of `craik.plan`, or a function of the same signature.
        bounds: Actions of the environment, not of blocks.
        horizon: Steps of the model to look ahead H.
        rng: Decides all noise.
        execute: Steps of the model to execute before planning again, 1 to H.
        block: Actions of the environment in one step of the model (frame skip); the model takes them concatenated.
        seconds: Wall-clock budget of one call of `act` [s]; None leaves the solver its own limits.
        chunk: Rows given to the model at once at most.
        plan: The last plan, in steps of the model.
    """

    model: WorldModel
    solver: Solver
    bounds: Bounds
    horizon: int
    rng: torch.Generator
    execute: int = 1
    block: int = 1
    seconds: float | None = None
    chunk: int = 4096
    plan: Plan | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.execute <= self.horizon or self.block < 1:
            raise UsageError(
                f"a controller wants 1 <= execute <= horizon and block >= 1; got execute {self.execute}, "
                f"horizon {self.horizon}, block {self.block}"
            )

    def act(self, latents: Tensor, past: Tensor, objective: Cost, futures: Futures | None = None) -> Tensor:
        """The actions to execute now.

        Args:
            latents: Of the frames seen, oldest first, [B, T, D].
            past: Actions between them as the model takes them, [B, T - 1, block * A].
            objective: What is wanted, for these B problems; may change from call to call.
            futures: Draws of the model's latent variable, where it has one.

        Returns:
            Real actions [B, execute * block, A], or int64 choices [B, execute * block].
        """
        deadline = None if self.seconds is None else time.perf_counter() + self.seconds
        bounds = self.bounds.block(self.block)
        evaluate = evaluator(self.model, Situation(latents, past), objective, self.chunk, futures)
        self.plan = self.solver(evaluate, bounds, self.start(latents), self.rng, deadline)
        return bounds.split(self.plan.actions[:, : self.execute])

    def start(self, latents: Tensor) -> Tensor:
        """Where the search begins, [B, K, H, block * A]: what the last one carries, or doing nothing.

        Raises:
            ValueError: If the last plan was for another number of problems.
        """
        neutral = self.bounds.block(self.block).neutral().to(latents)
        if self.plan is None:
            return neutral.expand(len(latents), 1, self.horizon, -1)
        carry = self.plan.carry
        if len(carry) != len(latents):
            raise ValueError(
                f"the last plan was for {len(carry)} problems and now there are {len(latents)}; "
                "call keep(rows) when some are finished, reset() when new ones begin"
            )
        padding = neutral.expand(*carry.shape[:2], self.execute, -1)
        return torch.cat([carry[:, :, self.execute :], padding], 2)

    def reset(self) -> None:
        """Forget the last plan: a new episode begins."""
        self.plan = None

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the problems: bool [B] or indices."""
        if self.plan is not None:
            plan = self.plan
            self.plan = plan._replace(
                actions=plan.actions[rows], cost=plan.cost[rows], trace=plan.trace[:, rows], carry=plan.carry[rows]
            )
