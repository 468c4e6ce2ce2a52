"""Regularizers: what keeps a representation from collapsing.

Every penalty looks at samples [..., N, D] and gives a scalar; leading axes (views, tasks, time steps) are kept apart
and averaged. Batch statistics are those of the whole batch on all ranks: `reduce` is a differentiable sum over
ranks, and the identity on one process. A plain all-reduce would silently drop the gradient.

Coefficients do not carry over between libraries; see `VICRegWeights` and `SIGRegWeight` for the conversions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from craik.core.precision import full_precision

Reduce = Callable[[Tensor], Tensor]
"""Differentiable sum over ranks."""


def alone(x: Tensor) -> Tensor:
    """The sum over ranks of a single process."""
    return x


class Centered(NamedTuple):
    """Samples minus the mean of all ranks, and how many there are on all ranks."""

    z: Tensor
    num: Tensor


def center(z: Tensor, reduce: Reduce = alone) -> Centered:
    """Center [..., N, D] over its N samples on all ranks."""
    z = full_precision(z)
    count = reduce(torch.full((), z.shape[-2], dtype=z.dtype, device=z.device))
    return Centered(z - reduce(z.sum(-2, keepdim=True)) / count, count)


def variance(z: Tensor, reduce: Reduce = alone, margin: float = 1.0, eps: float = 1e-4) -> Tensor:
    """Mean over features of how far each standard deviation falls short of the margin.

    Source: Bardes et al. 2022 (arXiv 2105.04906), equation 1.
    """
    z, count = center(z, reduce)
    std = (reduce(z.square().sum(-2)) / (count - 1) + eps).sqrt()
    return F.relu(margin - std).mean()


def covariance(z: Tensor, reduce: Reduce = alone) -> Tensor:
    """Sum of squared off-diagonal covariances over D.

    Source: Bardes et al. 2022 (arXiv 2105.04906), equations 3 and 4.
    """
    with torch.autocast(z.device.type, enabled=False):
        z, count = center(z, reduce)
        cov = reduce(z.transpose(-2, -1) @ z) / (count - 1)
    off_diagonal = cov.square().sum((-2, -1)) - cov.diagonal(dim1=-2, dim2=-1).square().sum(-1)
    return (off_diagonal / z.shape[-1]).mean()


@dataclass(frozen=True, slots=True)
class VICRegWeights:
    """Coefficients of the paper's form, and of the two other public forms of the same loss.

    Paper: invariance x MSE + variance x [v(Z) + v(Z')] + covariance x [c(Z) + c(Z')], c summed over off-diagonals
    and divided by D. The other forms differ in the scale of single terms only, so a set of coefficients converts
    exactly; moved without conversion, a covariance coefficient is wrong by D - 1.
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0

    @classmethod
    def from_mean_off_diagonal(
        cls, dim: int, invariance: float = 1.0, variance: float = 1.0, covariance: float = 1.0
    ) -> "VICRegWeights":
        """From the form (EB-JEPA) whose covariance term is the mean over the D(D-1) off-diagonals."""
        return cls(invariance, variance, covariance / (dim - 1))

    @classmethod
    def from_halved_variance(
        cls, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
    ) -> "VICRegWeights":
        """From the form (stable-pretraining) that halves the variance term of each view."""
        return cls(invariance, variance / 2, covariance)

    def to_mean_off_diagonal(self, dim: int) -> tuple[float, float, float]:
        """(invariance, variance, covariance) for the form with the mean over off-diagonals."""
        return self.invariance, self.variance, self.covariance * (dim - 1)

    def to_halved_variance(self) -> tuple[float, float, float]:
        """(invariance, variance, covariance) for the form that halves the variance."""
        return self.invariance, 2 * self.variance, self.covariance


@dataclass(frozen=True, slots=True)
class VICReg:
    """Variance, invariance, covariance of two views.

    Source: Bardes et al. 2022 (arXiv 2105.04906), equation 6, in the paper's coefficients.
    """

    weights: VICRegWeights = VICRegWeights()
    reduce: Reduce = alone
    eps: float = 1e-4

    def __call__(self, z: Tensor, other: Tensor) -> Tensor:
        """Loss of two views [N, D] of the same samples, scalar."""
        invariance = F.mse_loss(full_precision(z), full_precision(other))
        return self.weights.invariance * invariance + self.penalty(z) + self.penalty(other)

    def penalty(self, z: Tensor, step: int = 0) -> Tensor:
        """The variance and covariance terms of one set of samples [..., N, D], scalar."""
        return self.weights.variance * variance(z, self.reduce, eps=self.eps) + self.weights.covariance * covariance(
            z, self.reduce
        )


@dataclass(frozen=True, slots=True)
class Barlow:
    """Barlow Twins: the cross-correlation of two views is to be the identity.

    Source: Zbontar et al. 2021 (arXiv 2103.03230), equation 1.
    """

    off_diagonal: float = 5e-3
    reduce: Reduce = alone
    eps: float = 1e-5

    def __call__(self, z: Tensor, other: Tensor) -> Tensor:
        """Loss of two views [N, D] of the same samples, scalar."""
        with torch.autocast(z.device.type, enabled=False):
            (a, count), (b, _) = self.standardize(z), self.standardize(other)
            correlation = self.reduce(a.T @ b) / count
        diagonal = correlation.diagonal()
        rest = correlation.square().sum() - diagonal.square().sum()
        return (1 - diagonal).square().sum() + self.off_diagonal * rest

    def standardize(self, z: Tensor) -> Centered:
        """Columns of [N, D] to mean 0 and unbiased standard deviation 1."""
        z, count = center(z, self.reduce)
        std = (self.reduce(z.square().sum(-2)) / (count - 1)).sqrt()
        return Centered(z / (std + self.eps), count)


@dataclass(frozen=True, slots=True)
class SIGReg:
    """Random projections of the samples are to look standard normal, by the Epps-Pulley test.

    For each direction a: N x integral |phi_N(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt with the empirical characteristic
    function phi_N(t) = mean exp(i t <a, z>), by the trapezoid rule. The integrand is even, so [0, t_max] with
    doubled weights stands for the whole line. Directions are redrawn every step from the step number, so all
    ranks agree. Computed in float32 inside autocast.

    Attributes:
        num_directions: Random unit directions per step.
        t_max: End of the half line.
        num_nodes: Nodes on [0, t_max], both ends included.
        reduce: Differentiable sum over ranks.

    Source: Balestriero and LeCun 2025 (arXiv 2511.08544), section 4.
    """

    num_directions: int = 1024
    t_max: float = 3.0
    num_nodes: int = 17
    reduce: Reduce = alone

    def __call__(self, z: Tensor, step: int = 0) -> Tensor:
        """Statistic of [..., N, D], mean over directions and leading axes, scalar."""
        with torch.autocast(z.device.type, enabled=False):
            z = full_precision(z)
            projections = z @ directions(z.shape[-1], self.num_directions, step).to(z)
            return self.statistic(projections).mean()

    def statistic(self, projections: Tensor) -> Tensor:
        """Epps-Pulley statistic of each column of [..., N, M], [..., M]."""
        nodes, weights = self.quadrature()
        count = self.reduce(projections.new_full((), projections.shape[-2]))
        return count * epps_pulley(projections, nodes, weights, self.reduce)

    def quadrature(self) -> tuple[Tensor, Tensor]:
        """Nodes [J] on the half line and their trapezoid weights [J], doubled for the other half, float64."""
        nodes = torch.linspace(0, self.t_max, self.num_nodes, dtype=torch.float64)
        weights = torch.full_like(nodes, 2 * self.t_max / (self.num_nodes - 1))
        weights[0] /= 2
        weights[-1] /= 2
        return nodes, weights


def directions(dim: int, num: int, step: int) -> Tensor:
    """Unit columns [D, M], drawn on the CPU from the step number, so that all ranks and devices agree."""
    drawn = torch.randn(dim, num, generator=torch.Generator().manual_seed(step))
    return drawn / drawn.norm(dim=0)


def epps_pulley(projections: Tensor, nodes: Tensor, weights: Tensor, reduce: Reduce = alone) -> Tensor:
    """Weighted squared distance of the empirical characteristic function from the normal one, [..., N, M] -> [..., M].

    Args:
        projections: Samples on the second last axis.
        nodes: Equally spaced t [J].
        weights: Quadrature weights [J]; the window exp(-t^2 / 2) is applied here.
        reduce: Differentiable sum over ranks.
    """
    cos, sin = CharacteristicSums.apply(projections, float(nodes[0]), float(nodes[1] - nodes[0]), len(nodes))  # type: ignore[no-untyped-call]
    count = reduce(projections.new_full((), projections.shape[-2]))
    normal = torch.exp(-nodes.square() / 2)
    window = (weights * normal).to(projections).unsqueeze(-1)
    distance = (reduce(cos) / count - normal.to(projections).unsqueeze(-1)).square() + (reduce(sin) / count).square()
    return (distance * window).sum(-2)


class CharacteristicSums(torch.autograd.Function):
    """Sums over samples of cos(t u) and sin(t u) at equally spaced t: [..., N, M] -> two [..., J, M].

    The angle advances by one rotation per node, so two sines and cosines serve all nodes, and nothing of size
    N x M x J is ever stored: forward and backward each make one pass per node over an [N, M] buffer.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, start: float, spacing: float, num: int) -> tuple[Tensor, Tensor]:
        """Sums of cosines and sines."""
        ctx.save_for_backward(u)
        ctx.nodes = start, spacing, num
        pairs = [(cos.sum(-2), sin.sum(-2)) for cos, sin in rotations(u, start, spacing, num)]
        return torch.stack([c for c, _ in pairs], -2), torch.stack([s for _, s in pairs], -2)

    @staticmethod
    def backward(ctx: Any, grad_cos: Tensor, grad_sin: Tensor) -> tuple[Tensor | None, ...]:
        """d/du of sum_j gc_j cos(t_j u) + gs_j sin(t_j u)."""
        (u,) = ctx.saved_tensors
        start, spacing, num = ctx.nodes
        grad = torch.zeros_like(u)
        for j, (cos, sin) in enumerate(rotations(u, start, spacing, num)):
            t = start + j * spacing
            grad.addcmul_(cos, t * grad_sin[..., j : j + 1, :])
            grad.addcmul_(sin, -t * grad_cos[..., j : j + 1, :])
        return grad, None, None, None


def rotations(u: Tensor, start: float, spacing: float, num: int) -> Any:
    """Yield (cos t u, sin t u) for t = start, start + spacing, ...; the buffers are reused."""
    cos, sin = (start * u).cos(), (start * u).sin()
    cos_step, sin_step = (spacing * u).cos(), (spacing * u).sin()
    for j in range(num):
        if j:
            turned = cos * cos_step - sin * sin_step
            sin = sin.mul_(cos_step).addcmul_(cos, sin_step)
            cos = turned
        yield cos, sin


@dataclass(frozen=True, slots=True)
class SIGRegWeight:
    """Weights of invariance and SIGReg in `invariance_weight x invariance + weight x SIGReg`, SIGReg times N.

    Public forms write the same two terms with other constants; each converts exactly for a given batch.
    """

    invariance: float
    sigreg: float

    @classmethod
    def from_convex(cls, lam: float) -> "SIGRegWeight":
        """From (1 - lam) x invariance + lam x SIGReg: the LeJEPA paper and its minimal listing."""
        return cls(1 - lam, lam)

    @classmethod
    def from_additive(cls, lam: float) -> "SIGRegWeight":
        """From invariance + lam x SIGReg: stable-pretraining, LeWorldModel."""
        return cls(1.0, lam)

    @classmethod
    def from_sample_free(cls, lam: float, num_samples: int) -> "SIGRegWeight":
        """From invariance + lam x SIGReg / N: EB-JEPA, whose statistic is not multiplied by the N samples."""
        return cls(1.0, lam / num_samples)


@dataclass(frozen=True, slots=True)
class VISReg:
    """Center at zero, unit scale, and normal shape by sliced Wasserstein distance.

    shape: projections of samples standardized by their detached mean and deviation, sorted, against the normal
    quantiles at i / (N + 1). `gather` collects samples [N, D] of all ranks, differentiably.

    Source: VISReg (arXiv 2606.02572).
    """

    center: float = 1.0
    scale: float = 1.0
    shape: float = 1.0
    num_directions: int = 1024
    gather: Callable[[Tensor], Tensor] = alone
    eps: float = 1e-6

    def __call__(self, z: Tensor, step: int = 0) -> Tensor:
        """Penalty of [..., N, D], scalar."""
        with torch.autocast(z.device.type, enabled=False):
            z = self.gather(full_precision(z))
            mean, std = z.mean(-2, keepdim=True), (z.var(-2, keepdim=True) + self.eps).sqrt()
            standard = (z - mean.detach()) / std.detach()
            projected = (standard @ directions(z.shape[-1], self.num_directions, step).to(z)).sort(-2).values
            num = z.shape[-2]
            rank = torch.arange(1, num + 1, dtype=torch.float64, device=z.device) / (num + 1)
            quantiles = torch.special.ndtri(rank).to(z).unsqueeze(-1)
            return (
                self.center * mean.square().mean()
                + self.scale * (1 - std).square().mean()
                + self.shape * (projected - quantiles).square().mean()
            )
