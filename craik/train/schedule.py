"""Schedules: pure functions from the number of a step to a value. Source: reference/I-JEPA training code facts.

Steps are counted from 1 for learning rate and weight decay (the published loop advances both before the first
update) and from 0 for the momentum.
"""

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def warmup_cosine(start: float, peak: float, final: float, warmup: int, total: int) -> Schedule:
    """Linear from start to peak over `warmup` steps, then a cosine that reaches final at step `total`.

    Beyond `total` the cosine turns upward again, as published: a stretched schedule stops before its end instead.
    """

    def value(step: int) -> float:
        if step < warmup:
            return start + step / max(1, warmup) * (peak - start)
        progress = (step - warmup) / max(1, total - warmup)
        return max(final, final + (peak - final) * 0.5 * (1 + math.cos(math.pi * progress)))

    return value


def cosine(start: float, final: float, total: int) -> Schedule:
    """Half a cosine from start to final, not beyond final."""

    def value(step: int) -> float:
        raw = final + (start - final) * 0.5 * (1 + math.cos(math.pi * step / total))
        return max(final, raw) if final <= start else min(final, raw)

    return value


def linear(start: float, final: float, total: float) -> Schedule:
    """Straight line that reaches final at step `total`, and stays there."""

    def value(step: int) -> float:
        return start + min(step, total) * (final - start) / total

    return value


def warmup_stable_decay(start: float, peak: float, final: float, warmup: int, decay: int, total: int) -> Schedule:
    """Linear from start to peak over `warmup` steps, constant, and a line to final over the last `decay` of `total`.

    Beyond `total` the line goes on, as published: V-JEPA 2-AC, and V-JEPA 2's cooldown, which is all decay.
    """

    def value(step: int) -> float:
        if step < warmup:
            return start + step / max(1, warmup) * (peak - start)
        late = max(0, step - (total - decay))
        return peak + late / max(1, decay) * (final - peak)

    return value
