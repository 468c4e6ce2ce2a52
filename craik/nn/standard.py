"""Latents as small networks on top of a frozen model want them: flat, and about 1 in size."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Standard(nn.Module):
    """Latents [..., *shape] centered, scaled and flattened to [..., width], by a sample [M, *shape].

    One scale for all dimensions: those that hardly vary, be they noise, stay small.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, sample: Tensor) -> None:
        super().__init__()
        if sample.ndim < 2 or len(sample) < 2 or not bool(torch.isfinite(sample).all()):
            raise ValueError(f"wants 2 or more finite latents [M, ...] to standardize by; got {list(sample.shape)}")
        self.shape = sample.shape[1:]
        flat = sample.detach().flatten(1).float()
        self.register_buffer("mean", flat.mean(0))
        self.register_buffer("scale", flat.var(0).mean().sqrt().clamp(min=1e-8))

    @property
    def width(self) -> int:
        """Numbers in one latent."""
        return len(self.mean)

    def forward(self, latents: Tensor) -> Tensor:
        """[..., *shape] -> [..., width].

        Raises:
            ValueError: If the latents have another shape than the sample had.
        """
        if latents.shape[latents.ndim - len(self.shape) :] != self.shape:
            raise ValueError(f"latents are to end in {list(self.shape)}; got {list(latents.shape)}")
        return (latents.flatten(-len(self.shape)) - self.mean) / self.scale


class FeatureScale(nn.Module):
    """Latents [..., D] centered and scaled feature by feature; as they are until `set` is called.

    For latents of which every feature was asked to say something; `Standard` keeps those small that hardly vary.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    @torch.no_grad()
    def set(self, sample: Tensor) -> None:
        """Take over mean and deviation of latents [M, D].

        Raises:
            ValueError: If there are fewer than 2, or a number is not finite.
        """
        if len(sample) < 2 or not bool(torch.isfinite(sample).all()):
            raise ValueError(f"wants 2 or more finite latents [M, D] to standardize by; got {list(sample.shape)}")
        std = sample.float().std(0)
        self.mean.copy_(sample.float().mean(0))
        self.std.copy_(std.clamp(min=1e-3 * float(std.max().clamp(min=1e-6))))

    def forward(self, latents: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return (latents - self.mean) / self.std


def perceptron(widths: Sequence[int], rng: torch.Generator) -> nn.Sequential:
    """Linear maps from width to width with GELU between; `rng` decides the weights."""
    layers: list[nn.Module] = []
    for ins, outs in pairwise(widths):
        linear = nn.utils.skip_init(nn.Linear, ins, outs)
        for parameter in (linear.weight, linear.bias):  # as nn.Linear draws them
            nn.init.uniform_(parameter, -(ins**-0.5), ins**-0.5, generator=rng)
        layers += [linear, nn.GELU()]
    return nn.Sequential(*layers[:-1])
