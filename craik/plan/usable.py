"""Is the latent distance usable for planning? To be asked before any planning run; takes about a second.

A planner that minimizes a distance gets there only if states that are farther away in time look farther away. Squared
latent distance does so near by, and often saturates or turns around far away (arXiv 2608.12959): the goal then
attracts from near and misleads from afar, whatever the solver.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan.ranks import ranks, spearman

Distance = Callable[[Tensor, Tensor], Tensor]
"""Distance [P] of latents [P, D] and [P, D]; a cost that is to be planned with, such as a critic, will do."""

RISE = 0.6
"""Chance that a pair of the next band must have of looking farther than one of this band; 0.5 says nothing."""


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distance of latents [P, D] or [P, N, D], [P]."""
    return (a - b).flatten(1).square().sum(-1)


class Pairs(NamedTuple):
    """Pairs of states, how far apart they look, and how far apart they are."""

    distance: Tensor
    """Latent distance, [P]."""
    steps: Tensor
    """Steps between them, [P]: the true shortest way where it is known, else the time between them in an episode."""


class Band(NamedTuple):
    """Pairs of low <= steps < high."""

    low: int
    high: int
    num: int
    spearman: float
    """Rank correlation of distance and steps inside the band."""
    median: float
    """Median distance."""
    rise: float
    """Chance that a pair of this band looks farther than one of the band before; NaN for the first."""


@dataclass(frozen=True, slots=True)
class Usability:
    """How well a distance tells how far a goal is."""

    bands: tuple[Band, ...]
    spearman: float
    """Rank correlation over all pairs."""
    reach: int
    """Steps up to which the distance rises from band to band."""

    @property
    def monotone(self) -> bool:
        """Whether it rises through all bands."""
        return self.reach >= self.bands[-1].high - 1

    @property
    def verdict(self) -> str:
        """One sentence for people, with what to do."""
        farthest = self.bands[-1].high - 1
        if self.monotone:
            return (
                f"The latent distance is usable: it rises with the steps to go up to {farthest} "
                f"(Spearman {self.spearman:.2f})."
            )
        if self.reach < self.bands[0].high:
            return (
                f"The latent distance is not usable (Spearman {self.spearman:.2f}): pairs {self.bands[1].low} or more "
                "steps apart look no farther than their neighbors; train the model longer, or plan with a critic."
            )
        return (
            f"The latent distance is usable up to {self.reach} steps of {farthest} (Spearman {self.spearman:.2f} over "
            "all): beyond, far and near look alike, so plan to nearer sub-goals or with a critic."
        )


def usability(pairs: Pairs, edges: Sequence[int] | None = None) -> Usability:
    """Compare latent distance with steps, band by band.

    Args:
        pairs: Of states; thousands are better than hundreds.
        edges: Band b holds edges[b] <= steps < edges[b + 1]. Default: doubling, 1, 2, 4, ... up to the largest.

    Raises:
        UsageError: If fewer than two bands hold at least 10 pairs; such bands are left out.
    """
    steps, distance = pairs.steps, pairs.distance.detach()
    if edges is None:
        largest = max(int(steps.max()), 1)
        edges = [*(2**k for k in range(largest.bit_length())), largest + 1]
    found: list[Band] = []
    before: Tensor | None = None
    for low, high in pairwise(edges):
        inside = (steps >= low) & (steps < high)
        if int(inside.sum()) < 10:
            continue
        here = distance[inside]
        rise = math.nan if before is None else chance_of_more(here, before)
        found.append(Band(low, high, len(here), spearman(here, steps[inside]), float(here.median()), rise))
        before = here
    if len(found) < 2:
        raise UsageError(
            f"{len(steps)} pairs fill {len(found)} bands with 10 or more: give longer episodes, or more of them"
        )
    reach = found[0].high - 1
    for band in found[1:]:
        if not band.rise >= RISE:
            break
        reach = band.high - 1
    return Usability(tuple(found), spearman(distance, steps), reach)


def chance_of_more(a: Tensor, b: Tensor) -> float:
    """Chance that a number of a [M] exceeds one of b [N], ties counted half (Mann and Whitney 1947)."""
    rank_sum = float(ranks(torch.cat([a, b]))[: len(a)].sum())
    return (rank_sum - len(a) * (len(a) + 1) / 2) / (len(a) * len(b))


def episode_pairs(
    episodes: Sequence[Tensor],
    rng: torch.Generator,
    num: int = 20_000,
    distance: Distance = squared_distance,
) -> Pairs:
    """Pairs of states of the same episode, their lag spread evenly over the logarithm, so that all bands fill.

    Time between two states bounds the shortest way from above: a wandering policy blurs the bands, it does not
    reverse them. Where the shortest way is known, make `Pairs` of it instead.

    Args:
        episodes: Latents of each episode, [T, D] with T >= 2.
        rng: CPU generator.
        num: Pairs P.
        distance: Of pairs of latents.
    """
    lengths = torch.tensor([len(episode) for episode in episodes])
    if int(lengths.min()) < 2:
        raise UsageError("an episode of one frame has no pair of states; leave such episodes out")
    flat, first = torch.cat(list(episodes)), lengths.cumsum(0) - lengths
    which = torch.multinomial(lengths.double(), num, replacement=True, generator=rng)
    uniform = torch.rand(2, num, generator=rng, dtype=torch.float64)
    longest = lengths[which] - 1
    lag = torch.minimum((longest + 1).double().pow(uniform[0]).long(), longest)  # 1 to longest
    begin = (uniform[1] * (longest + 1 - lag)).long()
    a = (first[which] + begin).to(flat.device)
    return Pairs(distance(flat[a], flat[a + lag.to(flat.device)]), lag.to(flat.device))
