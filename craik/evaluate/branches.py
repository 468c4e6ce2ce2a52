"""What can happen: the simulator, run many times from the same state with the same actions.

Works for any world of chance, for futures are told apart by their frames: two runs that end in the same picture had
the same future. A world with continuous noise has as many futures as runs, each as likely as the others.

Letters: N situations, R runs of each, P futures of all situations together, M most futures of one; T frames seen,
H model steps ahead, s steps of the environment in a model step, A action, K columns of the state.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craik.envs.policy import Uniform
from craik.envs.world import World, take
from craik.evaluate.tamper import blocks

TOGETHER = 1024  # runs side by side, drawn at once


@dataclass(frozen=True, slots=True, eq=False)
class Branches:
    """Situations, and the futures that each of them had in R runs."""

    seen: Tensor
    """uint8 [N, T, C, H, W]."""
    past: Tensor
    """Actions between those frames, [N, T - 1, s * A]."""
    actions: Tensor
    """Taken from the last of them on, [N, H, s * A]."""
    frames: Tensor
    """The last frame of each future, uint8 [P, C, H, W]."""
    states: Tensor
    """The true state there, float32 [P, K]."""
    number: Tensor
    """Which future came in each run, int64 [N, R]."""

    @property
    def modes(self) -> Tensor:
        """The futures of each situation, int64 [N, M], filled up with -1."""
        each = [row.unique() for row in self.number]
        return torch.nn.utils.rnn.pad_sequence(each, batch_first=True, padding_value=-1)

    def take(self, rows: Tensor) -> "Branches":
        """Some of the situations, int64 [n]."""
        return replace(
            self, seen=self.seen[rows], past=self.past[rows], actions=self.actions[rows], number=self.number[rows]
        )

    def shares(self, runs: slice) -> Tensor:
        """How often each of `modes` came in some of the runs, float64 [N, M]; 0 where there is none."""
        return (self.number[:, runs, None] == self.modes[:, None]).double().mean(1)


def branch(
    world: World[Any], num: int, runs: int, seed: int, *, history: int = 1, skip: int = 1, horizon: int = 1
) -> Branches:
    """Situations at random, and what became of each in many runs.

    Args:
        world: The simulator.
        num: Situations N, each in an episode of its own.
        runs: R.
        seed: Decides all.
        history: Frames seen T; actions between them, and after them, are random.
        skip: Steps of the environment in a model step s.
        horizon: Model steps from the last frame seen to the future H.
    """
    rng = np.random.default_rng([seed, 17])
    state = world.reset(num, rng)
    policy = Uniform(world)
    seen, past, memory = [world.render(state)], [], policy.begin(state, rng)
    for step in range(skip * (history - 1)):
        action, memory = policy.act(state, memory, rng)
        past.append(world.action.fit(action, num))
        state = world.step(state, past[-1], rng)
        if (step + 1) % skip == 0:
            seen.append(world.render(state))
    actions = [world.action.fit(world.action.sample(num, rng), num) for _ in range(skip * horizon)]
    frames, states, number, known = [], [], [], 0
    for rows in np.array_split(np.arange(num), min(num, -(-num * runs // TOGETHER))):
        later = take(state, np.repeat(rows, runs))
        for action in actions:
            later = world.step(later, np.repeat(action[rows], runs, 0), rng)
        drawn = world.render(later)
        for ends in np.split(np.arange(len(rows) * runs), len(rows)):
            first, which = distinct(drawn[ends])
            frames.append(drawn[ends[first]])
            states.append(world.truth(take(later, ends[first])))
            number.append(which + known)
            known += len(first)
    return Branches(
        seen=as_pictures(np.stack(seen, 1)),
        past=blocks(world, past, skip) if past else blocks(world, actions, skip)[:, :0],
        actions=blocks(world, actions, skip),
        frames=as_pictures(np.concatenate(frames)),
        states=torch.from_numpy(np.concatenate(states)).float(),
        number=torch.from_numpy(np.stack(number)),
    )


def distinct(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each kind among frames [R, H, W, C], int64 [M], and the kind of every one, int64 [R]."""
    known: dict[bytes, int] = {}
    which = np.array([known.setdefault(frame.tobytes(), len(known)) for frame in frames])
    return np.array([int(np.argmax(which == kind)) for kind in range(len(known))]), which


def as_pictures(frames: np.ndarray) -> Tensor:
    """Frames [..., H, W, C] as models take them, uint8 [..., C, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, -3)))
