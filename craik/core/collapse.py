"""Collapse measures: what a set of embeddings tells about itself, without labels.

Rank is blind to scale and scale is blind to rank, so look at both; none of them is a probe.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Measures of embeddings z [N, D]. All but `std_*` do not change when z is scaled."""

    std_min: float
    """Smallest standard deviation of a feature."""
    std_median: float
    """Median standard deviation of the features; towards 0 is full collapse."""
    effective_rank: float
    """exp of the entropy of the centered singular values, 1 to min(N, D) (Roy and Vetterli 2007)."""
    rankme: float
    """The same on singular values that are not centered (Garrido et al. 2023, arXiv 2210.02885)."""
    participation_ratio: float
    """(sum l)^2 / sum l^2 of the covariance eigenvalues l."""
    alpha_req: float
    """Slope of log eigenvalue over log index: near 1 is good, far above 1 is a collapsing tail."""


def spectrum(z: Tensor) -> Spectrum:
    """Collapse measures of embeddings [N, D]; wants N well above D."""
    z = z.detach().double()
    centered = z - z.mean(0)
    std = centered.square().mean(0).sqrt()
    eigenvalues = eigenspectrum(z)
    return Spectrum(
        std_min=float(std.min()),
        std_median=float(std.median()),
        effective_rank=entropy_rank(eigenvalues.sqrt()),
        rankme=entropy_rank(torch.linalg.eigvalsh(z.T @ z).clamp(min=0).sqrt()),
        participation_ratio=float(eigenvalues.sum() ** 2 / eigenvalues.square().sum().clamp(min=1e-300)),
        alpha_req=alpha_req(eigenvalues),
    )


def eigenspectrum(z: Tensor) -> Tensor:
    """Eigenvalues of the covariance of [N, D], largest first, float64 [D]."""
    z = z.detach().double()
    z = z - z.mean(0)
    return torch.linalg.eigvalsh(z.T @ z / max(len(z) - 1, 1)).clamp(min=0).flip(0)


def entropy_rank(singular_values: Tensor, eps: float = 1e-7) -> float:
    """exp(-sum p log p) of the singular values' shares p; 1 when all are zero."""
    total = singular_values.sum()
    if float(total) < 1e-12:
        return 1.0
    p = singular_values / total + eps
    return float(torch.exp(-(p * p.log()).sum()))


def alpha_req(eigenvalues: Tensor) -> float:
    """Least-squares decay exponent of the spectrum (Agrawal et al. 2022), eigenvalues [D] largest first."""
    kept = eigenvalues[eigenvalues > eigenvalues[0] * 1e-9]
    if len(kept) < 3:
        return float("inf")
    x, y = torch.arange(1, len(kept) + 1, dtype=torch.float64, device=kept.device).log(), kept.log()
    x, y = x - x.mean(), y - y.mean()
    return float(-(x * y).sum() / x.square().sum())


@dataclass(frozen=True, slots=True)
class VarianceShare:
    """How the variance of tokens [B, N, D] divides; the two shares and the rest sum to 1."""

    between_samples: float
    """Of the sample means: what tells one sample from another. Near 0: position-only targets."""
    by_position: float
    """Of the mean token at each position: what tells one place from another in any sample."""


def variance_share(tokens: Tensor) -> VarianceShare:
    """Shares of the total token variance of [B, N, D] that the sample and the position explain."""
    tokens = tokens.detach().double()
    total = tokens.var((0, 1), correction=0).sum().clamp(min=1e-300)
    samples = tokens.mean(1).var(0, correction=0).sum()
    positions = tokens.mean(0).var(0, correction=0).sum()
    return VarianceShare(float(samples / total), float(positions / total))
