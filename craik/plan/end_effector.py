"""Planning the end effector of an arm with a model of poses: V-JEPA 2-AC's search and what it searches.

    arm = EndEffector(model, poses)                                     # poses [B, T, 7] at the frames seen
    objective = LatentDistance(goal, scale=goal[0].numel(), power=1)    # the mean absolute difference
    controller = Controller(arm, search(), moves(), horizon=1, rng=rng)
    actions = arm.carried_out(controller.act(latents, past, objective)) # [B, 1, 7]

The search is over 4 numbers, the way in x, y, z and the gripper; the hand is not turned. The published planner forgets
the last plan before it makes the next: `controller.reset()`. Numbers that are fixed are searched all the same, and
overwritten on the way to the model.

Source: Assran et al. 2025 (arXiv 2506.09985), section 3.3, and the published planner.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from craik.plan.bounds import Box
from craik.plan.cem import CEM

WAY, GRIPPER = slice(0, 3), slice(3, 4)
FIRM = 0.25  # a gripper that is to move less stays as it is
CLOSED = 1.0


class TellsStates(Protocol):
    """A world model that is told states."""

    def encode(self, frames: Tensor) -> Tensor:
        """Latents of frames."""

    def rollout(
        self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None, states: Tensor | None = None
    ) -> Tensor:
        """As `core.world.WorldModel`, from states [B, T, K] at the frames seen."""


def moves(way: float = 0.05, gripper: float = 0.75) -> Box:
    """How far the hand may go along each axis [m], and how far the gripper may turn, in one step."""
    return Box.of([-way] * 3 + [-gripper], [way] * 3 + [gripper])


def search(
    num_samples: int = 400,
    num_elites: int = 10,
    num_iterations: int = 10,
    momentum: float = 0.15,
    std_momentum: float = 0.15,
    gripper_momentum: float = 0.15,
    gripper_std_momentum: float = 0.15,
    gripper: float = 0.75,
) -> CEM:
    """The published CEM. Defaults: the published planner's; the paper has 800 samples.

    Args:
        num_samples: Candidates per iteration.
        num_elites: Candidates that form the next Gaussian.
        num_iterations: Iterations.
        momentum: Share of the old mean in the new, of the way.
        std_momentum: Of the old deviation.
        gripper_momentum: As `momentum`, of the gripper.
        gripper_std_momentum: As `std_momentum`, of the gripper.
        gripper: Its bound in `moves`; it is searched with a deviation of 1 at first.
    """
    return CEM(
        num_samples,
        num_elites,
        num_iterations,
        spread=(1.0, 1.0, 1.0, 1 / gripper),
        momentum=(momentum, momentum, momentum, gripper_momentum),
        std_momentum=(std_momentum, std_momentum, std_momentum, gripper_std_momentum),
        unbiased=True,
        includes_mean=False,
        returns_mean=True,
    )


@dataclass(frozen=True, slots=True, eq=False)
class EndEffector:
    """A world model whose actions are 4 numbers, for B arms in known poses.

    Attributes:
        model: Takes changes of pose [..., 7], and is told poses.
        poses: At the frames seen, [B, T, 7], in units of the data.
        fixed: Numbers of the action that are not searched, and what they are instead.
        closes_at: Step of the plan from which the gripper is closed; None leaves it free.
    """

    model: TellsStates
    poses: Tensor
    fixed: Mapping[int, float] = field(default_factory=dict)
    closes_at: int | None = None

    def encode(self, frames: Tensor) -> Tensor:
        """As the model does."""
        return self.model.encode(frames)

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        """Imagines moves [B * S, H, 4] of S candidates each; `past` are changes of pose, [B * S, T - 1, 7].

        Raises:
            ValueError: If the rows are no multiple of the arms.
        """
        if len(latents) % len(self.poses):
            raise ValueError(f"{len(latents)} rows are no whole number of candidates for {len(self.poses)} arms")
        poses = self.poses.repeat_interleave(len(latents) // len(self.poses), 0).to(latents)
        return self.model.rollout(latents, past, self.changes(actions), z, states=poses)

    def changes(self, actions: Tensor) -> Tensor:
        """Changes of pose [..., H, 7] that moves [..., H, 4] stand for."""
        for number, value in self.fixed.items():
            actions = actions.index_fill(-1, torch.tensor(number, device=actions.device), value)
        gripper = actions[..., GRIPPER]
        if self.closes_at is not None:
            later = torch.arange(actions.shape[-2], device=actions.device) >= self.closes_at
            gripper = torch.where(later[:, None], CLOSED, gripper)
        return torch.cat([actions[..., WAY], torch.zeros_like(actions[..., WAY]), gripper], -1)

    def carried_out(self, actions: Tensor) -> Tensor:
        """Changes of pose [..., H, 7] for the arm: as `changes`, but a gripper that hardly moves stays."""
        changes = self.changes(actions)
        gripper = changes[..., 6:]
        return torch.cat([changes[..., :6], torch.where(gripper.abs() < FIRM, 0.0, gripper)], -1)
