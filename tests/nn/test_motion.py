"""How states move: poses by arithmetic, others by a fit."""

import math

import torch

from craik.nn.motion import (
    LinearMotion,
    PoseMotion,
    as_angles,
    as_matrix,
    change_of_pose,
    fit_linear_motion,
    moved,
)


def poses(num: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.cat([torch.randn(num, 6, generator=rng), torch.rand(num, 1, generator=rng)], -1).double()


def test_rotations_about_one_axis() -> None:
    quarter = torch.tensor([0.0, 0.0, math.pi / 2])
    assert torch.allclose(as_matrix(quarter) @ torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0]), atol=1e-6)
    first_x_then_z = torch.tensor([math.pi / 2, 0.0, math.pi / 2])  # about axes that stay where they are
    assert torch.allclose(as_matrix(first_x_then_z) @ torch.tensor([0, 1.0, 0]), torch.tensor([0, 0, 1.0]), atol=1e-6)


def test_angles_come_back() -> None:
    angles = poses(50)[:, 3:6].clamp(-1.5, 1.5)
    assert torch.allclose(as_angles(as_matrix(angles)), angles)


def test_a_change_leads_from_one_pose_to_the_other() -> None:
    before, after = poses(20), poses(20, seed=1)
    there = moved(before, change_of_pose(before, after))
    assert torch.allclose(there[:, :3], after[:, :3])
    assert torch.allclose(as_matrix(there[:, 3:6]), as_matrix(after[:, 3:6]))
    assert torch.allclose(there[:, 6], after[:, 6])


def test_the_gripper_stays_between_open_and_closed() -> None:
    action = torch.zeros(2, 7)
    action[:, 6] = torch.tensor([2.0, -2.0])
    assert moved(torch.full((2, 7), 0.5), action)[:, 6].tolist() == [1.0, 0.0]


def test_several_actions_are_taken_in_turn() -> None:
    start, actions = poses(3), poses(6, seed=2).unflatten(0, (3, 2))
    one_by_one = moved(moved(start, actions[:, 0]), actions[:, 1])
    assert torch.equal(PoseMotion()(start, actions.flatten(1)), one_by_one)
    weight = torch.randn(4, 2 + 4 + 1, generator=torch.Generator().manual_seed(0))
    state, move = torch.randn(3, 4), torch.randn(3, 2, 2)
    motion = LinearMotion(weight)
    assert torch.allclose(motion(state, move.flatten(1)), motion(motion(state, move[:, 0]), move[:, 1]))


def test_fit_finds_deltas_and_set_points() -> None:
    """One number of the state moves by the action, the other becomes it."""
    rng = torch.Generator().manual_seed(0)
    before, actions = torch.randn(400, 2, generator=rng), torch.randn(400, 2, generator=rng)
    after = torch.stack([before[:, 0] + 0.1 * actions[:, 0], actions[:, 1] + 3], -1)
    motion = LinearMotion(fit_linear_motion(before, actions, after))
    assert torch.allclose(motion(before, actions), after, atol=0.02)


def test_what_is_not_known_stays_so() -> None:
    nowhere = torch.full((1, 7), torch.nan)
    assert PoseMotion()(nowhere, torch.zeros(1, 7)).isnan().all()
    assert LinearMotion(torch.zeros(7, 15))(nowhere, torch.zeros(1, 7)).isnan().all()
