"""Noise for action sequences: white, or colored so that neighboring steps agree."""

from collections.abc import Sequence

import torch
from torch import Tensor


def white_noise(shape: Sequence[int], rng: torch.Generator) -> Tensor:
    """Independent standard normal numbers of a shape, float32 on the device of the generator."""
    return torch.randn(*shape, generator=rng, device=rng.device)


def colored_noise(shape: Sequence[int], beta: float, rng: torch.Generator) -> Tensor:
    """Gaussian noise along time with power spectrum 1 / f^beta, unit variance at every step.

    White noise moves a point by sqrt(H) in H steps, constant actions by H: long horizons are explored only by noise
    that persists. beta 0 is white, 1 pink, 2 a random walk.

    Args:
        shape: (..., H, A): time is the last axis but one. Every other index has a sequence of its own.
        beta: Exponent of the spectrum. The mean over time gets the power of the lowest frequency.
        rng: Generator; the noise lies on its device, float32.

    Returns:
        Noise of the shape asked for.

    Source: Timmer and Koenig 1995, "On generating power law noise"; for planning Pinneri et al. 2020
    (arXiv 2008.06389), section 3.1.
    """
    *rest, horizon, size = shape
    if beta == 0 or horizon == 1:
        return white_noise(shape, rng)
    frequency = torch.fft.rfftfreq(horizon, device=rng.device).clamp(min=1 / horizon)
    amplitude = frequency.pow(-beta / 2)  # [F]
    real_bins = torch.zeros_like(amplitude, dtype=torch.bool)  # mean and, for an even horizon, Nyquist: no phase
    real_bins[0] = True
    real_bins[-1] = horizon % 2 == 0
    # An inner bin stands for two conjugate ones, a real bin for itself with all its power in one number.
    variance = torch.where(real_bins, 2.0, 4.0).mul(amplitude.square()).sum() / horizon**2
    real, imaginary = torch.randn(2, *rest, size, len(amplitude), generator=rng, device=rng.device)
    real = torch.where(real_bins, real * 2**0.5, real)
    imaginary = torch.where(real_bins, 0.0, imaginary)
    noise = torch.fft.irfft(torch.complex(real, imaginary) * amplitude, n=horizon)  # [..., A, H]
    return (noise / variance.sqrt()).transpose(-1, -2)
