"""From a trained run to an agent: what each of the six modules is made of.

configurator   TaskSpec from the numbers of `craik.plan.settings.Planning`
perception     the run's encoder, with as many frames as its predictor looks at
world model    its rollout; the band of surprise is measured on fresh episodes
cost           latent distance, and the run's own critic, or one trained on encoded and imagined states
memory         of moments; it is the critic's replay
actor          the search of the planning settings, and a policy that is taught by it; where actions are held, both
               choose single ones
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craik.agent import (
    Actor,
    Agent,
    Band,
    CostModule,
    CriticTraining,
    IntrinsicCost,
    Memory,
    Perception,
    TaskSpec,
    WorldModel,
    calibrate_surprise,
    fit_critic,
    policy_for,
)
from craik.agent.cost import CRITIC, GOAL
from craik.data.episode import Episodes
from craik.envs.world import World
from craik.errors import UsageError
from craik.evaluate.walks import walk
from craik.nn.critic import TemporalDistance
from craik.nn.policy import ReactivePolicy
from craik.plan import Bounds, latent_scale, summed, terminal
from craik.plan.costs import Critic
from craik.plan.settings import Planning
from craik.plan_run.prepare import EXPERIENCE_FRAMES, EXPERIENCES, of_episodes, of_walk
from craik.plan_run.subject import Subject

CAPACITY = 50_000  # moments that are remembered
HELD_OUT = 24  # episodes that usual surprise is measured on
SEEDS = {"learn": 1, "held": 2}
OWN_CRITIC = "critic: the run's own, trained in its second stage"


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What an agent needs beside its world model, measured or learned."""

    critic: TemporalDistance | None
    """None takes that of the run."""
    policy: ReactivePolicy
    band: Band
    scale: float
    """Squared latent distance of two unrelated frames."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """Makes tasks of goals, with the numbers of a run's planning."""

    planning: Planning
    bounds: Bounds
    """Of the actions of the environment."""
    block: int = 1
    """Actions of the environment in one step of the model."""
    seconds: float | None = None
    """Wall-clock budget of a decision for one environment [s]."""

    def __call__(self, goal: np.ndarray | Tensor, mode: str = "both") -> TaskSpec:
        """To get where it looks like `goal`: frames uint8 [B, H, W, C], or [1, H, W, C] for all environments alike."""
        planning = self.planning
        solver = planning.search(self.bounds)
        if self.seconds is not None and planning.solver != "gradient":
            solver = replace(planning, iterations=10_000).search(self.bounds)  # the clock ends it
        return TaskSpec(
            goal,
            weights={CRITIC if planning.cost == "critic" else GOAL: 1.0},
            horizon=planning.horizon,
            execute=planning.execute,
            planner=solver,
            seconds=None if self.seconds is None else self.seconds * len(goal),
            block=self.block,
            hold=planning.hold,
            detour=planning.detour,
            over=terminal if planning.cost == "terminal" else summed,
            glance=min(3, planning.horizon),
            mode=mode,
        )


def learned_parts(
    subject: Subject,
    world: World[Any],
    bounds: Bounds,
    data: Episodes | None,
    rng: torch.Generator,
    seed: int,
    surprise_rate: float,
    training: CriticTraining | None = None,
) -> tuple[Parts, str]:
    """Train a critic where the run has none, measure usual surprise and the scale of latents; the policy is not taught
    yet. Beside the parts, how good the critic is.

    Args:
        subject: The run.
        world: Where fresh episodes come from.
        bounds: Actions of the world.
        data: Episodes that a critic learns from, even where the run has one; collected anew without.
        rng: Decides weights and batches.
        seed: Decides fresh episodes.
        surprise_rate: Share of usual steps that may count as a surprise.
        training: Of the critic.

    Raises:
        UsageError: If there is too little to learn from, or the encoder has collapsed.
    """
    skip = subject.window.skip
    if data is None:
        known = of_walk(
            subject, world, walk(world, EXPERIENCES, EXPERIENCE_FRAMES, seed + SEEDS["learn"], skip, "mixed")
        )
    else:
        known = of_episodes(subject, data)
    held = of_walk(subject, world, walk(world, HELD_OUT, EXPERIENCE_FRAMES, seed + SEEDS["held"], skip))
    latents = torch.cat([experience.latents for experience in known])
    try:
        scale = latent_scale(latents)
    except ValueError as error:
        raise UsageError(f"{subject.run} cannot act in {world.name}: {error}") from None
    band = calibrate_surprise(subject.model, held, surprise_rate, subject.history)
    critic, said = None, OWN_CRITIC
    if subject.critic is None or data is not None:
        training = training or CriticTraining(horizon=min(10, subject.planning.horizon))
        critic, report = fit_critic(known, subject.model, rng, replace(training, history=subject.history))
        said = str(report)
    policy = policy_for(latents, bounds, rng, num_chosen(subject.planning, skip)).to(latents.device)
    return Parts(critic, policy, band, scale), said


def num_chosen(planning: Planning, skip: int) -> int:
    """Actions of the environment that are chosen for one step of the model."""
    return 1 if planning.hold else skip


def own_critic(subject: Subject) -> Critic | None:
    """The critic of a run, as a cost counts: in steps of the model; None where its recipe trains none."""
    return None if subject.critic is None else partial(model_steps, subject.critic, subject.window.skip)


def model_steps(critic: Critic, skip: int, latents: Tensor, goals: Tensor) -> Tensor:
    """Steps of the model [...] by a critic that counts those of the environment."""
    return critic(latents, goals) / skip


def assemble(subject: Subject, bounds: Bounds, parts: Parts, rng: torch.Generator) -> Agent:
    """The six modules joined; nothing has been lived through yet."""
    model, critic = subject.model, parts.critic
    return Agent(
        perception=Perception(
            model, prepare=as_frames(model.recipe.view.size), history=subject.history, device=model.device
        ),
        world_model=WorldModel(model, parts.band),
        cost=CostModule(IntrinsicCost(), parts.scale, critic, float(critic.unit))
        if critic is not None
        else CostModule(IntrinsicCost(), parts.scale, own_critic(subject), steps=1.0),
        memory=Memory(CAPACITY),
        actor=Actor(bounds, parts.policy, rng),
    )


def as_frames(side: int) -> Callable[[Tensor], Tensor]:
    """From what simulators and cameras give, [B, H, W, C], to frames [B, C, H, W] as `craik.api.Model.encode` takes.

    What it gives raises a UsageError on anything but uint8, or real numbers in [0, 1], with 1 or 3 channels.

    Args:
        side: What the model sees [px], for the message.
    """

    def prepare(seen: Tensor) -> Tensor:
        real = seen.is_floating_point()
        fits = seen.ndim == 4 and seen.shape[-1] in (1, 3) and (real or seen.dtype == torch.uint8)
        if fits and real and seen.numel():
            fits = bool((seen >= 0).all()) and bool((seen <= 1).all())
        if not fits:
            what = f", {float(seen.min()):g} to {float(seen.max()):g}" if seen.numel() else ""
            raise UsageError(
                f"expected frames [B, height, width, 1 or 3], one for each environment, as uint8 or real numbers from "
                f"0 to 1 (the model sees them at {side} x {side} px); got {seen.dtype} {list(seen.shape)}{what}. "
                "One frame alone is frame[None]"
            )
        return seen.movedim(-1, 1)

    return prepare
