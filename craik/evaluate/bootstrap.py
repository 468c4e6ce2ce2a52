"""Bootstrap: how far a figure would move if the test samples were drawn again.

Intervals are of the test samples alone; they say nothing of how much another training seed would change.
Source: Efron 1979, percentile intervals.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

RESAMPLES = 2000
LEVEL = 0.95
MAX_DRAWS = 1 << 24  # row numbers held at once


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the percentile interval around it."""

    value: float
    low: float
    high: float

    def percent(self) -> str:
        """As `61.2 (60.3-62.1)`, times 100."""
        return f"{100 * self.value:.1f} ({100 * self.low:.1f}-{100 * self.high:.1f})"

    def signed_percent(self) -> str:
        """A difference as `+21.3 (+20.1 to +22.4)`, times 100."""
        return f"{100 * self.value:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


def mean_interval(values: Tensor, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Interval of the mean of one value per test sample [N]: accuracy, of what was right (1) and wrong (0)."""
    values = values.double()
    return _interval(values, lambda rows: values[rows].mean(1), resamples, seed)


def difference_interval(a: Tensor, b: Tensor, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Paired interval of mean(a) - mean(b), both [N] on the same samples; narrower than that of two alone."""
    if a.shape != b.shape:
        raise ValueError(f"paired values differ in shape: {list(a.shape)} and {list(b.shape)}")
    return mean_interval(a.double() - b.double(), resamples=resamples, seed=seed)


def r2_interval(predicted: Tensor, actual: Tensor, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Interval of R^2 of predictions [N]; the variance of `actual` [N] is resampled along with the error."""
    actual, error = actual.double(), (actual.double() - predicted.double()).square()

    def statistic(rows: Tensor) -> Tensor:
        return 1 - error[rows].mean(1) / actual[rows].var(1, correction=0)

    return _interval(actual, statistic, resamples, seed)


def _interval(values: Tensor, statistic: Callable[[Tensor], Tensor], resamples: int, seed: int) -> Interval:
    if len(values) == 0:
        raise ValueError("there is no test sample to take an interval of")
    everything = torch.arange(len(values)).unsqueeze(0)
    drawn = torch.cat([statistic(rows) for rows in _draws(len(values), resamples, seed)])
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(drawn, torch.tensor([tail, 1 - tail], dtype=drawn.dtype)).tolist()
    return Interval(float(statistic(everything)[0]), low, high)


def _draws(count: int, resamples: int, seed: int) -> Iterator[Tensor]:
    """Row numbers int64 [R, N], drawn with replacement, in chunks of bounded size."""
    generator = torch.Generator().manual_seed(seed)
    step = max(1, MAX_DRAWS // count)
    for start in range(0, resamples, step):
        yield torch.randint(count, (min(step, resamples - start), count), generator=generator)
