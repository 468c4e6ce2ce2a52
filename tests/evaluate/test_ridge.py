import pytest
import torch

from craik.evaluate.ridge import fit_ridge, linear_r2, r2


def test_linear_factors_are_read_and_noise_is_not() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(800, 10, generator=g) * torch.logspace(0, 3, 10) + 20
    y = torch.stack([x @ torch.ones(10) / 100 - 3, torch.randn(800, generator=g), x[:, 0] * 1e-3], dim=1)
    found = linear_r2(x[:400], y[:400], x[400:], y[400:])
    assert found[0] > 0.999 and found[2] > 0.999
    assert -0.1 < found[1] < 0.05


def test_fit_equals_the_normal_equations() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 6, generator=g).double(), torch.randn(300, 1, generator=g).double()
    l2 = 0.3
    ridge = fit_ridge(x.float(), y.float(), l2_grid=(l2,))
    z = (x - x.mean(0)) / x.std(0, correction=0)
    goal = (y - y.mean()) / y.std(correction=0)
    w = torch.linalg.solve(z.T @ z / 300 + l2 * torch.eye(6).double(), z.T @ goal / 300)
    expected = z @ w * y.std(correction=0) + y.mean()
    torch.testing.assert_close(ridge.predict(x.float()).double(), expected, atol=1e-4, rtol=1e-4)


def test_more_features_than_samples_and_constant_features() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 500, generator=g)
    x[:, 1:5] = 3.0
    y = x[:, :1] * 2
    ridge = fit_ridge(x[:100], y[:100])
    assert bool(torch.isfinite(ridge.weight).all())
    assert ridge.l2 > 1e-6
    assert float(r2(ridge.predict(x[:100]), y[:100])) > 0.5


def test_r2_of_the_mean_is_zero() -> None:
    y = torch.tensor([[1.0], [2.0], [6.0]])
    assert float(r2(torch.full((3, 1), 3.0), y)) == pytest.approx(0)
    assert float(r2(y, y)) == 1
    assert float(r2(-y, y)) < 0


def test_l2_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        fit_ridge(torch.eye(3), torch.ones(3, 1), l2_grid=(0.0,))
