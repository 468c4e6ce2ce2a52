"""The metric of steps is a metric whatever its weights, and lives on standardized features."""

import pytest
import torch

from craik.nn.metric import LatentMetric
from craik.nn.standard import FeatureScale


def test_it_is_a_metric() -> None:
    torch.manual_seed(0)
    metric = LatentMetric(5, unit=3.0, hidden=16, groups=4, group=3)
    a, b, c = torch.randn(3, 200, 5).unbind(0)
    with torch.no_grad():
        ab, ba, bc, ac = metric(a, b), metric(b, a), metric(b, c), metric(a, c)
        assert float(metric(a, a).abs().max()) == 0
        assert bool((ab > 0).all())
        torch.testing.assert_close(ab, ba)
        assert bool((ac <= ab + bc + 1e-5).all())
        torch.testing.assert_close(metric(a[:, None], b), metric(a[:, None].expand(-1, 200, -1), b.expand(200, -1, -1)))


def test_the_unit_counts_steps() -> None:
    torch.manual_seed(0)
    one = LatentMetric(5, unit=1.0, hidden=16)
    four = LatentMetric(5, unit=4.0, hidden=16)
    four.load_state_dict(one.state_dict())
    a, b = torch.randn(2, 9, 5)
    torch.testing.assert_close(four(a, b), 4 * one(a, b))


def test_features_are_standardized_one_by_one() -> None:
    scale = FeatureScale(3)
    sample = torch.randn(500, 3) * torch.tensor([1.0, 10.0, 0.1]) + 5
    torch.testing.assert_close(scale(sample), sample)  # as they are until it is told
    scale.set(sample)
    seen = scale(sample)
    torch.testing.assert_close(seen.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(0), torch.ones(3), atol=1e-4, rtol=0)


def test_a_feature_that_never_varies_is_not_blown_up() -> None:
    scale = FeatureScale(2)
    scale.set(torch.stack([torch.randn(50), torch.ones(50)], 1))
    assert float(scale(torch.tensor([0.0, 1.001]))[1].abs()) < 2


@pytest.mark.parametrize("sample", [torch.zeros(1, 2), torch.full((4, 2), float("nan"))])
def test_no_statistics_of_nothing(sample: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="2 or more finite latents"):
        FeatureScale(2).set(sample)
