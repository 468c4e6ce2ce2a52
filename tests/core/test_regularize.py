"""Regularizers: values at known optima, gradients, invariances."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from craik.core.regularize import (
    Barlow,
    SIGReg,
    SIGRegWeight,
    VICReg,
    VICRegWeights,
    VISReg,
    covariance,
    directions,
    epps_pulley,
    variance,
)

PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "variance": variance,
    "covariance": covariance,
    "vicreg": VICReg().penalty,
    "sigreg": SIGReg(16),
    "visreg": VISReg(num_directions=16),
}
PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"vicreg": VICReg(), "barlow": Barlow()}


def white(num: int = 64, dim: int = 4, seed: int = 0) -> Tensor:
    """Samples [N, D] with mean 0 and covariance exactly the identity, float64."""
    z = torch.randn(num, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    q, _ = torch.linalg.qr(z - z.mean(0))
    return q * math.sqrt(num - 1)


def samples(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", PENALTIES)
def test_gradient_of_a_penalty(name: str) -> None:
    penalty = PENALTIES[name]
    if name == "visreg":  # its shape term is detached from mean and deviation on purpose
        penalty = VISReg(shape=0.0, num_directions=2)
    z = (1.3 * samples(7, 3)).requires_grad_()
    assert torch.autograd.gradcheck(penalty, (z,))


def test_gradient_of_the_shape_term() -> None:
    """With mean and deviation held, as they are meant to be."""
    z = samples(7, 3).requires_grad_()
    mean, std = z.detach().mean(0), (z.detach().var(0) + 1e-6).sqrt()
    axes = directions(3, 5, 0).double()
    quantiles = torch.special.ndtri(torch.arange(1, 8, dtype=torch.float64) / 8)[:, None]
    held = (((z - mean) / std @ axes).sort(0).values - quantiles).square().mean()
    shape = VISReg(center=0.0, scale=0.0, num_directions=5)(z, 0)
    assert torch.allclose(shape, held)
    assert torch.allclose(torch.autograd.grad(shape, z)[0], torch.autograd.grad(held, z)[0])


@pytest.mark.parametrize("name", PAIRS)
def test_gradient_of_a_pair(name: str) -> None:
    z, other = samples(6, 3, seed=1).requires_grad_(), samples(6, 3, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(PAIRS[name], (z, other))


@pytest.mark.parametrize("name", PENALTIES)
def test_the_order_of_samples_does_not_matter(name: str) -> None:
    z = samples(2, 12, 5)
    assert torch.allclose(PENALTIES[name](z), PENALTIES[name](z[:, torch.randperm(12)]))


@pytest.mark.parametrize("name", PENALTIES)
def test_leading_axes_are_kept_apart_and_averaged(name: str) -> None:
    z = samples(3, 12, 5)
    apart = torch.stack([PENALTIES[name](part) for part in z]).mean()
    assert torch.allclose(PENALTIES[name](z), apart)
    assert torch.allclose(PENALTIES[name](z.unsqueeze(1)), apart)


@pytest.mark.parametrize("name", ["variance", "covariance", "vicreg"])
def test_shift_changes_nothing(name: str) -> None:
    z = samples(12, 5)
    assert torch.allclose(PENALTIES[name](z), PENALTIES[name](z + 100.0))


@pytest.mark.parametrize("name", [*PENALTIES, *PAIRS])
def test_full_precision_inside_autocast(name: str) -> None:
    z, other = samples(32, 8).float(), samples(32, 8, seed=1).float()
    arguments = (z,) if name in PENALTIES and name != "vicreg" else (z, other)
    function = PENALTIES[name] if len(arguments) == 1 else PAIRS[name]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = function(*arguments)
    assert inside.dtype == torch.float32 and torch.equal(inside, function(*arguments))
    assert function(*(argument.bfloat16() for argument in arguments)).dtype == torch.float32


def test_variance_is_the_shortfall_of_the_deviation() -> None:
    z = white()
    assert float(variance(z, eps=0.0)) == pytest.approx(0, abs=1e-12)
    assert float(variance(0.25 * z, eps=0.0)) == pytest.approx(0.75)
    assert float(variance(0.25 * z, eps=0.0, margin=2.0)) == pytest.approx(1.75)
    assert float(variance(torch.zeros(8, 3))) == pytest.approx(1 - 1e-2)  # eps alone: sqrt(1e-4)


def test_covariance_of_known_samples() -> None:
    z = white(dim=3)
    assert float(covariance(z)) == pytest.approx(0, abs=1e-12)
    mixed = torch.stack([z[:, 0], 0.6 * z[:, 0] + 0.8 * z[:, 1]], 1)  # correlation 0.6
    assert float(covariance(mixed)) == pytest.approx(2 * 0.36 / 2)


def test_vicreg_is_the_papers_sum() -> None:
    z, other = 0.5 * white(seed=0), 0.5 * white(seed=1)
    gap = (z - other).square().mean()
    weights = VICRegWeights(2.0, 3.0, 5.0)
    expected = 2 * gap + 3 * 2 * variance(z)  # covariance terms are zero
    assert torch.allclose(VICReg(weights)(z, other), expected)
    assert (VICRegWeights().invariance, VICRegWeights().variance, VICRegWeights().covariance) == (25, 25, 1)


def test_barlow_of_known_views() -> None:
    z = white(dim=3)
    num = len(z)
    share = (num - 1) / num  # unbiased deviation, divided by the number of samples
    exact = Barlow(0.5, eps=0.0)
    assert float(exact(z, z)) == pytest.approx(3 * (1 - share) ** 2)
    assert float(exact(z, -z)) == pytest.approx(3 * (1 + share) ** 2)
    swapped = z[:, [1, 0, 2]]
    assert float(exact(z, swapped)) == pytest.approx(2 + (1 - share) ** 2 + 0.5 * 2 * share**2)
    assert torch.allclose(exact(z, 7 * z + 3), exact(z, z))  # shift and scale of a view do not matter


def test_sigreg_of_collapsed_samples() -> None:
    """All samples at zero: N x the integral of (1 - exp(-t^2/2))^2 exp(-t^2/2), in closed form."""
    expected = 50 * math.sqrt(2 * math.pi) * (1 - 2 / math.sqrt(2) + 1 / math.sqrt(3))
    ours = SIGReg(8, t_max=9.0, num_nodes=400)(torch.zeros(50, 5, dtype=torch.float64))
    assert float(ours) == pytest.approx(expected, rel=1e-4)


def test_sigreg_of_normal_samples() -> None:
    """Its expectation is the integral of (1 - exp(-t^2)) exp(-t^2/2), whatever the number of samples."""
    expected = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))
    ours = torch.stack([SIGReg(64, t_max=6.0)(samples(512, 16, seed=seed), seed) for seed in range(16)])
    assert float(ours.mean()) == pytest.approx(expected, rel=0.05)


def test_sigreg_prefers_the_isotropic_normal() -> None:
    z = samples(1024, 8)
    sigreg = SIGReg(256)
    best = sigreg(z)
    uniform = (torch.rand(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(3)) - 0.5) * math.sqrt(12)
    rank_one = z[:, :1].expand(-1, 8)
    for worse in (0.5 * z, 2 * z, z + 0.5, rank_one, torch.zeros_like(z), uniform.sign()):
        assert float(sigreg(worse)) > 2 * float(best)
    assert torch.allclose(sigreg(-z), best)


def test_sigreg_draws_new_directions_every_step() -> None:
    z = samples(32, 6)
    sigreg = SIGReg(8)
    assert float(sigreg(z, 1)) != float(sigreg(z, 2))
    assert torch.equal(sigreg(z, 1), sigreg(z, 1))
    assert torch.allclose(directions(6, 8, 3).norm(dim=0), torch.ones(8))


@pytest.mark.parametrize(("start", "end", "num"), [(0.0, 3.0, 17), (-4.0, 2.0, 9)])
def test_epps_pulley_against_complex_exponentials(start: float, end: float, num: int) -> None:
    """Value and gradient of the running rotation against the formula as it is written."""
    u = samples(2, 9, 3).requires_grad_()
    nodes = torch.linspace(start, end, num, dtype=torch.float64)
    weights = torch.rand(num, dtype=torch.float64)
    empirical = torch.exp(1j * nodes[:, None, None, None] * u).mean(-2)  # [J, 2, 3]
    normal = torch.exp(-nodes.square() / 2)[:, None, None]
    plain = ((empirical - normal).abs().square() * normal * weights[:, None, None]).sum(0)
    ours = epps_pulley(u, nodes, weights)
    assert torch.allclose(ours, plain)
    mix = torch.rand_like(plain)
    grads = [torch.autograd.grad((value * mix).sum(), u)[0] for value in (ours, plain)]
    assert torch.allclose(*grads)


def test_sigreg_weights() -> None:
    assert SIGRegWeight.from_convex(0.05) == SIGRegWeight(0.95, 0.05)
    assert SIGRegWeight.from_additive(0.1) == SIGRegWeight(1.0, 0.1)
    assert SIGRegWeight.from_sample_free(10.0, 40) == SIGRegWeight(1.0, 0.25)


def test_visreg_terms() -> None:
    z = white(256, 4)
    none = {"center": 0.0, "scale": 0.0, "shape": 0.0}
    center, scale = VISReg(**none | {"center": 1.0}), VISReg(**none | {"scale": 1.0}, eps=0.0)
    assert float(center(z)) == pytest.approx(0, abs=1e-12) and float(center(z + 3)) == pytest.approx(9)
    assert float(scale(z)) == pytest.approx(0, abs=1e-12) and float(scale(3 * z)) == pytest.approx(4)
    shape = VISReg(**none | {"shape": 1.0})
    assert torch.allclose(shape(5 * z + 3), shape(z), rtol=1e-4)
    assert float(shape(samples(256, 4).sign())) > 5 * float(shape(samples(256, 4)))


def test_visreg_of_exact_quantiles_is_zero() -> None:
    """One feature at the normal quantiles, scaled to unit deviation: only rounding and that scale are left."""
    quantiles = torch.special.ndtri(torch.arange(1, 2001, dtype=torch.float64) / 2001)[:, None]
    assert float(VISReg(num_directions=4)(quantiles / quantiles.std())) < 1e-4
