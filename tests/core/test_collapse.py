"""Collapse measures against closed forms."""

import math

import pytest
import torch

from craik.core.collapse import alpha_req, eigenspectrum, entropy_rank, spectrum, variance_share
from tests.core.test_regularize import white


def with_deviations(*deviations: float, num: int = 200) -> torch.Tensor:
    return white(num, len(deviations)) * torch.tensor(deviations, dtype=torch.float64)


def test_white_samples_use_every_direction() -> None:
    found = spectrum(white(300, 6))
    assert found.effective_rank == pytest.approx(6, rel=1e-4)
    assert found.rankme == pytest.approx(6, rel=1e-4)
    assert found.participation_ratio == pytest.approx(6)
    assert found.std_min == pytest.approx(found.std_median) == pytest.approx(math.sqrt(299 / 300))
    assert found.alpha_req == pytest.approx(0, abs=1e-6)


def test_unequal_deviations() -> None:
    """Singular values 3, 1: shares 3/4, 1/4; eigenvalues 9, 1."""
    found = spectrum(with_deviations(3.0, 1.0))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found.effective_rank == pytest.approx(math.exp(entropy), rel=1e-4)
    assert found.participation_ratio == pytest.approx(100 / 82)
    assert eigenspectrum(with_deviations(1.0, 3.0)).tolist() == pytest.approx([9, 1])
    three = spectrum(with_deviations(3.0, 1.0, 2.0))
    assert (three.std_min, three.std_median) == pytest.approx((math.sqrt(199 / 200), 2 * math.sqrt(199 / 200)))


def test_one_direction_and_no_direction() -> None:
    line = torch.randn(100, 1) @ torch.randn(1, 8)
    found = spectrum(line)
    assert found.effective_rank == pytest.approx(1, abs=1e-2) and found.participation_ratio == pytest.approx(1)
    dead = spectrum(torch.zeros(100, 8))
    assert (dead.effective_rank, dead.rankme, dead.std_median, dead.participation_ratio) == (1, 1, 0, 0)
    assert dead.alpha_req == math.inf
    constant = spectrum(torch.ones(100, 8))
    assert constant.effective_rank == 1 and constant.std_median == 0


def test_rank_measures_are_blind_to_scale_and_shift() -> None:
    z = with_deviations(3.0, 2.0, 1.0, 0.5)
    one, other = spectrum(z), spectrum(1000 * z)
    for name in ("effective_rank", "rankme", "participation_ratio", "alpha_req"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-5), name
    assert other.std_median == pytest.approx(1000 * one.std_median)
    assert spectrum(z + 50).effective_rank == pytest.approx(one.effective_rank, rel=1e-5)
    assert spectrum(z + 50).rankme < one.rankme  # not centered: the mean is a direction of its own


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_req_of_a_power_law(alpha: float) -> None:
    assert alpha_req(torch.arange(1, 41, dtype=torch.float64) ** -alpha) == pytest.approx(alpha)


def test_entropy_rank_of_equal_values() -> None:
    assert entropy_rank(torch.full((7,), 3.0, dtype=torch.float64)) == pytest.approx(7, rel=1e-5)
    assert entropy_rank(torch.tensor([5.0, 0.0, 0.0])) == pytest.approx(1, abs=1e-4)


def test_variance_shares() -> None:
    sample, place = torch.randn(50, 1, 4), torch.randn(1, 9, 4)
    only_sample = variance_share(sample.expand(-1, 9, -1))
    assert (only_sample.between_samples, only_sample.by_position) == pytest.approx((1, 0), abs=1e-9)
    only_place = variance_share(place.expand(50, -1, -1))
    assert (only_place.between_samples, only_place.by_position) == pytest.approx((0, 1), abs=1e-9)
    both = variance_share(sample + place)  # independent: the shares add up
    assert both.between_samples + both.by_position == pytest.approx(1)
    neither = variance_share(torch.randn(200, 100, 4))
    assert neither.between_samples < 0.02 and neither.by_position < 0.02
    assert variance_share(torch.ones(3, 2, 4)).by_position == 0
