import math

import pytest
import torch

from craik.evaluate import bootstrap
from craik.evaluate.bootstrap import Interval, difference_interval, mean_interval, r2_interval


def test_width_is_that_of_the_binomial() -> None:
    correct = torch.arange(1000) < 700
    found = mean_interval(correct)
    half = 1.96 * math.sqrt(0.7 * 0.3 / 1000)
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - half, abs=0.004)
    assert found.high == pytest.approx(0.7 + half, abs=0.004)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    g = torch.Generator().manual_seed(0)
    hits = 0
    for trial in range(120):
        found = mean_interval(torch.rand(200, generator=g) < 0.6, resamples=300, seed=trial)
        hits += found.low <= 0.6 <= found.high
    assert 106 <= hits <= 119


def test_paired_differences_are_narrower() -> None:
    g = torch.Generator().manual_seed(0)
    a = (torch.rand(2000, generator=g) < 0.5).float()
    b = torch.where(torch.rand(2000, generator=g) < 0.05, torch.zeros(2000), a)  # wrong a little more often
    found = difference_interval(a, b)
    assert 0 < found.low < found.value < found.high
    alone = mean_interval(a)
    assert found.high - found.low < (alone.high - alone.low) / 2
    assert difference_interval(a, a) == Interval(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="shape"):
        difference_interval(a, b[:5])


def test_r2_interval_holds_r2() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.randn(1000, generator=g)
    predicted = y + 0.5 * torch.randn(1000, generator=g)
    found = r2_interval(predicted, y)
    exact = 1 - float((predicted - y).square().sum() / (y - y.mean()).square().sum())
    assert found.value == pytest.approx(exact, abs=1e-5)
    assert found.low < 0.75 < found.high
    assert 0.02 < found.high - found.low < 0.12


def test_seeded_and_independent_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    correct = torch.rand(100, generator=torch.Generator().manual_seed(0))
    assert mean_interval(correct, seed=1) == mean_interval(correct, seed=1)
    assert mean_interval(correct, seed=1) != mean_interval(correct, seed=2)
    monkeypatch.setattr(bootstrap, "MAX_DRAWS", 1000)
    assert mean_interval(correct, resamples=1000).low == pytest.approx(float(correct.mean()) - 1.96 * 0.029, abs=0.02)


def test_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="no test sample"):
        mean_interval(torch.empty(0))


def test_figures_read_well() -> None:
    assert Interval(0.6123, 0.6031, 0.6214).percent() == "61.2 (60.3-62.1)"
    assert Interval(0.2, -0.01, 0.3).signed_percent() == "+20.0 (-1.0 to +30.0)"
