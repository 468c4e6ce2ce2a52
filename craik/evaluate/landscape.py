"""The energy landscape over actions: what a planner would see that wants to get where the episode went."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from craik.core.world import WorldModel
from craik.data.windows import Clips
from craik.evaluate.openloop import squared_error

SIDE = 25  # points along each axis
CHUNK = 256  # actions tried at once


class Landscape(NamedTuple):
    """Energy of the frame that came, over two numbers of the action; the others are those that were taken."""

    axes: tuple[int, int]
    """Which numbers of the action."""
    x: np.ndarray
    """Values of the first, [G]."""
    y: np.ndarray
    """Values of the second, [G]."""
    energy: np.ndarray
    """[G, G], row by y; squared error, mean over features, over the variance of the latents."""
    true: tuple[float, float]
    """The action that was taken."""
    steps: int
    """Model steps for which the action is held."""

    @property
    def lowest(self) -> tuple[float, float]:
        """The action of the lowest energy."""
        row, column = np.unravel_index(int(self.energy.argmin()), self.energy.shape)
        return float(self.x[column]), float(self.y[row])


def strongest_axes(actions: Tensor) -> tuple[int, int]:
    """The two numbers of actions [..., A] that vary most, in their order.

    Raises:
        ValueError: If an action has but one number.
    """
    if actions.shape[-1] < 2:
        raise ValueError("a landscape over two axes wants actions of two numbers")
    first, second = sorted(actions.flatten(0, -2).std(0).topk(2).indices.tolist())
    return first, second


@torch.inference_mode()
def landscape(
    model: WorldModel,
    clips: Clips,
    axes: tuple[int, int],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    *,
    history: int,
    skip: int = 1,
    side: int = SIDE,
    variance: float = 1.0,
) -> tuple[Landscape, ...]:
    """Try a grid of actions where one was taken, and compare with the frame that came.

    With frame skip the tried numbers are held through all actions of the model step, and the true action that is
    marked is their mean. The window's length decides for how many model steps: T - history; the marked action is
    then the mean over these too.

    Args:
        model: As `craik.load` gives it: `encode` takes raw frames.
        clips: Windows of history + K frames, with actions.
        axes: Two numbers of an action of the environment.
        ranges: Lowest and highest value of each that is tried.
        history: Frames that the model sees first.
        skip: Steps of the environment in a model step.
        side: Points along each axis G.
        variance: Of the latents, by which energies are divided.
    """
    assert clips.actions is not None
    latents = model.encode(clips.frames)
    x, y = (np.linspace(low, high, side) for low, high in ranges)
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)).float()  # [G * G, 2], x fastest
    found = []
    for window, actions in zip(latents, clips.actions, strict=True):
        taken = actions[history - 1 :].unflatten(-1, (skip, -1))  # [K, skip, A]
        tried = taken.expand(len(grid), *taken.shape).clone()
        tried[..., list(axes)] = grid[:, None, None]
        energy = torch.cat(
            [energies(model, window, actions[: history - 1], part.flatten(2)) for part in tried.split(CHUNK)]
        )
        true = taken.mean((0, 1))[list(axes)].tolist()
        height = (energy / variance).view(side, side).cpu().numpy()
        found.append(Landscape(axes, x, y, height, (true[0], true[1]), len(taken)))
    return tuple(found)


def energies(model: WorldModel, latents: Tensor, past: Tensor, actions: Tensor) -> Tensor:
    """Energy [S] of the last latent of [T, ...] after each of the actions [S, K, A]."""
    num, seen = len(actions), len(past) + 1
    rows = latents[:seen].expand(num, *latents[:seen].shape)
    ahead = model.rollout(rows, past.expand(num, *past.shape).to(latents.device), actions.to(latents.device))
    return squared_error(ahead[:, -1:], latents[-1:].unsqueeze(0))[:, 0]
