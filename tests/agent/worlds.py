"""A room whose latent is the true position beside noise, a wall that can stand in it, and a model that knows both."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from craik.agent import Experience
from craik.plan import Box

STEP = 0.1
DOOR = 0.3  # the wall x = 0 ends here, and above it one walks through
BOX = Box.of([-STEP, -STEP], [STEP, STEP], max_norm=STEP)
NOISE = 0.02
NUM_NOISE = 2


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass
class Room:
    """Positions [..., 2] in [-1, 1]^2; the model predicts that noise is 0, its mean."""

    wall: bool = False
    calls: int = field(default=0, init=False)

    def step(self, at: Tensor, action: Tensor) -> Tensor:
        to = (at + action).clamp(-1, 1)
        if self.wall:
            x, y = to.unbind(-1)
            crosses = (at[..., 0] * x <= 0) & (y < DOOR)
            x = torch.where(crosses, 1e-3 * at[..., 0].sign(), x)
            to = torch.stack([x, y], -1)
        return to

    def encode(self, frames: Tensor) -> Tensor:
        return frames.flatten(2)

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        self.calls += 1
        at, states = latents[:, -1, :2], []
        for action in actions.unbind(1):
            at = self.step(at, action)
            states.append(torch.cat([at, at.new_zeros(len(at), NUM_NOISE)], -1))
        return torch.stack(states, 1)

    def shortest(self, a: Tensor, b: Tensor) -> Tensor:
        """Length of the shortest path between positions [P, 2], around the end of the wall."""
        straight = (a - b).norm(dim=-1)
        if not self.wall:
            return straight
        corner = torch.tensor([0.0, DOOR])
        share = (-a[:, 0] / (b[:, 0] - a[:, 0])).clamp(0, 1)
        through = a[:, 1] + share * (b[:, 1] - a[:, 1])
        around = (a - corner).norm(dim=-1) + (b - corner).norm(dim=-1)
        return torch.where((a[:, 0] * b[:, 0] < 0) & (through < DOOR), around, straight)


def places(num: int, rng: torch.Generator, side: int = 0) -> Tensor:
    """Positions [num, 2], on one side of the wall where `side` is -1 or 1."""
    at = torch.rand(num, 2, generator=rng) * 1.8 - 0.9
    return at if not side else torch.stack([side * (at[:, 0].abs() + 0.05).clamp(max=0.9), at[:, 1]], -1)


def seen(at: Tensor, rng: torch.Generator) -> Tensor:
    """Observations [..., 2 + noise] of positions [..., 2]."""
    return torch.cat([at, NOISE * torch.randn(*at.shape[:-1], NUM_NOISE, generator=rng)], -1)


def to_frames(observation: Tensor) -> Tensor:
    return observation.float()[:, :, None, None]


def walks(room: Room, num: int, length: int, rng: torch.Generator) -> list[Experience]:
    """Episodes that keep a direction for a while, noise included."""
    at = places(num, rng)
    states, actions = [at], []
    heading = 6.3 * torch.rand(num, generator=rng)
    for _ in range(length - 1):
        turn = torch.rand(num, generator=rng) < 0.12
        heading = torch.where(turn, 6.3 * torch.rand(num, generator=rng), heading)
        actions.append(STEP * torch.stack([heading.cos(), heading.sin()], -1))
        states.append(room.step(states[-1], actions[-1]))
    latents = seen(torch.stack(states, 1), rng)
    return [Experience(*pair) for pair in zip(latents, torch.stack(actions, 1), strict=True)]


class Env:
    """Rooms that step together; `gain` scales what an action does, and can be changed at any time."""

    def __init__(self, room: Room, at: Tensor, seed: int = 1) -> None:
        self.room, self.at, self.gain, self.rng = room, at, 1.0, generator(seed)

    def observe(self) -> Tensor:
        return seen(self.at, self.rng)

    def step(self, action: Tensor) -> Tensor:
        self.at = self.room.step(self.at, self.gain * torch.as_tensor(np.asarray(action)))
        return self.observe()


END = 2.4  # the horseshoe opens behind it [rad]


class Horseshoe:
    """A corridor bent around a wall: its two ends lie next to each other, and are far apart on foot."""

    def encode(self, frames: Tensor) -> Tensor:
        return frames.flatten(2)

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        x, y = latents[:, -1].unbind(-1)
        angle, angles = torch.atan2(y, x), []
        for action in actions[..., 0].unbind(1):
            angle = (angle + action).clamp(-END, END)
            angles.append(angle)
        return bent(torch.stack(angles, 1))


def bent(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], -1)


def strolls(num: int, length: int, rng: torch.Generator) -> list[Experience]:
    """Episodes in the horseshoe that seldom turn round, but at its ends, 0.15 rad a step."""
    step = 0.15 * torch.where(torch.rand(num, generator=rng) < 0.5, -1.0, 1.0)
    angles, actions = [(torch.rand(num, generator=rng) * 2 - 1) * END], []
    for _ in range(length - 1):
        back = (torch.rand(num, generator=rng) < 0.02) | ((angles[-1] + step).abs() > END)
        step = torch.where(back, -step, step)
        actions.append(step)
        angles.append((angles[-1] + step).clamp(-END, END))
    pairs = zip(bent(torch.stack(angles, 1)), torch.stack(actions, 1).unsqueeze(-1), strict=True)
    return [Experience(*pair) for pair in pairs]
