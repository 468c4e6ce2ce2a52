"""Costs to build objectives from: goals of any kind, effort, forbidden regions, a learned critic.

Each judges imagined latents [B, S, H, D] and actions [B, S, H, A] as [B, S], and divides by a scale of its own.
Letters: B problems, S candidates, H horizon, D latent (patch tokens [N, D] will do as well), K columns of a read-out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan.bounds import Box
from craik.plan.objective import OverTime, summed, terminal, worst_step
from craik.plan.region import Region, aligned

Readout = Callable[[Tensor], Tensor]
"""A probe: latents [..., D] to named quantities [..., K], such as a position."""

Critic = Callable[[Tensor, Tensor], Tensor]
"""Steps [...] that it takes from latents [..., D] to goals [..., D]."""


def latent_scale(latents: Tensor) -> float:
    """Mean squared distance of two unrelated latents of a sample [M, D]: twice the sum of the variances.

    A squared latent distance divided by it is 1 where prediction and goal have nothing to do with each other.

    Raises:
        ValueError: If there are fewer than two latents, or if they do not vary: a collapsed encoder has no scale.
    """
    if len(latents) < 2:
        raise ValueError(f"a scale wants at least 2 latents, better hundreds; got {len(latents)}")
    scale = 2 * float(latents.detach().double().flatten(1).var(0).sum())
    if not scale > 0:
        raise ValueError(
            "all latents are equal (or not finite): the encoder has collapsed, and no distance means anything"
        )
    return scale


@dataclass(frozen=True, slots=True, eq=False)
class LatentDistance:
    """Squared distance to the latent of a goal, such as that of a goal image.

    Attributes:
        goal: Wanted latents, [B, D], or [1, D] for all problems alike.
        scale: What counts as 1: see `latent_scale`.
        over: How the steps become one cost: `terminal` as in DINO-WM and LeWM, `summed` as in EB-JEPA and PLDM.
        power: 1 takes absolute differences in place of squared ones, as V-JEPA 2-AC does, whose scale is the number
            of features, N x D: a mean.
    """

    goal: Tensor
    scale: float = 1.0
    over: OverTime = terminal
    power: Literal[1, 2] = 2

    def __call__(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Cost [B, S].

        Raises:
            UsageError: If the goal has another shape than the latents.
        """
        gap = (latents - fitting(self.goal, latents)).flatten(3)  # [B, S, H, D]
        apart = gap.square() if self.power == 2 else gap.abs()
        return self.over(apart.sum(-1) / self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class CriticCost:
    """Steps still to go, by a critic that learned temporal distance. It sees around walls, where distance does not.

    Attributes:
        critic: Learned on encoded and imagined latents.
        goal: Wanted latents, [B, D], or [1, D] for all problems alike.
        steps: What counts as 1 [steps]; a typical distance of a goal.
        over: How the steps become one cost; terminal makes it the value beyond the horizon.

    Source: LeCun 2022, section 3.4 (trainable critic); for latent distance 26 %, for the critic 98 % success at goals
    100 steps away in arXiv 2608.12959.
    """

    critic: Critic
    goal: Tensor
    steps: float = 1.0
    over: OverTime = terminal

    def __call__(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Cost [B, S]."""
        return self.over(self.critic(latents, fitting(self.goal, latents).expand_as(latents)) / self.steps)


@dataclass(frozen=True, slots=True, eq=False)
class ReadoutDistance:
    """Squared distance of a read-out from a wanted value: a goal that needs no image, and may leave columns free.

    Attributes:
        readout: Latents [..., D] to quantities [..., K].
        value: Wanted, [B, K], or [K] for all problems alike; NaN leaves a column free.
        scale: What counts as 1 [units of the read-out].
        over: How the steps become one cost.
    """

    readout: Readout
    value: Tensor
    scale: float = 1.0
    over: OverTime = terminal

    def __call__(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Cost [B, S]."""
        points = self.readout(latents)  # [B, S, H, K]
        if self.value.shape[-1] != points.shape[-1]:
            raise UsageError(
                f"the goal names {self.value.shape[-1]} quantities and the read-out gives {points.shape[-1]}: "
                "give one number for each, NaN where it does not matter"
            )
        value = aligned(self.value, points)
        gap = torch.where(torch.isnan(value), 0.0, points - torch.nan_to_num(value))
        return self.over((gap / self.scale).square().sum(-1))


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """Distance of a read-out from a region to be reached; 0 inside.

    Attributes:
        readout: Latents [..., D] to quantities [..., K].
        region: To be reached.
        scale: What counts as 1 [units of the read-out].
        over: How the steps become one cost.
    """

    readout: Readout
    region: Region
    scale: float = 1.0
    over: OverTime = terminal

    def __call__(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Cost [B, S]."""
        return self.over(self.region(self.readout(latents)).clamp(min=0) / self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Forbidden:
    """Depth to which a read-out enters a forbidden region at its worst step; 0 while it keeps the margin.

    Attributes:
        readout: Latents [..., D] to quantities [..., K].
        region: Not to be entered.
        margin: Distance to be kept from it [units of the read-out].
        scale: What counts as 1 [units of the read-out].
        over: How the steps become one cost; the worst one, for a short visit is a visit.
    """

    readout: Readout
    region: Region
    margin: float = 0.0
    scale: float = 1.0
    over: OverTime = worst_step

    def __call__(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Cost [B, S]."""
        return self.over((self.margin - self.region(self.readout(latents))).clamp(min=0) / self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class ReadoutCost:
    """Any read-out that is a cost already: one number per latent, such as a predicted temperature.

    Attributes:
        readout: Latents [..., D] to a cost [...].
        over: How the steps become one cost.
    """

    readout: Readout
    over: OverTime = summed

    def __call__(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Cost [B, S]."""
        return self.over(self.readout(latents))


@dataclass(frozen=True, slots=True, eq=False)
class ActionSize:
    """Mean squared action, measured from the middle of the bounds: 1 is full effort in every dimension.

    Attributes:
        bounds: Of the actions as the model takes them: blocks where it takes blocks.
    """

    bounds: Box

    def __call__(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Cost [B, S]."""
        box = self.bounds.to(actions)
        return ((actions - box.center) / box.half).square().mean((-2, -1))


def fitting(goal: Tensor, latents: Tensor) -> Tensor:
    """Goal [B or 1, D] against latents [B, S, H, D], as [B or 1, 1, 1, D].

    Raises:
        UsageError: If the goal has another shape than the latents.
    """
    if goal.shape[1:] != latents.shape[3:] or len(goal) not in (1, len(latents)):
        raise UsageError(
            f"a goal latent must be {[len(latents), *latents.shape[3:]]}, one for each problem (or 1 for all); got "
            f"{list(goal.shape)}: encode the goal with the model that plans, and take one frame, "
            "`model.encode(frames)[:, -1]`"
        )
    return goal[:, None, None].to(latents)
