"""Is a model's latent distance usable in a world? Asked of a random walk, with the shortest way known exactly."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craik.envs.policy import find_policy
from craik.envs.world import Box, World, join, take
from craik.errors import UsageError
from craik.plan.usable import Distance, Pairs, Usability, episode_pairs, squared_distance, usability

NUM_PAIRS = 4000


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """E episodes of T frames each."""

    states: Any
    """T * E of them, time by time."""
    frames: np.ndarray
    """uint8 [E, T, H, W, C]."""
    actions: np.ndarray
    """Between them, [E, T - 1, block, A], or [E, T - 1, block] where discrete."""


def walk(world: World[Any], num: int, length: int, seed: int, block: int = 1, policy: str | None = None) -> Walk:
    """Episodes of a wandering policy, or of held random actions where the world does not move by directions.

    Args:
        world: The simulator.
        num: Episodes E.
        length: Frames of each T.
        seed: Decides all.
        block: Steps of the environment from one frame to the next.
        policy: Another one, as `craik.envs.policy.find_policy` knows it; in a world without expert always random.
    """
    rng = np.random.default_rng([seed, 11])
    planar = isinstance(world.action, Box) and world.action.size == 2
    usual = policy or ("walk" if planar else "random")
    wanderer = find_policy(usual if hasattr(world, "expert") else "random", world)
    state = world.reset(num, rng)
    memory = wanderer.begin(state, rng)
    states, taken = [state], []
    for step in range(block * (length - 1)):
        action, memory = wanderer.act(state, memory, rng)
        taken.append(world.action.fit(action, num))
        state = world.step(state, taken[-1], rng)
        if (step + 1) % block == 0:
            states.append(state)
    actions = np.stack(taken, 1)
    frames = np.stack([world.render(s) for s in states], 1)
    return Walk(join(*states), frames, actions.reshape(num, length - 1, block, *actions.shape[2:]))


def judge(
    world: World[Any], taken: Walk, latents: Tensor, seed: int, distance: Distance = squared_distance
) -> Usability:
    """How well a distance of latents [E, T, D] tells the shortest way, or the time where that fills no bands."""
    try:
        return usability(true_pairs(world, taken, latents, seed, distance))
    except UsageError:
        rng = torch.Generator().manual_seed(seed)
        return usability(episode_pairs(list(latents), rng, NUM_PAIRS, distance))


def true_pairs(
    world: World[Any], taken: Walk, latents: Tensor, seed: int, distance: Distance = squared_distance
) -> Pairs:
    """Latent distance of pairs of states of one episode, beside the steps of the shortest way between them.

    Steps are the exact distance over the median progress of the world's expert in one step. Where the world does not
    know them, or hardly a walk leads away (a disk to be pushed lies still), they are the time between the two states,
    an upper bound.

    Args:
        world: Knows distances.
        taken: The walk.
        latents: Of its frames, [E, T, D].
        seed: Draws the pairs.
        distance: Of pairs of latents.
    """
    by_time = partial(episode_pairs, list(latents), torch.Generator().manual_seed(seed), NUM_PAIRS, distance)
    if not hasattr(world, "expert"):
        return by_time()
    rng = np.random.default_rng([seed, 13])
    num, length = latents.shape[:2]
    episode = rng.integers(num, size=NUM_PAIRS)
    lag = np.minimum((length ** rng.uniform(size=NUM_PAIRS)).astype(np.int64), length - 1)
    begin = (rng.uniform(size=NUM_PAIRS) * (length - lag)).astype(np.int64)
    a, b = begin * num + episode, (begin + lag) * num + episode
    first, second = take(taken.states, a), take(taken.states, b)
    way = np.asarray(world.distance(first, second), dtype=np.float64)
    ahead = world.step(first, world.expert(first, second, rng), rng)
    progress = way - world.distance(ahead, second)
    progress = progress[np.isfinite(progress) & (progress > 1e-9)]
    moving = np.isfinite(way).all() and len(progress) and (way > np.median(progress)).mean() > 0.1
    if not moving:
        return by_time()
    steps = torch.from_numpy(np.ceil(way / np.median(progress)).astype(np.int64))
    flat = latents.transpose(0, 1).flatten(0, 1)
    rows = (torch.from_numpy(index).to(flat.device) for index in (a, b))
    with torch.no_grad():
        return Pairs(distance(*(flat[r] for r in rows)).cpu(), steps)
