import math

import pytest
import torch
import torch.nn.functional as F

from craik.evaluate import axes as axes_module
from craik.evaluate.axes import PrincipalAxes, moments
from craik.evaluate.linear import few_labels, fit_linear, minimize, stratified_split


def correlated(num: int, width: int, classes: int = 3, seed: int = 0):
    """Badly conditioned features with large means, one of them constant, and labels that they half explain."""
    g = torch.Generator().manual_seed(seed)
    latent = torch.randn(num, width, generator=g)
    x = (latent * torch.logspace(0, -3, width)) @ torch.randn(width, width, generator=g) + 5
    x[:, 0] = 7.0
    scores = latent @ torch.randn(width, classes, generator=g) + torch.randn(num, classes, generator=g)
    return x, scores.argmax(1)


def slope(x, y, weights, l2: float):
    """Gradient of the objective as it is written in the docstring, float64."""
    w = weights.double().requires_grad_()
    loss = F.cross_entropy(x.double() @ w[:-1] + w[-1], y) + l2 / 2 * w[:-1].square().sum()
    loss.backward()
    return w.grad


@pytest.mark.parametrize(("num", "width"), [(600, 20), (30, 80)])
@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
def test_gradient_vanishes_at_the_fit(num: int, width: int, l2: float) -> None:
    x, y = correlated(num, width)
    axes = PrincipalAxes.of(x)
    z = axes.standardize(x)
    start = torch.zeros(width + 1, 3)
    weights = minimize(z, y, start, axes, l2)
    assert float(slope(z, y, weights, l2).abs().max()) < 2e-4
    assert float(slope(z, y, start, l2).abs().max()) > 1e-2


def test_axes_speed_it_up_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = correlated(600, 40)
    exact = PrincipalAxes.of(x)
    z = exact.standardize(x)
    expected = minimize(z, y, torch.zeros(41, 3), exact, 1e-2)
    monkeypatch.setattr(axes_module, "MAX_EXACT", 20)
    leading = PrincipalAxes.of(x)
    assert leading.axes.shape == (40, 10)
    torch.testing.assert_close(minimize(z, y, torch.zeros(41, 3), leading, 1e-2), expected, atol=2e-3, rtol=1e-2)


def test_one_binary_feature_has_the_optimum_of_the_log_odds() -> None:
    # With l2 towards 0, the probability in each cell of a 2 x 2 table is the observed frequency.
    x = torch.tensor([[0.0]] * 100 + [[1.0]] * 100)
    y = torch.tensor([1] * 20 + [0] * 80 + [1] * 70 + [0] * 30)
    axes = PrincipalAxes.of(x)
    weights = minimize(axes.standardize(x), y, torch.zeros(2, 2), axes, 1e-7)
    logits = axes.standardize(torch.tensor([[0.0], [1.0]])) @ weights[:-1] + weights[-1]
    odds = logits[:, 1] - logits[:, 0]
    torch.testing.assert_close(odds, torch.tensor([math.log(20 / 80), math.log(70 / 30)]), atol=1e-3, rtol=1e-3)


def test_separable_classes_are_learned_and_noise_is_not() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 3
    x = 3 * torch.eye(3, 6)[y] + 0.2 * torch.randn(600, 6, generator=g) + 50
    assert fit_linear(x[:300], y[:300]).accuracy(x[300:], y[300:]) == 1.0
    noise, labels = torch.randn(4000, 6, generator=g), torch.randint(3, (4000,), generator=g)
    assert abs(fit_linear(noise[:2000], labels[:2000]).accuracy(noise[2000:], labels[2000:]) - 1 / 3) < 0.05


def test_noisy_wide_features_want_strong_regularization() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2
    x = torch.randn(400, 300, generator=g)
    x[:, 0] += 1.5 * y
    probe = fit_linear(x[:200], y[:200])
    weak = fit_linear(x[:200], y[:200], l2_grid=(1e-6,))
    assert probe.l2 >= 1e-1
    assert probe.accuracy(x[200:], y[200:]) > weak.accuracy(x[200:], y[200:])
    assert probe.validation is not None and 0 <= probe.validation <= 1


def test_constant_features_and_missing_classes_are_harmless() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.tensor([0, 3] * 50)  # classes 1 and 2 have no sample
    x = torch.cat([y[:, None] + 0.1 * torch.randn(100, 1, generator=g), torch.full((100, 2), 1e6)], dim=1)
    probe = fit_linear(x, y)
    assert probe.accuracy(x, y) == 1.0
    assert probe.weight.shape == (3, 4)
    assert bool(torch.isfinite(probe.weight).all())


def test_all_features_constant_predicts_the_majority() -> None:
    y = torch.tensor([0] * 20 + [1] * 40)
    assert fit_linear(torch.ones(60, 4), y).predict(torch.ones(3, 4)).tolist() == [1, 1, 1]
    assert fit_linear(torch.ones(60, 400), y).predict(torch.ones(3, 400)).tolist() == [1, 1, 1]


def test_one_sample_per_class_needs_no_validation() -> None:
    x = torch.eye(3, 5)
    probe = fit_linear(x, torch.arange(3))
    assert probe.validation is None
    assert probe.accuracy(x, torch.arange(3)) == 1.0


def test_the_same_seed_gives_the_same_fit_whatever_the_global_state() -> None:
    x, y = correlated(200, 10)
    torch.manual_seed(1)
    first = fit_linear(x, y, seed=3)
    torch.manual_seed(2)
    torch.testing.assert_close(fit_linear(x, y, seed=3).weight, first.weight, rtol=0, atol=0)


def test_l2_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        fit_linear(torch.eye(4), torch.arange(4), l2_grid=(0.0, 1.0))


def test_axes_are_those_of_the_covariance() -> None:
    for num, width in ((500, 12), (9, 40)):
        x, _ = correlated(num, width)
        axes = PrincipalAxes.of(x)
        z = axes.standardize(x).double()
        covariance = z.T @ z / num
        rebuilt = axes.axes.double() @ axes.variance.double().diag() @ axes.axes.double().T
        torch.testing.assert_close(rebuilt, covariance, atol=2e-4, rtol=1e-3)
        inner = axes.axes.T @ axes.axes
        torch.testing.assert_close(inner, torch.eye(len(inner)), atol=2e-3, rtol=0)


def test_moments_see_through_a_large_mean() -> None:
    x = torch.randn(20000, 3, generator=torch.Generator().manual_seed(0)) * 0.5 + 1000
    mean, scale = moments(x)
    torch.testing.assert_close(mean, torch.full((3,), 1000.0), atol=0.02, rtol=0)
    torch.testing.assert_close(scale, torch.full((3,), 0.5), atol=0.02, rtol=0)


def test_split_is_stratified_disjoint_and_leaves_every_class() -> None:
    y = torch.tensor([0] * 100 + [1] * 50 + [2] * 4 + [3] * 2 + [4])
    rest, part = stratified_split(y, 0.1, seed=0)
    assert torch.cat([rest, part]).sort().values.tolist() == list(range(len(y)))
    assert y[part].bincount(minlength=5).tolist() == [10, 5, 1, 1, 0]
    assert y[rest].unique().tolist() == [0, 1, 2, 3, 4]
    assert not torch.equal(stratified_split(y, 0.1, seed=1)[1], part)


def test_few_labels_have_every_class() -> None:
    y = torch.tensor([0] * 300 + [1] * 40 + [2])
    rows = few_labels(y, 0.01, seed=0)
    assert y[rows].bincount().tolist() == [3, 1, 1]
