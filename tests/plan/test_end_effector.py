"""The search of V-JEPA 2-AC: what each number of an action has for itself, and what an arm does with a plan."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from craik.errors import UsageError
from craik.nn.motion import moved
from craik.plan import CEM, Box, Controller, LatentDistance
from craik.plan.end_effector import EndEffector, moves, search

START = torch.tensor([[[0.4, 0.0, 0.3, 0.1, 0.2, 0.3, 0.5]]])


class Places:
    """A world whose latent is where the hand is, and how far the gripper is closed."""

    def __init__(self) -> None:
        self.told: Tensor | None = None

    def encode(self, frames: Tensor) -> Tensor:
        return frames

    def rollout(
        self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None, states: Tensor | None = None
    ) -> Tensor:
        assert states is not None
        self.told, pose, found = states, states[:, -1], []
        for action in actions.unbind(1):
            pose = moved(pose, action)
            found.append(pose[:, [0, 1, 2, 6]])
        return torch.stack(found, 1)


def watched(solver: CEM, bounds: Box, evaluate: Callable[[Tensor], Tensor], steps: int = 2) -> list[Tensor]:
    """All candidates [S, H, A] of each iteration."""
    seen: list[Tensor] = []
    start = torch.zeros(1, steps, bounds.size)
    solver(lambda a: (seen.append(a[0]), evaluate(a))[1], bounds, start, torch.Generator().manual_seed(0))
    return seen


def nothing(actions: Tensor) -> Tensor:
    """All plans cost the same."""
    return actions.new_zeros(actions.shape[:2])


def test_each_number_has_its_own_spread() -> None:
    wide = Box.of([-100.0, -100.0], [100.0, 100.0])
    (first,) = watched(CEM(2000, 10, 1, spread=(0.01, 0.05), includes_mean=False), wide, nothing)
    assert first.std((0, 1)).tolist() == pytest.approx([1.0, 5.0], rel=0.05)
    with pytest.raises(UsageError, match="3 settings for actions of 2 numbers"):
        watched(CEM(20, 10, 1, spread=(1.0, 1.0, 1.0)), wide, nothing)


def test_a_block_has_the_settings_of_each_action_inside() -> None:
    block = Box.of([-100.0, -100.0], [100.0, 100.0]).block(2)
    (first,) = watched(CEM(2000, 10, 1, spread=(0.01, 0.05), includes_mean=False), block, nothing)
    assert first.std((0, 1)).tolist() == pytest.approx([1.0, 5.0, 1.0, 5.0], rel=0.05)


def test_each_number_has_its_own_momentum() -> None:
    """The first keeps its mean and lets its deviation go, the second the other way round."""
    box = Box.of([-9.0, -9.0], [9.0, 9.0])
    solver = CEM(64, 4, 1, momentum=(1.0, 0.0), std_momentum=(0.0, 1.0), includes_mean=False)
    twice = CEM(4000, 4, 2, momentum=(1.0, 0.0), std_momentum=(0.0, 1.0), includes_mean=False)

    def near(actions: Tensor) -> Tensor:
        return (actions - 2).square().sum((2, 3))

    start = torch.zeros(1, 2, 2)
    mean = solver(near, box, start, torch.Generator().manual_seed(0)).carry[0, 0]
    assert (mean[:, 0] == 0).all() and (mean[:, 1] > 0.1).all()
    second = watched(twice, box, near)[1]
    assert second[..., 0].std() < 2 and second[..., 1].std() > 5


def test_the_unbiased_deviation_is_that_of_torch() -> None:
    box = Box.of([-100.0], [100.0])
    for unbiased in (False, True):
        first, second = watched(CEM(8, 8, 2, spread=0.01, unbiased=unbiased, includes_mean=False), box, nothing, 1)
        wanted = first.std(0, correction=int(unbiased))
        noise = torch.randn(1, 8, 1, 1, generator=again(8))[0]
        assert torch.allclose(second, first.mean(0) + wanted * noise, atol=1e-5)


def again(num: int) -> torch.Generator:
    """A generator after its first draw of so many candidates."""
    rng = torch.Generator().manual_seed(0)
    torch.randn(1, num, 1, 1, generator=rng)
    return rng


def test_the_mean_is_a_candidate_or_not() -> None:
    box = Box.of([-1.0], [1.0])
    assert (watched(CEM(8, 2, 1), box, nothing)[0][0] == 0).all()
    assert (watched(CEM(8, 2, 1, includes_mean=False), box, nothing)[0][0] != 0).all()


def test_absolute_differences() -> None:
    cost = LatentDistance(torch.zeros(1, 2, 3), scale=6, power=1)
    assert cost(torch.full((1, 1, 1, 2, 3), -2.0), torch.zeros(1, 1, 1, 1)).item() == pytest.approx(2.0)


def test_a_hand_gets_where_it_can() -> None:
    model, goal = Places(), torch.tensor([[0.43, -0.04, 0.34, 0.5]])
    arm = EndEffector(model, START)
    controller = Controller(arm, search(200, 10, 8), moves(0.05), horizon=1, rng=torch.Generator().manual_seed(0))
    plan = controller.act(goal.unsqueeze(1), torch.zeros(1, 0, 7), LatentDistance(goal, scale=4, power=1))
    change = arm.carried_out(plan)
    assert torch.allclose(moved(START[:, 0], change[:, 0])[:, :3], goal[:, :3], atol=0.01)
    assert (change[..., 3:6] == 0).all()
    assert model.told is not None and torch.equal(model.told[0], START[0])


def test_what_is_not_searched() -> None:
    arm = EndEffector(Places(), START, fixed={0: 0.01}, closes_at=1)
    changes = arm.changes(torch.full((1, 3, 4), 0.2))
    assert changes[0, :, 0].tolist() == pytest.approx([0.01] * 3)
    assert changes[0, :, 6].tolist() == pytest.approx([0.2, 1.0, 1.0])
    assert arm.carried_out(torch.full((1, 3, 4), 0.2))[0, :, 6].tolist() == [0.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="no whole number"):
        EndEffector(Places(), START.expand(2, 1, 7)).rollout(
            torch.zeros(3, 1, 4), torch.zeros(3, 0, 7), torch.zeros(3, 1, 4)
        )
