"""From a model and a world to a planner: scale of the latents, a check of their distance, a critic where asked for."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craik.agent.critic import CriticReport, CriticTraining, TrainedCritic, fit_critic
from craik.agent.experience import Experience
from craik.data.episode import Episodes
from craik.data.windows import Windows
from craik.envs.world import Discrete, World
from craik.errors import UsageError
from craik.evaluate.policies import Planner
from craik.evaluate.walks import Walk, judge, walk
from craik.plan import (
    Controller,
    CriticCost,
    Detour,
    Held,
    LatentDistance,
    Objective,
    Term,
    Usability,
    latent_scale,
    summed,
    terminal,
)
from craik.plan.objective import Cost
from craik.plan_run.asked import Asked
from craik.plan_run.subject import Subject, as_bounds

WALKS, WALK_FRAMES = 16, 48  # of the check
EXPERIENCES, EXPERIENCE_FRAMES = 120, 64  # collected for a critic where there is no data
RECORDED, RECORDED_FRAMES = 200, 128  # of the data, at most
TRAINING_STEPS = 2000  # of the critic
CHUNK = 256  # frames encoded at once
UNTIL_THE_CLOCK = 1000  # iterations of a search that has a budget of time


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What planning with one model in one world needs, whatever the goal."""

    objective: Callable[[Tensor], Cost]
    """From goal latents to what is wanted."""
    scale: float
    """Squared latent distance of two unrelated frames."""
    usable: Usability
    critic: CriticReport | None
    critic_data: str | None = None
    """What the critic learned from."""

    def planner(self, subject: Subject, world: World[Any], asked: Asked) -> Planner:
        """A planner for episodes in the world, which may be a variation of the one this was prepared in."""
        planning, limits = subject.planning, as_bounds(world.action)
        if asked.seconds is not None and asked.iterations is None:
            planning = replace(planning, iterations=UNTIL_THE_CLOCK)
        search = planning.search(limits)
        skip = subject.window.skip
        hold, block = (skip, 1) if planning.hold else (1, skip)
        model = Held(subject.model, skip) if planning.hold else subject.model  # either encodes raw frames
        controller = Controller(model, search, limits, planning.horizon, torch.Generator(), planning.execute, block)
        detour = Detour(limits, block, torch.Generator(), planning.detour) if planning.detour else None
        return Planner(model, controller, self.objective, subject.history, asked.seconds, detour, hold)


def prepare(subject: Subject, world: World[Any], asked: Asked, say: Callable[[str], None]) -> Prepared:
    """Look at a random walk through the world, check the latent distance, and train what the cost needs.

    Raises:
        UsageError: If the encoder has collapsed, or there is too little to learn a critic from.
    """
    skip = subject.window.skip
    walked = walk(world, WALKS, WALK_FRAMES, asked.seed, skip)
    latents = encode(subject, walked.frames)
    try:
        scale = latent_scale(latents.flatten(0, 1))
    except ValueError as error:
        raise UsageError(f"{subject.run} cannot plan in {world.name}: {error}") from None
    check = judge(world, walked, latents, asked.seed)
    say(f"before planning: {check.verdict}")
    if subject.planning.cost != "critic":
        over = terminal if subject.planning.cost == "terminal" else summed
        return Prepared(partial(toward, scale, over), scale, check, None)
    own = None if asked.data is not None else subject.critic
    if own is not None:
        network, unit, report, source = own, float(skip), None, "the run: trained in its second stage"
    else:
        trained, source = train_critic(subject, world, asked, say)
        network, unit, report = trained.network, float(trained.network.unit), trained.report
        say(f"before planning: {report}")
    judged = judge(world, walked, latents, asked.seed, network)
    say(f"the critic in place of the latent distance: Spearman {judged.spearman:.2f} with the shortest way")
    return Prepared(partial(by_critic, network, unit), scale, check, report, source)


def toward(scale: float, over: Callable[[Tensor], Tensor], goal: Tensor) -> Cost:
    """To be near the goal in latent space."""
    return Objective({"goal": Term(LatentDistance(goal, scale, over))})


def by_critic(critic: Callable[[Tensor, Tensor], Tensor], steps: float, goal: Tensor) -> Cost:
    """To have few steps to go."""
    return Objective({"steps to go": Term(CriticCost(critic, goal, steps, summed))})


def encode(subject: Subject, frames: np.ndarray) -> Tensor:
    """Latents [E, T, ...] of frames uint8 [E, T, H, W, C].

    Raises:
        UsageError: If one is not finite.
    """
    flat = frames.reshape(-1, 1, *frames.shape[2:])
    parts = [subject.model.encode(flat[first : first + CHUNK])[:, 0] for first in range(0, len(flat), CHUNK)]
    latents = torch.cat(parts)
    if not bool(torch.isfinite(latents).all()):
        raise UsageError(
            f"{subject.run} gives latents that are not finite, so nothing can be planned: its training met NaN. "
            f"Look at: craik report {subject.run}"
        )
    return latents.unflatten(0, frames.shape[:2])


def train_critic(
    subject: Subject, world: World[Any], asked: Asked, say: Callable[[str], None]
) -> tuple[TrainedCritic, str]:
    """Learn temporal distance, and say from what: the episodes given, or those of the run, or some collected for it."""
    episodes = Episodes.open(asked.data) if asked.data is not None else own_episodes(subject)
    if episodes is None:
        walked = walk(world, EXPERIENCES, EXPERIENCE_FRAMES, asked.seed + 1, subject.window.skip, "mixed")
        source, experiences = f"{EXPERIENCES} episodes collected in the world", of_walk(subject, world, walked)
    else:
        source, experiences = episodes.name, of_episodes(subject, episodes)
    say(f"training a critic on encoded and imagined states of {source}")
    training = CriticTraining(
        num_steps=TRAINING_STEPS, history=subject.history, horizon=min(10, subject.planning.horizon)
    )
    rng = torch.Generator().manual_seed(asked.seed)
    return fit_critic(experiences, subject.model, rng, training), source


def own_episodes(subject: Subject) -> Episodes | None:
    """The data that the run was trained on, where it still lies there."""
    config = subject.run / "config.json"
    try:
        stored = json.loads(config.read_text(encoding="utf-8")).get("data") or {}
        return Episodes.open(stored["data"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError, UsageError):
        return None


def of_walk(subject: Subject, world: World[Any], walked: Walk) -> list[Experience]:
    """Episodes as the model sees them."""
    actions = torch.from_numpy(walked.actions)
    if isinstance(world.action, Discrete):
        actions = torch.nn.functional.one_hot(actions.long(), world.action.num)
    latents = encode(subject, walked.frames)
    blocks = actions.flatten(2).to(latents)
    return [Experience(*pair) for pair in zip(latents, blocks, strict=True)]


def of_episodes(subject: Subject, episodes: Episodes) -> list[Experience]:
    """Recorded episodes as the model sees them, some frames of each.

    Raises:
        UsageError: If their actions are of another width, or there are fewer than two that are long enough.
    """
    skip = subject.window.skip
    if episodes.action_size != subject.window.action_size:
        raise UsageError(
            f"{episodes.name} has actions of {episodes.action_size} numbers and {subject.run} takes "
            f"{subject.window.action_size}: give the data of its own world. See craik inspect {episodes.name}"
        )
    found = []
    for index in np.linspace(0, len(episodes) - 1, min(len(episodes), RECORDED)).astype(int):
        frames = min(int(episodes.lengths[index] - 1) // skip + 1, RECORDED_FRAMES)
        if frames > subject.history + 1:
            clip = Windows(episodes.subset([index]), frames, skip).read(np.array([0]))
            assert clip.actions is not None
            latents = encode(subject, clip.frames.permute(0, 1, 3, 4, 2).numpy())
            found.append(Experience(latents[0], clip.actions[0].to(latents)))
    if len(found) < 2:
        raise UsageError(f"{episodes.name}: a critic wants two episodes of {subject.history + 2} model steps or more")
    return found
