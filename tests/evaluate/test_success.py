"""Shares of success: against published numbers, and against what chance really does."""

import numpy as np
import pytest

from craik.evaluate.success import bands, paired, sign_test, wilson


def test_wilson_is_the_published_interval() -> None:
    found = wilson(81, 263)  # Newcombe 1998, table I
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert wilson(0, 20).low == 0 and wilson(0, 20).high == pytest.approx(0.1611, abs=5e-5)
    assert wilson(20, 20).high == 1
    with pytest.raises(ValueError, match="21 successes of 20"):
        wilson(21, 20)


@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_wilson_covers(share: float) -> None:
    rng = np.random.default_rng(0)
    found = [wilson(int(k), 50) for k in rng.binomial(50, share, 2000)]
    assert 0.92 < np.mean([f.low <= share <= f.high for f in found]) < 0.99


def test_paired_difference_covers() -> None:
    """Two policies that share most of their luck."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(1500):
        luck = rng.uniform(size=60)
        inside.append(paired(luck < 0.8, luck + rng.normal(0, 0.1, 60) < 0.65).difference)
    truth = 0.8 - np.mean(rng.uniform(size=400_000) + rng.normal(0, 0.1, 400_000) < 0.65)
    assert 0.93 < np.mean([d.low <= truth <= d.high for d in inside]) <= 0.995


def test_pairing_is_worth_it() -> None:
    first = np.array([True] * 40 + [False] * 20)
    second = np.array([True] * 30 + [False] * 30)
    together, apart = paired(first, second), paired(first, second[::-1])
    assert (together.both, together.only_first, together.only_second, together.neither) == (30, 10, 0, 20)
    assert together.difference.value == apart.difference.value
    assert together.difference.high - together.difference.low < apart.difference.high - apart.difference.low
    assert together.p_value == pytest.approx(2 / 2**10) and apart.p_value > 0.05
    assert "only a reached 10, only b 0; p = 0.002" in together.sentence("a", "b")
    with pytest.raises(ValueError, match="not of the same episodes"):
        paired(first, second[:5])


def test_equal_policies_are_not_told_apart() -> None:
    same = np.array([True, False] * 10)
    found = paired(same, same)
    assert found.p_value == 1 and found.difference.low < 0 < found.difference.high
    assert sign_test(0, 0) == 1 and sign_test(5, 5) == 1 and sign_test(0, 6) == pytest.approx(2 / 64)


def test_bands_hold_all_episodes_from_near_to_far() -> None:
    distance = np.random.default_rng(0).permutation(np.arange(23.0))
    found = bands(distance < 11, distance)
    assert [b.num for b in found] == [6, 6, 6, 5]
    assert [b.low for b in found] == [0, 6, 12, 18] and found[-1].high == 22
    assert [b.share.value for b in found] == pytest.approx([1, 5 / 6, 0, 0])
    assert len(bands(distance[:7] < 11, distance[:7])) == 1
