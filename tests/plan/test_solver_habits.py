"""What sets each solver apart."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from craik.plan import CEM, ICEM, MPPI, CategoricalCEM, Gradient
from craik.plan.noise import colored_noise
from tests.plan.worlds import BOX, GRID, generator, quadratic


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("horizon", [64, 63])
def test_noise_has_the_slope_it_claims_and_unit_variance(beta: float, horizon: int) -> None:
    noise = colored_noise((4000, horizon, 2), beta, generator())
    assert noise.shape == (4000, horizon, 2)
    variance = noise.square().mean((0, 2))
    assert torch.allclose(variance, torch.ones(horizon), atol=0.1)
    power = torch.fft.rfft(noise, dim=1).abs().square().mean((0, 2))[1:-1].log()
    frequency = torch.fft.rfftfreq(horizon)[1:-1].log()
    f = frequency - frequency.mean()
    slope = float((f * power).sum() / f.square().sum())
    assert slope == pytest.approx(-beta, abs=0.05)


def test_noise_of_one_step_is_white_and_sequences_are_independent() -> None:
    assert float(colored_noise((5000, 1, 1), 2.0, generator()).std()) == pytest.approx(1, abs=0.05)
    noise = colored_noise((5000, 8, 2), 2.0, generator())
    assert abs(float((noise[:, :, 0] * noise[:, :, 1]).mean())) < 0.05
    assert abs(float((noise[1:] * noise[:-1]).mean())) < 0.05
    assert float((noise[:, 1:] * noise[:, :-1]).mean()) > 0.5, "neighboring steps agree"


def test_mppi_temperature_divides_the_gap_in_median_gaps() -> None:
    cost = torch.tensor([[5.0, 6.0, 7.0, 9.0, 1e9]])  # gaps 0, 1, 2, 4, huge: the median is 2
    for temperature in (0.1, 1.0, 10.0):
        expected = torch.exp(-torch.tensor([0.0, 0.5, 1.0, 2.0]) / temperature)
        assert torch.allclose(MPPI(temperature=temperature).weights(cost)[0, :4], expected, atol=1e-6)
    assert float(MPPI(temperature=1.0).weights(cost)[0, 4]) == 0


def test_mppi_weights_know_no_scale_no_offset_and_no_neighbor() -> None:
    cost = torch.rand(2, 50, generator=generator(), dtype=torch.float64)
    weights = MPPI().weights(cost)
    assert torch.allclose(MPPI().weights(1000 * cost - 7), weights)
    assert torch.allclose(MPPI().weights(torch.stack([cost[0], 100 * cost[1]])), weights)
    infinite = cost.masked_fill(cost == cost.amax(1, keepdim=True), torch.inf)
    assert ((MPPI().weights(infinite) == 0) == torch.isinf(infinite)).all()
    assert (MPPI().weights(torch.full((1, 3), torch.inf)) == 0).all()
    assert (MPPI().weights(torch.full((1, 3), 4.0)) == 1).all()


def test_mppi_of_a_quadratic_is_the_gaussian_product() -> None:
    """With weights exp(-gap / (t x median)) of Gaussian samples, the mean has a closed form."""
    seen: list[Tensor] = []
    offset = torch.tensor([[[0.2, -0.1]]])

    def watch(actions: Tensor) -> Tensor:
        seen.append(quadratic(offset)(actions))
        return seen[-1]

    plan = MPPI(num_samples=200_000, num_iterations=1, temperature=1.0, spread=0.1)(
        watch, BOX, torch.zeros(1, 1, 2), generator()
    )
    median = float((seen[0] - seen[0].min()).median())
    share = 1 / (1 + median / (2 * 0.1**2))  # precision of the weights over the total
    assert torch.allclose(plan.actions, share * offset, atol=2e-3)


def test_returning_the_mean_gives_the_mean_at_its_own_cost() -> None:
    goals = torch.rand(2, 4, 2, generator=generator()) - 0.5
    for solver in (CEM(returns_mean=True), ICEM(returns_mean=True), MPPI()):
        plan = solver(quadratic(goals), BOX, torch.zeros(2, 4, 2), generator())
        assert torch.equal(plan.actions, plan.carry[:, 0])
        assert torch.allclose(quadratic(goals)(plan.actions.unsqueeze(1))[:, 0], plan.cost)


def test_icem_population_decays_keeps_elites_and_carries_them() -> None:
    goals = torch.rand(1, 4, 2, generator=generator()) - 0.5
    seen: list[Tensor] = []

    def watch(actions: Tensor) -> Tensor:
        seen.append(actions.clone())
        return quadratic(goals)(actions)

    solver = ICEM(num_samples=100, num_elites=10, num_iterations=8, keep_fraction=0.3)
    plan = solver(watch, BOX, torch.zeros(1, 4, 2), generator())
    drawn = [max(int(100 / 1.25**i), 20) for i in range(8)]
    assert [a.shape[1] for a in seen] == [1 + drawn[0]] + [1 + 3 + num for num in drawn[1:]]
    for before, after in pairwise(seen):
        best = before[0, quadratic(goals)(before)[0].argsort()[:3]]
        assert torch.equal(after[0, 1:4], best)
    assert plan.carry.shape[1] == 1 + 3
    again = solver(watch, BOX, plan.carry, generator(1))
    assert torch.equal(seen[8][0, 1:4], plan.carry[0, 1:])
    assert float(again.cost) <= float(plan.cost)


def test_colored_noise_explores_farther_than_white() -> None:
    """A goal that only constant actions reach, 40 steps away: one iteration of each."""
    far = torch.tensor([[30.0, 0.0]])

    def evaluate(actions: Tensor) -> Tensor:
        return (actions.sum(2) - far.unsqueeze(1)).norm(dim=-1)

    cost = {
        beta: float(ICEM(num_iterations=1, beta=beta)(evaluate, BOX, torch.zeros(1, 40, 2), generator()).cost)
        for beta in (0.0, 2.0)
    }
    assert cost[2.0] < 15 < cost[0.0]


def test_momentum_and_floor_hold_the_gaussian_back() -> None:
    goals = torch.full((1, 2, 2), 0.5)
    for solver, mean in ((CEM(num_iterations=1, momentum=1.0), 0.0), (CEM(num_iterations=20), 0.5)):
        plan = solver(quadratic(goals), BOX, torch.zeros(1, 2, 2), generator())
        assert torch.allclose(plan.carry[:, 0], torch.full((1, 2, 2), mean), atol=0.02)
    seen: list[Tensor] = []
    CEM(num_iterations=20, min_spread=0.3)(
        lambda a: (seen.append(a), quadratic(goals)(a))[1], BOX, torch.zeros(1, 2, 2), generator()
    )
    assert float(seen[-1].std(1).mean()) == pytest.approx(0.3, abs=0.05)


def test_gradient_needs_a_gradient() -> None:
    with pytest.raises(ValueError, match="differentiable"):
        Gradient()(lambda a: quadratic(torch.zeros(1, 3, 2))(a.detach()), BOX, torch.zeros(1, 3, 2), generator())


def test_gradient_works_where_the_caller_switched_it_off() -> None:
    goals = torch.rand(1, 3, 2, generator=generator()) - 0.5
    with torch.no_grad():
        plan = Gradient(num_iterations=100)(quadratic(goals), BOX, torch.zeros(1, 3, 2), generator())
    assert float(plan.cost) < 1e-4
    assert not plan.actions.requires_grad
    assert not plan.cost.requires_grad


def test_gradient_restarts_find_the_deeper_of_two_valleys() -> None:
    """Valleys at -0.5 and +0.8, the second deeper, a ridge at 0.1 right of the start."""

    def two_valleys(actions: Tensor) -> Tensor:
        x = actions[..., 0, 0]
        return -torch.exp(-20 * (x + 0.5).square()) - 2 * torch.exp(-20 * (x - 0.8).square())

    begin = torch.full((1, 1, 2), -0.2)
    costs = [
        float(Gradient(num_restarts=n, num_iterations=80, spread=0.8)(two_valleys, BOX, begin, generator()).cost)
        for n in (1, 32)
    ]
    assert costs[0] == pytest.approx(-1, abs=0.01)
    assert costs[1] == pytest.approx(-2, abs=0.01)


def test_categorical_noise_follows_the_probabilities() -> None:
    table = torch.tensor([[[0.7, 0.2, 0.1, 0.0]]])
    sampled = CategoricalCEM(num_samples=20_000, explore=0.0).sample(table, GRID, generator())
    assert torch.allclose(sampled.mean(1), table, atol=0.015)
    explored = CategoricalCEM(num_samples=20_000, explore=0.4).sample(table, GRID, generator())
    assert torch.allclose(explored.mean(1), 0.6 * table + 0.1, atol=0.015)
