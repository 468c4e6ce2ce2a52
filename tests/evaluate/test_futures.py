"""Measures of several futures, on samples whose truth is known."""

import math

import pytest
import torch
from torch import Tensor

from craik.evaluate.futures import (
    best_of,
    coverage,
    interval_coverage,
    mode_shares,
    nearest,
    rank_histogram,
    share_error,
)

MODES = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])  # left or right


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_sided(num: int, num_samples: int, right: float = 0.5, seed: int = 0) -> Tensor:
    """Left or right at random, [N, S, D]."""
    return MODES[(torch.rand(num, num_samples, generator=generator(seed)) < right).long()]


def test_best_of_two_modes_beats_the_mean_and_noise() -> None:
    """Where the mode is known but for chance; errors of other situations are of every size."""
    num, size = 200, 1 + 9 * torch.rand(200, 1, 1, generator=generator(3))
    truth, samples = size[:, 0] * two_sided(num, 1, seed=1)[:, 0], size * two_sided(num, 8)
    found = best_of(samples, torch.zeros_like(truth), truth, generator())
    assert found.deterministic.value == pytest.approx(truth.square().mean().item(), rel=1e-5)
    assert found.best.value < 0.1 * found.deterministic.value  # but for the luck of 2^-8
    assert found.over_deterministic.high < 0 and found.over_noise.high < 0
    assert found.num_samples == 8


def test_noise_does_not_beat_noise() -> None:
    truth = torch.randn(2000, 2, generator=generator(3))
    samples = torch.randn(2000, 8, 2, generator=generator(1))
    found = best_of(samples, torch.zeros_like(truth), truth, generator(2))
    assert found.over_deterministic.high < 0  # any noise that is drawn often is near once
    assert found.over_noise.low < 0 < found.over_noise.high


def test_nearest_by_hand() -> None:
    samples, truth = torch.tensor([[[0.0, 0.0], [3.0, 1.0]]]), torch.tensor([[2.0, 1.0]])
    assert nearest(samples, truth).tolist() == [0.5]


def test_coverage() -> None:
    samples, modes = two_sided(100, 10), MODES.expand(100, 2, 2)
    both = coverage(samples, modes, 0.1, generator())
    assert both.covered.value > 0.99 and both.precise.value == 1.0 and both.all_covered > 0.98
    mean = coverage(torch.zeros(100, 10, 2), modes, 0.1, generator())
    assert mean.covered.value == mean.all_covered == mean.precise.value == 0
    left = coverage(MODES[:1].expand(100, 10, 2), modes, 0.1, generator())
    assert left.covered.value == 0.5 and left.all_covered == 0 and left.precise.value == 1


def test_coverage_of_situations_with_fewer_futures_and_by_chance() -> None:
    samples = torch.tensor([[[0.0], [1.0]], [[5.0], [5.0]]])
    modes = torch.tensor([[[0.0], [1.0]], [[5.0], [torch.nan]]])
    found = coverage(samples, modes, 0.1, generator())
    assert found.covered.value == found.all_covered == found.precise.value == 1
    assert found.chance == 0  # samples of another situation are elsewhere
    assert mode_shares(samples, modes).tolist() == [[0.5, 0.5], [1, 0]]
    with pytest.raises(ValueError, match="no future to be covered"):
        coverage(samples, torch.full_like(modes, torch.nan), 0.1, generator())


def test_shares_of_modes() -> None:
    shares = mode_shares(two_sided(50, 400, right=0.1), MODES.expand(50, 2, 2))
    rare = torch.tensor([0.9, 0.1]).expand(50, 2)
    assert share_error(shares, rare).value < 0.03
    assert share_error(shares, rare.flip(1)).value == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("spread", "even"), [(1.0, True), (0.3, False), (3.0, False)])
def test_calibration_of_a_normal_future(spread: float, even: bool) -> None:
    truth = torch.randn(800, 1, generator=generator())
    samples = spread * torch.randn(800, 199, 1, generator=generator(1))
    ranks = rank_histogram(samples[:, :9], truth, generator())
    assert sum(ranks.counts) == 800 and len(ranks.counts) == 10
    assert (ranks.p_value > 0.01) == even
    assert (ranks.unevenness < 2 * ranks.expected) == even
    half, most, _ = interval_coverage(samples, truth)
    assert (half.low < 0.5 < half.high) == (most.low < 0.8 < most.high) == even
    if not even:
        assert (ranks.counts[0] + ranks.counts[-1] > 400) == (spread < 1)


def test_ranks_of_equal_samples_are_even() -> None:
    """Left or right: the truth equals half of the samples, and no rank may be favored for it."""
    ranks = rank_histogram(two_sided(2000, 3)[..., :1], two_sided(2000, 1, seed=1)[:, 0, :1], generator())
    assert ranks.p_value > 0.01
    skewed = rank_histogram(two_sided(2000, 3, right=0.8)[..., :1], two_sided(2000, 1, seed=1)[:, 0, :1], generator())
    assert skewed.p_value < 1e-6


def test_expected_unevenness_is_that_of_perfect_ranks() -> None:
    found = [
        rank_histogram(
            torch.randn(200, 4, 1, generator=generator(i)),
            torch.randn(200, 1, generator=generator(-i - 1)),
            generator(),
        )
        for i in range(40)
    ]
    mean = sum(ranks.unevenness for ranks in found) / len(found)
    assert mean == pytest.approx(found[0].expected, rel=0.15)
    assert math.isclose(found[0].expected, found[-1].expected)


def test_mistakes() -> None:
    with pytest.raises(ValueError, match=r"samples \[N, S, D\] and truth \[N, D\]; got \[3, 2, 2\], \[3, 1\]"):
        rank_histogram(torch.zeros(3, 2, 2), torch.zeros(3, 1), generator())
    with pytest.raises(ValueError, match="2 situations or more"):
        best_of(torch.zeros(1, 2, 2), torch.zeros(1, 2), torch.zeros(1, 2), generator())
