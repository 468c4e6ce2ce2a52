"""What one planned episode looked like, and what was imagined on the way: for pictures.

Letters: N steps of the environment, H horizon [model steps], D latent, A action as the model takes it, T frames seen.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor


class Decision(NamedTuple):
    """One plan of one episode; tensors lie on the CPU."""

    step: int
    """Steps of the environment taken before."""
    latents: Tensor
    """Of the frames seen, oldest first, [T, D]."""
    past: Tensor
    """Actions between them, [T - 1, A]."""
    actions: Tensor
    """The plan, [H, A]; the first `execute` of them were carried out."""
    imagined: Tensor
    """Latents that the plan was to lead to, [H, D]."""
    trace: Tensor
    """Best cost after each iteration of the search, [iterations]."""
    cost: float
    """Of the plan."""


class Recorded(NamedTuple):
    """One episode."""

    number: int
    """Of the episode in the evaluation."""
    frames: np.ndarray
    """Before each step of the environment and after the last, uint8 [N + 1, height, width, 3]."""
    goal_frame: np.ndarray
    """What the planner was shown as its goal, uint8 [height, width, 3]."""
    goal_latent: Tensor
    """[D]."""
    actions: np.ndarray
    """Taken, [N, actions] or [N] where discrete, in units of the environment."""
    truth: np.ndarray
    """True columns of the world for each frame, float64 [N + 1, K]; their names are `world.truth_names`."""
    goal_truth: np.ndarray
    """Of the goal, [K]."""
    reached: int | None
    """Steps until the goal was first reached; None where it never was."""
    block: int
    """Steps of the environment in one step of the model."""
    decisions: tuple[Decision, ...]
    """Plans in the order they were made."""
