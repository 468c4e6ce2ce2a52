"""How a state moves when an action is taken: what a model that is told states tells itself while it imagines."""

import torch
from torch import Tensor, nn

POSE = 7  # position x, y, z; Euler angles about the fixed axes x, y, z [rad]; gripper, 0 to 1


class PoseMotion(nn.Module):
    """The pose of an end effector after changes of pose, see `moved`; several actions are taken in turn."""

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """States [..., 7] and actions [..., n * 7] -> states [..., 7]."""
        for action in actions.unflatten(-1, (-1, POSE)).unbind(-2):
            states = moved(states, action)
        return states


class LinearMotion(nn.Module):
    """s' = s + weight [a, s, 1], fitted to data: deltas and set points alike. Several actions are taken in turn.

    Args:
        weight: [K, A + K + 1], in units of the data.
    """

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """States [..., K] and actions [..., n * A] -> states [..., K]."""
        size = self.weight.shape[1] - states.shape[-1] - 1
        for action in actions.unflatten(-1, (-1, size)).unbind(-2):
            known = torch.cat([action, states, torch.ones_like(states[..., :1])], -1)
            states = states + known @ self.weight.to(states).T
        return states


def fit_linear_motion(before: Tensor, actions: Tensor, after: Tensor, penalty: float = 1e-3) -> Tensor:
    """The weight of a `LinearMotion`, float32 [K, A + K + 1], by ridge regression on standardized columns.

    Args:
        before: States [M, K].
        actions: Taken there, [M, A].
        after: States that followed, [M, K].
        penalty: On weights of standardized columns, against a mean squared error.
    """
    x = torch.cat([actions, before], -1).double()
    mean, std = x.mean(0), x.std(0, correction=0).clamp(min=1e-6)
    columns, change = (x - mean) / std, (after - before).double()
    gram = columns.T @ columns / len(x) + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, columns.T @ (change - change.mean(0)) / len(x)).T / std  # [K, A + K]
    return torch.cat([weight, (change.mean(0) - weight @ mean)[:, None]], -1).float()


def moved(pose: Tensor, action: Tensor) -> Tensor:
    """Pose [..., 7] after a change of pose [..., 7]: positions add up, rotations go on, the gripper stays in 0 to 1.

    Source: Assran et al. 2025 (arXiv 2506.09985), section 3.3, and the published planner.
    """
    turned = as_angles(as_matrix(action[..., 3:6]) @ as_matrix(pose[..., 3:6]))
    gripper = (pose[..., 6:] + action[..., 6:]).clamp(0, 1)
    return torch.cat([pose[..., :3] + action[..., :3], turned, gripper], -1)


def change_of_pose(before: Tensor, after: Tensor) -> Tensor:
    """The action [..., 7] that leads from one pose [..., 7] to the other: what V-JEPA 2-AC is told as an action."""
    turn = as_matrix(after[..., 3:6]) @ as_matrix(before[..., 3:6]).transpose(-2, -1)
    return torch.cat([after[..., :3] - before[..., :3], as_angles(turn), after[..., 6:] - before[..., 6:]], -1)


def as_matrix(angles: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of angles about the fixed axes x, then y, then z [..., 3] [rad]."""
    (sx, sy, sz), (cx, cy, cz) = angles.sin().unbind(-1), angles.cos().unbind(-1)
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def as_angles(matrix: Tensor) -> Tensor:
    """The inverse of `as_matrix`, y in -pi / 2 to pi / 2."""
    x = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 2])
    y = torch.atan2(-matrix[..., 2, 0], torch.hypot(matrix[..., 0, 0], matrix[..., 1, 0]))
    z = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return torch.stack([x, y, z], -1)
