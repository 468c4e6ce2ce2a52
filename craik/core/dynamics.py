"""Losses of world models: what latents over time [B, T, D] are to be like besides predictable.

Each gives a scalar, in full precision. Letters here: T is time. What a batch shares at fixed t is told by `variance`
and `covariance` of `core.regularize`, given z with time first, [T, B, D]; the terms here are along time.

Published forms (the world models of stable-worldmodel; PLDM) equal ours but for constants:

    theirs                      ours
    std, std_t                  variance(z with time first), temporal_variance(z)
    cov, cov_t                  covariance(z with time first) / (D - 1), temporal_covariance(z) / (D - 1)
    temporal alignment          temporal_similarity(z)
    inverse dynamics            inverse_dynamics(pred, actions)
    straightening               straightening(z) - 1

so a coefficient of theirs carries over, divided by D - 1 for the two covariances; see `VICRegWeights`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from craik.core.precision import full_precision
from craik.core.regularize import Reduce, alone, center, variance


def inverse_dynamics(pred: Tensor, actions: Tensor) -> Tensor:
    """Mean squared error of actions [..., A] that were read from pairs of latents.

    It keeps in the latent what the agent controls; without it or SIGReg, planning in two rooms fails.

    Source: Pathak et al. 2017 (arXiv 1705.05363), section 2.2; in PLDM: arXiv 2502.14819.
    """
    return (full_precision(pred) - full_precision(actions)).square().mean()


def temporal_similarity(z: Tensor) -> Tensor:
    """Mean squared difference of neighboring latents of z [B, T, D], T >= 2: slow features are smooth to plan in."""
    return velocity(z).square().mean()


def temporal_variance(z: Tensor, reduce: Reduce = alone, margin: float = 1.0, eps: float = 1e-4) -> Tensor:
    """How far each feature's deviation over time falls short of the margin, in z [B, T, D] with T >= 2.

    At each t the mean over the batch (of all ranks, by `reduce`) is taken away first, so that a drift that all
    samples share does not count.
    """
    return variance(without_batch_mean(z, reduce), margin=margin, eps=eps)


def temporal_covariance(z: Tensor, reduce: Reduce = alone) -> Tensor:
    """Sum of squared off-diagonal moments over time, over D, mean over samples of z [B, T, D] with T >= 2.

    The moments are about the batch mean at each t, and not about the sample's own mean over time, as published.
    """
    with torch.autocast(z.device.type, enabled=False):
        z = without_batch_mean(z, reduce)
        moments = z.transpose(-2, -1) @ z / (z.shape[1] - 1)  # [B, D, D]
    off_diagonal = moments.square().sum((-2, -1)) - moments.diagonal(dim1=-2, dim2=-1).square().sum(-1)
    return (off_diagonal / z.shape[-1]).mean()


def episode_contrast(z: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy [nats] of finding the last frame's latent by the first one's among those of the batch z [B, T, D].

    Logits are negative squared distances over the temperature, which sets the scale of the latents; both directions,
    their mean. What tells an episode from others is kept, and
    what changes within it is dropped. Unlike variance and covariance it is not content with many functions of one
    factor: in two rooms the door was read to 1.3 px, and to 4.9 px with those (results/two_rooms).
    Other rows count as other episodes; on several ranks, those of the rank.

    Sources: van den Oord et al. 2018 (arXiv 1807.03748); over time: Sermanet et al. 2018 (arXiv 1704.06888).
    """
    if z.ndim != 3 or z.shape[1] < 2:
        raise ValueError(f"expected latents [B, T, D] of 2 frames or more, got {list(z.shape)}")
    first, last = full_precision(z[:, 0]), full_precision(z[:, -1])
    own = torch.arange(len(z), device=z.device)
    with torch.autocast(z.device.type, enabled=False):
        logits = -(first.unsqueeze(1) - last).square().sum(-1) / temperature  # [B, B]
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def straightening(z: Tensor) -> Tensor:
    """One minus the cosine between successive steps of z [B, T, D], T >= 3: 0 for straight paths, 2 for reversals."""
    steps = velocity(z)
    if steps.shape[1] < 2:
        raise ValueError(f"straightening compares two steps in a row: wants 3 frames or more, got {z.shape[1]}")
    return 1 - F.cosine_similarity(steps[:, 1:], steps[:, :-1], dim=-1).mean()


def velocity(z: Tensor) -> Tensor:
    """Differences of neighboring latents of z [B, T, D], [B, T - 1, D].

    Raises:
        ValueError: If there are fewer than two frames.
    """
    if z.ndim != 3 or z.shape[1] < 2:
        raise ValueError(f"expected latents [B, T, D] of 2 frames or more, got {list(z.shape)}")
    return full_precision(z).diff(dim=1)


def without_batch_mean(z: Tensor, reduce: Reduce = alone) -> Tensor:
    """Latents [B, T, D] minus their mean over the samples of all ranks at each t."""
    if z.ndim != 3 or z.shape[1] < 2:
        raise ValueError(f"expected latents [B, T, D] of 2 frames or more, got {list(z.shape)}")
    return center(z.transpose(0, 1), reduce).z.transpose(0, 1)
