"""Imagination: many candidate plans rolled through a world model side by side, and what they cost.

Letters: B problems, S candidates for each, M futures, T frames seen, H horizon, A action, D latent, Z latent variable.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from craik.core.world import WorldModel
from craik.plan.objective import Cost
from craik.plan.solver import Evaluate


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """Where a plan starts: the latents of the frames seen [B, T, D] and the actions between them [B, T - 1, A]."""

    latents: Tensor
    past: Tensor

    def __post_init__(self) -> None:
        num_frames = self.latents.shape[1] if self.latents.ndim >= 3 else 0
        if num_frames < 1 or self.past.ndim != 3 or self.past.shape[:2] != (len(self.latents), num_frames - 1):
            raise ValueError(
                "a plan starts from latents [B, T, D] and the T - 1 actions between them [B, T - 1, A]; got "
                f"{list(self.latents.shape)} and {list(self.past.shape)}"
            )

    @property
    def now(self) -> Tensor:
        """Latent of the last frame seen, [B, D]."""
        return self.latents[:, -1]


@dataclass(frozen=True, slots=True, eq=False)
class Futures:
    """What actions do not decide, imagined several times over; the same for all candidates, so that luck is shared.

    Attributes:
        z: Draws from the model's prior, [M, H, Z].
        judge: Cost [B, S] of the M costs [M, B, S]: `expected`, or `worst` for the careful.
    """

    z: Tensor
    judge: Callable[[Tensor], Tensor]


def expected(costs: Tensor) -> Tensor:
    """Mean over futures, [M, B, S] -> [B, S]."""
    return costs.mean(0)


def worst(costs: Tensor) -> Tensor:
    """Largest over futures, [M, B, S] -> [B, S]."""
    return costs.amax(0)


def imagine(model: WorldModel, situation: Situation, actions: Tensor, z: Tensor | None = None) -> Tensor:
    """Latents [B, S, H, D] that follow when candidate actions [B, S, H, A] are taken; z is [H, Z], one future."""
    num_problems, num_candidates = actions.shape[:2]
    imagined = model.rollout(
        situation.latents.repeat_interleave(num_candidates, 0),
        situation.past.repeat_interleave(num_candidates, 0),
        actions.flatten(0, 1),
        None if z is None else z.expand(num_problems * num_candidates, -1, -1),
    )
    return imagined.unflatten(0, (num_problems, num_candidates))


def evaluator(
    model: WorldModel,
    situation: Situation,
    cost: Cost,
    chunk: int = 4096,
    futures: Futures | None = None,
) -> Evaluate:
    """What a solver calls: candidates [B, S, H, A] through the model to their cost [B, S].

    Args:
        model: Imagines.
        situation: Where the plans start.
        cost: Judges what is imagined; an `Objective`, or any cost.
        chunk: Rows given to the model at once at most, but never fewer than B; bounds the memory.
        futures: Draws of the latent variable; None asks for the model's default future.
    """

    def one_future(actions: Tensor, z: Tensor | None) -> Tensor:
        return cost(imagine(model, situation, actions, z), actions)

    def evaluate(actions: Tensor) -> Tensor:
        pieces = actions.split(max(1, math.floor(chunk / len(actions))), dim=1)
        if futures is None:
            return torch.cat([one_future(piece, None) for piece in pieces], 1)
        return torch.cat([futures.judge(torch.stack([one_future(p, z) for z in futures.z])) for p in pieces], 1)

    return evaluate
