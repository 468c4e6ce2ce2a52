"""Several futures: whether the samples of a world model with a latent variable are those that can happen.

A model with one future is judged by how far it is off. One with many is judged by whether the true future is among
its samples (best of S, beside baselines, for any noise gains by being drawn often), whether it has every future that
can happen (coverage), and whether it has them as often as they happen (calibration).

Letters: N situations, S samples, M futures that can happen, D features, all of them latents or read-outs of any kind;
a trajectory is flattened to one vector, D = H x features.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from craik.evaluate.bootstrap import Interval, difference_interval, mean_interval

LEVELS = (0.5, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class BestOf:
    """Mean squared error of the future that came true, mean over situations, with 95 % intervals."""

    best: Interval
    """Of the nearest of S samples."""
    deterministic: Interval
    """Of the one future of a model without z, or with its default z."""
    noise: Interval
    """Of the nearest of S: the one future plus its own errors in other situations. It knows how large errors are, and
    not when; a model whose samples are no better has learned no more than that."""
    over_deterministic: Interval
    """Paired difference best - deterministic."""
    over_noise: Interval
    """Paired difference best - noise; below 0 is better."""
    num_samples: int
    """S."""


def best_of(samples: Tensor, single: Tensor, truth: Tensor, rng: torch.Generator) -> BestOf:
    """Nearest of samples [N, S, D] to the truth [N, D], beside the deterministic future [N, D] and noise around it.

    Raises:
        ValueError: If shapes do not fit, or there is but one situation.
    """
    check(samples, truth)
    if single.shape != truth.shape or len(truth) < 2:
        raise ValueError(f"expected 2 situations or more, and futures alike: {list(single.shape)}, {list(truth.shape)}")
    best = nearest(samples, truth)
    deterministic = (single - truth).square().mean(-1)
    noise = nearest(noisy(single, truth, samples.shape[1], rng), truth)
    return BestOf(
        best=mean_interval(best),
        deterministic=mean_interval(deterministic),
        noise=mean_interval(noise),
        over_deterministic=difference_interval(best, deterministic),
        over_noise=difference_interval(best, noise),
        num_samples=samples.shape[1],
    )


def nearest(samples: Tensor, truth: Tensor) -> Tensor:
    """Squared error, mean over features, of the sample [N, S, D] nearest to the truth [N, D], [N]."""
    return (samples - truth.unsqueeze(1)).square().mean(-1).amin(1)


def noisy(single: Tensor, truth: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """One future [N, D] plus the errors of `num` other situations each, [N, num, D]."""
    shifts = torch.randint(1, len(truth), (len(truth), num), generator=rng).to(truth.device)
    others = (torch.arange(len(truth), device=truth.device).unsqueeze(1) + shifts) % len(truth)
    return single.unsqueeze(1) + (truth - single)[others]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Whether the futures that can happen are among the samples, and nothing else."""

    covered: Interval
    """Share of the futures that have a sample within the tolerance, mean over situations."""
    all_covered: float
    """Share of the situations in which every future has."""
    precise: Interval
    """Share of the samples that are within the tolerance of a future."""
    chance: float
    """Share of the futures that would have a sample if samples were drawn for another situation."""


def coverage(samples: Tensor, modes: Tensor, tolerance: float, rng: torch.Generator) -> Coverage:
    """Coverage of futures [N, M, D] by samples [N, S, D], within a root mean squared error over the features.

    Modes that are fewer than M in a situation are filled up with NaN.

    Raises:
        ValueError: If shapes do not fit, or a situation has no future.
    """
    check(samples, modes[:, 0])
    real = ~modes.isnan().any(-1)  # [N, M]
    if not bool(real.any(1).all()):
        raise ValueError("a situation has no future to be covered")
    close = distances(samples, modes) <= tolerance  # [N, S, M]; false for NaN
    found = close.any(1)
    other = samples.roll(int(torch.randint(1, max(len(samples), 2), (), generator=rng)), 0)
    by_chance = (distances(other, modes) <= tolerance).any(1)
    return Coverage(
        covered=mean_interval(found.sum(1) / real.sum(1)),
        all_covered=float((found | ~real).all(1).double().mean()),
        precise=mean_interval(close.any(2).double().mean(1)),
        chance=float((by_chance.sum(1) / real.sum(1)).mean()),
    )


def distances(samples: Tensor, modes: Tensor) -> Tensor:
    """Root mean squared differences of samples [N, S, D] and futures [N, M, D], [N, S, M]."""
    return (samples.unsqueeze(2) - modes.unsqueeze(1)).square().mean(-1).sqrt()


def mode_shares(samples: Tensor, modes: Tensor) -> Tensor:
    """Share of the samples [N, S, D] that are nearest to each future [N, M, D], [N, M]; 0 for those filled with NaN.

    To be compared with the probabilities of the futures, where a simulator knows them; see `share_error`.
    """
    away = distances(samples, modes)
    closest = away.nan_to_num(nan=torch.inf).argmin(-1)  # [N, S]
    return torch.nn.functional.one_hot(closest, modes.shape[1]).double().mean(1)


def share_error(shares: Tensor, prob: Tensor) -> Interval:
    """Total variation between shares of samples and true probabilities, both [N, M], 0 to 1."""
    return mean_interval((shares.double() - prob.double()).abs().sum(-1) / 2)


@dataclass(frozen=True, slots=True)
class Ranks:
    """Where the truth stands among sorted samples: anywhere alike often, if it is but one sample more."""

    counts: tuple[int, ...]
    """How often the truth was above 0, 1, ... S samples. Heaped at both ends: samples too narrow; in the middle: too
    wide."""
    unevenness: float
    """Total variation from the even histogram, 0 to 1."""
    expected: float
    """The same, of as many ranks from a perfect model, on average."""
    p_value: float
    """Of the chi-square test of evenness. It takes all ranks as independent: give it features that are."""


def rank_histogram(samples: Tensor, truth: Tensor, rng: torch.Generator) -> Ranks:
    """Ranks of the truth [N, D] among samples [N, S, D], of each feature by itself; equal ones in random order.

    Source: Hamill 2001 (Interpretation of rank histograms for verifying ensemble forecasts).
    """
    check(samples, truth)
    target, num = truth.unsqueeze(1), samples.shape[1]
    below, equal = (samples < target).sum(1), (samples == target).sum(1)  # [N, D]
    ranks = below + (torch.rand(equal.shape, generator=rng).to(truth.device) * (equal + 1)).long()
    counts = torch.bincount(ranks.flatten(), minlength=num + 1).double()
    even = ranks.numel() / (num + 1)
    deviation = math.sqrt(2 * even * (1 - 1 / (num + 1)) / math.pi)  # mean absolute, of a count that is nearly normal
    chi_square = (counts - even).square().sum() / even
    return Ranks(
        counts=tuple(int(count) for count in counts),
        unevenness=float((counts - even).abs().sum() / (2 * ranks.numel())),
        expected=(num + 1) * deviation / (2 * ranks.numel()),
        p_value=float(torch.special.gammaincc(torch.tensor(num / 2, dtype=torch.float64), chi_square.cpu() / 2)),
    )


def interval_coverage(samples: Tensor, truth: Tensor, levels: tuple[float, ...] = LEVELS) -> tuple[Interval, ...]:
    """How often the truth [N, D] lies in the central interval of samples [N, S, D], per level; wanted: the level.

    With few samples the edges lie a little inside: S = 100 gives about 1 % less than the level.
    """
    check(samples, truth)
    inside = []
    for level in levels:
        edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=samples.dtype, device=samples.device)
        low, high = torch.quantile(samples, edges, dim=1)
        inside.append(mean_interval(((truth >= low) & (truth <= high)).double().mean(-1)))
    return tuple(inside)


def check(samples: Tensor, truth: Tensor) -> None:
    """Refuse shapes that would be broadcast to nonsense."""
    if samples.ndim != 3 or truth.shape != (len(samples), samples.shape[-1]):
        raise ValueError(f"expected samples [N, S, D] and truth [N, D]; got {list(samples.shape)}, {list(truth.shape)}")
