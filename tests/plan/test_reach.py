"""The false alarm rate is what was asked."""

import pytest
import torch

from craik.errors import UsageError
from craik.plan import CEM, Controller, LatentDistance, calibrate
from tests.plan.worlds import BOX, Cells, generator


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("num", [99, 150])
def test_rate_over_many_calibrations(rate: float, num: int) -> None:
    """Costs of any distribution: here heavy-tailed."""
    costs = torch.randn(2000, num + 50, generator=generator()).exp().square()
    alarms = torch.stack([calibrate(row[:num], rate).cannot_reach(row[num:]) for row in costs])
    measured = float(alarms.float().mean())
    assert rate - 1 / (num + 1) - 0.003 <= measured <= rate + 0.003


def test_threshold_is_the_conformal_quantile() -> None:
    assert calibrate(torch.arange(1.0, 20), 0.05).threshold == 19
    assert calibrate(torch.arange(1.0, 40), 0.05).threshold == 38
    assert calibrate(torch.arange(1.0, 100).flip(0), 0.1).threshold == 90


def test_rarity_is_a_p_value() -> None:
    reach = calibrate(torch.arange(1.0, 100), 0.05)
    assert reach.rarity(torch.tensor([0.0, 50.0, 1000.0, float("nan")])).tolist() == pytest.approx(
        [1.0, 0.51, 0.01, 0.01]
    )
    assert torch.equal(reach.rarity(torch.arange(0.5, 120)) <= 0.05 + 1e-9, reach.cannot_reach(torch.arange(0.5, 120)))


def test_sentences_and_costs_that_are_not_finite() -> None:
    reach = calibrate(torch.rand(200, generator=generator()), 0.05)
    assert reach.sentence(5.0).startswith("Cannot reach this goal: planned cost 5 >")
    assert "5 % false alarms, calibrated on 200 reachable goals" in reach.sentence(5.0)
    assert reach.sentence(0.1).startswith("No sign")
    assert reach.cannot_reach(torch.tensor([float("nan"), float("inf"), 0.0])).tolist() == [True, True, False]


def test_too_few_pairs_or_a_rate_that_is_none() -> None:
    with pytest.raises(UsageError, match="at least 99 reachable pairs"):
        calibrate(torch.rand(98), 0.01)
    calibrate(torch.rand(99), 0.01)
    with pytest.raises(UsageError, match="between 0 and 1"):
        calibrate(torch.rand(98), 0.0)


def test_a_walled_room_is_recognized() -> None:
    """Goals in the same room calibrate; goals behind a wall without a door raise the alarm."""
    world = Cells(["......#......"] * 6)
    rng = generator()

    def places(num: int, column: float) -> torch.Tensor:
        return torch.rand(num, 2, generator=rng) * 5 + torch.tensor([0.0, column])

    def planned_cost(start: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        controller = Controller(world, CEM(num_samples=60, num_elites=8, num_iterations=4), BOX, 8, rng)
        controller.act(start.unsqueeze(1), torch.zeros(len(start), 0, 2), LatentDistance(goal))
        return controller.plan.cost

    reach = calibrate(planned_cost(places(60, 0), places(60, 0)), 0.05)
    assert float(reach.cannot_reach(planned_cost(places(60, 0), places(60, 0))).float().mean()) < 0.15
    assert reach.cannot_reach(planned_cost(places(20, 0), places(20, 7))).all()
