"""Shares of success: their intervals, by distance, and compared on the same episodes."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from craik.evaluate.bootstrap import Interval

Z = 1.959963984540054  # two-sided 95 %


def wilson(successes: int, num: int) -> Interval:
    """Wilson's score interval of 95 % of a share; right also near 0 and 1, where a bootstrap has no width.

    Source: Wilson 1927; Brown, Cai and DasGupta 2001.
    """
    if not 0 <= successes <= num or num < 1:
        raise ValueError(f"{successes} successes of {num}")
    share, z2 = successes / num, Z * Z
    center = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = Z / (1 + z2 / num) * math.sqrt(share * (1 - share) / num + z2 / (4 * num * num))
    return Interval(share, max(0.0, center - half), min(1.0, center + half))


class Band(NamedTuple):
    """Success of the episodes of similar distance."""

    low: float
    """Least distance among them [units of the world]."""
    high: float
    """Greatest."""
    num: int
    share: Interval


def bands(reached: np.ndarray, distance: np.ndarray, num: int = 4) -> tuple[Band, ...]:
    """Success of `num` groups of equal size, from near to far; fewer where there are fewer episodes than 5 each.

    Args:
        reached: bool [E].
        distance: float [E].
        num: Groups at most.
    """
    groups = np.array_split(np.argsort(distance, kind="stable"), max(1, min(num, len(distance) // 5)))
    return tuple(
        Band(float(distance[g].min()), float(distance[g].max()), len(g), wilson(int(reached[g].sum()), len(g)))
        for g in groups
        if len(g)
    )


@dataclass(frozen=True, slots=True)
class Paired:
    """Two policies on the same episodes."""

    both: int
    """Episodes in which both succeeded."""
    only_first: int
    only_second: int
    neither: int
    difference: Interval
    """Success of the first minus that of the second."""
    p_value: float
    """Of equal success, exact and two-sided (McNemar's test: the sign test of the discordant episodes)."""

    def sentence(self, first: str, second: str) -> str:
        """The comparison for people."""
        num = self.both + self.only_first + self.only_second + self.neither
        return (
            f"{first} minus {second}: {self.difference.signed_percent()} points on the same {num} episodes; only "
            f"{first} reached {self.only_first}, only {second} {self.only_second}; p = {self.p_value:.2g}"
        )


def paired(first: np.ndarray, second: np.ndarray) -> Paired:
    """Compare successes bool [E] of two policies on the same episodes.

    The interval is Newcombe's (1998, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", method 10): score intervals of both shares, joined by their correlation.
    """
    if first.shape != second.shape or not len(first):
        raise ValueError(f"successes {list(first.shape)} and {list(second.shape)} are not of the same episodes")
    a, b = int((first & second).sum()), int((first & ~second).sum())
    c, d = int((~first & second).sum()), int((~first & ~second).sum())
    one, two = wilson(a + b, len(first)), wilson(a + c, len(first))
    correlation = _correlation(a, b, c, d)
    gap = one.value - two.value

    def root(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * correlation * x * y + y * y))

    low = gap - root(one.value - one.low, two.high - two.value)
    high = gap + root(one.high - one.value, two.value - two.low)
    return Paired(a, b, c, d, Interval(gap, max(-1.0, low), min(1.0, high)), sign_test(b, c))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided chance of so uneven a split of wins and losses where both are equally likely; 1 without any."""
    num, less = wins + losses, min(wins, losses)
    return min(1.0, 2 * sum(math.comb(num, k) for k in range(less + 1)) / 2**num)


def _correlation(a: int, b: int, c: int, d: int) -> float:
    """Of two series of successes, with Newcombe's correction for continuity."""
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if not margins:
        return 0.0
    product, num = a * d - b * c, a + b + c + d
    if product > 0:
        product = max(0, product - num / 2)  # type: ignore[assignment]
    return product / math.sqrt(margins)
