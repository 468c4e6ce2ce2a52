"""Standardized features and their principal axes, along which the curvature of a linear probe is known."""

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 8192  # samples looked at at once
MAX_EXACT = 1024  # features up to which all axes are found; of wider ones the leading half as many


@dataclass(frozen=True, slots=True)
class PrincipalAxes:
    """Standardization and principal axes of training features [N, F]; R <= min(N, F) axes."""

    mean: Tensor
    """Training mean, float32 [F]."""
    scale: Tensor
    """Training standard deviation, float32 [F]; 1 where a feature is constant."""
    axes: Tensor
    """Orthonormal columns, float32 [F, R]."""
    variance: Tensor
    """Variance of the standardized features along each axis, float32 [R]."""
    rest: float
    """Their mean variance along what is orthogonal to all axes."""

    @classmethod
    def of(cls, x: Tensor) -> "PrincipalAxes":
        """The axes of features [N, F]: exact up to `MAX_EXACT` samples or features, else the leading ones."""
        mean, scale = moments(x)
        num, width = x.shape
        if min(num, width) > MAX_EXACT:
            rows = torch.linspace(0, num - 1, min(num, CHUNK)).round().long()
            axes, variance = _leading((x[rows.to(x.device)].float() - mean) / scale)
        elif num < width:
            axes, variance = _of_few(((x.float() - mean) / scale).double())
        else:
            axes, variance = _of_many(x, mean, scale)
        outside = max(width - float(variance.sum()), 0.0) / max(width - axes.shape[1], 1)
        return cls(mean, scale, axes.float(), variance.float(), outside)

    def standardize(self, x: Tensor) -> Tensor:
        """Features [N, F] with mean 0 and deviation 1 on the training data, float32."""
        return standardize(x, self.mean, self.scale)


def _of_many(x: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    gram = x.new_zeros(x.shape[1], x.shape[1], dtype=torch.float32)
    for part in x.split(CHUNK):
        z = (part.float() - mean) / scale
        gram.addmm_(z.T, z)
    values, axes = torch.linalg.eigh(gram / len(x))
    return axes, values.clamp(min=0)


def _of_few(z: Tensor) -> tuple[Tensor, Tensor]:
    """Fewer samples than features: the axes come from the products of samples, which are fewer."""
    values, vectors = torch.linalg.eigh(z @ z.T)
    kept = values > max(float(values[-1]) * 1e-10, 1e-300)
    values, vectors = values[kept], vectors[:, kept]
    return z.T @ vectors / values.sqrt(), values / len(z)


def _leading(z: Tensor) -> tuple[Tensor, Tensor]:
    devices = [z.device] if z.is_cuda else []
    with torch.random.fork_rng(devices=devices):  # svd_lowrank draws from the global generator
        torch.manual_seed(0)
        _, singular, axes = torch.svd_lowrank(z, q=MAX_EXACT // 2)
    return axes, singular.square() / len(z)


def standardize(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(x - mean) / scale of features [N, F], float32, with no second copy on the way."""
    out = torch.empty(x.shape, dtype=torch.float32, device=x.device)
    for start in range(0, len(x), CHUNK):
        part = out[start : start + CHUNK]
        part.copy_(x[start : start + CHUNK]).sub_(mean).div_(scale)
    return out


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, float32 [F], of features [N, F]; 1 for a feature that is constant."""
    total, square = torch.zeros(2, x.shape[1], dtype=torch.float64, device=x.device)
    for part in x.split(CHUNK):
        total += part.double().sum(0)
    mean = total / len(x)
    for part in x.split(CHUNK):
        square += (part.double() - mean).square().sum(0)
    std = (square / len(x)).sqrt()
    constant = std <= 1e-6 * mean.abs() + 1e-12
    return mean.float(), std.masked_fill(constant, 1.0).float()
