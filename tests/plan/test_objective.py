"""Costs against closed forms, and their sum."""

import pytest
import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan import (
    ActionSize,
    Box,
    CriticCost,
    Forbidden,
    LatentDistance,
    Objective,
    ReadoutCost,
    ReadoutDistance,
    Term,
    Within,
    ball,
    latent_scale,
    outside,
    rectangle,
    summed,
)
from craik.plan.region import Region

LATENTS = torch.tensor([[[[0.0, 0.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 2.0]]]])  # [B 1, S 2, H 2, D 2]
ACTIONS = torch.tensor([[[[1.0], [1.0]], [[0.0], [3.0]]]])  # [1, 2, 2, 1]
GOAL = torch.zeros(1, 2)


def first(latents: Tensor) -> Tensor:
    """A read-out of the first column, [..., 1]."""
    return latents[..., :1]


def as_is(latents: Tensor) -> Tensor:
    return latents


def test_latent_distance_at_the_end_and_along_the_way() -> None:
    assert LatentDistance(GOAL)(LATENTS, ACTIONS).tolist() == [[25, 4]]
    assert LatentDistance(GOAL, scale=5.0, over=summed)(LATENTS, ACTIONS).tolist() == [[2.5, 0.5]]


def test_latent_distance_of_patch_tokens_and_of_one_goal_for_all() -> None:
    latents = torch.randn(3, 5, 4, 6, 2)  # [B, S, H, N, D]
    goal = torch.randn(1, 6, 2)
    cost = LatentDistance(goal)(latents, ACTIONS)
    assert torch.allclose(cost[2, 3], (latents[2, 3, -1] - goal[0]).square().sum())


def test_unrelated_latents_are_one_apart_at_any_scale() -> None:
    data = 7 + 3 * torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))
    cost = LatentDistance(data[:1], latent_scale(data))(data[None, 1:, None], ACTIONS)
    others = LatentDistance(data[1:2], latent_scale(data))(data[None, 2:, None], ACTIONS)
    assert latent_scale(data) == pytest.approx(2 * 8 * 9, rel=0.03)
    assert 0.4 < float((cost.mean() + others.mean()) / 2) < 1.6
    shuffled = data[torch.randperm(4000, generator=torch.Generator().manual_seed(1))]
    assert float((data - shuffled).square().sum(-1).mean()) / latent_scale(data) == pytest.approx(1, abs=0.03)


def test_a_collapsed_encoder_has_no_scale() -> None:
    with pytest.raises(ValueError, match="collapsed"):
        latent_scale(torch.ones(10, 3))
    with pytest.raises(ValueError, match="at least 2"):
        latent_scale(torch.ones(1, 3))


@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (2,), (1, 1, 2)])
def test_a_goal_of_the_wrong_shape_is_told_what_to_do(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="encode the goal with the model that plans"):
        LatentDistance(torch.zeros(shape))(LATENTS, ACTIONS)


def test_critic_counts_steps_to_go() -> None:
    def chebyshev(latents: Tensor, goals: Tensor) -> Tensor:
        assert latents.shape == goals.shape
        return (latents - goals).abs().amax(-1)

    assert CriticCost(chebyshev, GOAL, steps=2.0)(LATENTS, ACTIONS).tolist() == [[2, 1]]


def test_readout_goals_may_leave_columns_free() -> None:
    assert ReadoutDistance(as_is, torch.tensor([1.0, 2.0]), scale=2.0)(LATENTS, ACTIONS).tolist() == [[2, 0.25]]
    assert ReadoutDistance(as_is, torch.tensor([[float("nan"), 2.0]]))(LATENTS, ACTIONS).tolist() == [[4, 0]]
    leaf = LATENTS.clone().requires_grad_()
    ReadoutDistance(as_is, torch.tensor([float("nan"), 0.0]))(leaf, ACTIONS).sum().backward()
    assert torch.isfinite(leaf.grad).all()
    with pytest.raises(UsageError, match="names 3 quantities and the read-out gives 2"):
        ReadoutDistance(as_is, torch.zeros(3))(LATENTS, ACTIONS)


def test_readout_as_a_cost() -> None:
    assert ReadoutCost(lambda latents: latents[..., 0])(LATENTS, ACTIONS).tolist() == [[1.5, 0.5]]


@pytest.mark.parametrize(
    ("region", "distances"),
    [
        (ball([0.0, 0.0], 1.0), [-1.0, 4.0, 1.0]),
        (rectangle([-1.0, -2.0], [1.0, 2.0]), [-1.0, 8**0.5, 1.0]),
        (outside(ball([0.0, 0.0], 1.0)), [1.0, -4.0, -1.0]),
    ],
)
def test_regions_are_signed_distances(region: Region, distances: list[float]) -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [2.0, 0.0]])
    assert torch.allclose(region(points), torch.tensor(distances))


def test_each_problem_may_have_a_region_of_its_own() -> None:
    region = ball(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), 1.0)
    assert region(LATENTS.expand(2, -1, -1, -1))[:, 0, 1].tolist() == [4, -1]


def test_a_region_attracts_from_outside_and_repels_from_inside() -> None:
    region = ball([3.0, 4.0], 2.0)
    assert Within(as_is, region)(LATENTS, ACTIONS).tolist() == [[0, pytest.approx(13**0.5 - 2)]]
    assert Forbidden(as_is, region)(LATENTS, ACTIONS).tolist() == [[2, 0]]
    assert Forbidden(as_is, region, margin=2.0, scale=4.0)(LATENTS, ACTIONS)[0, 1] == pytest.approx(
        (4 - 13**0.5) / 4, abs=1e-6
    )


def test_action_size_is_one_at_full_effort() -> None:
    assert ActionSize(Box.of([-1], [3]))(LATENTS, ACTIONS).tolist() == [[0, 0.625]]


def test_an_objective_is_the_sum_of_its_weighted_terms() -> None:
    objective = Objective(
        {
            "goal": Term(LatentDistance(GOAL), 0.5),
            "effort": Term(ActionSize(Box.of([-1], [3])), 4.0),
            "mine": Term(lambda latents, actions: actions[..., 0, 0]),
        }
    )
    terms = objective.terms(LATENTS, ACTIONS)
    assert {name: cost.tolist() for name, cost in terms.items()} == {
        "goal": [[12.5, 2.0]],
        "effort": [[0.0, 2.5]],
        "mine": [[1.0, 0.0]],
    }
    assert objective(LATENTS, ACTIONS).tolist() == [[13.5, 4.5]]


def test_a_cost_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match="the cost 'mine' must give"):
        Objective({"mine": Term(lambda latents, actions: actions.sum())})(LATENTS, ACTIONS)
