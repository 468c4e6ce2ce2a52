"""Reachability: when to say "cannot reach this goal", at a known rate of false alarms.

Plan to goals that are known to be reachable, note what the best plan costs at its end, and let a new plan raise the
alarm only if it costs more than nearly all of those (split conformal prediction). The promise needs no model to be
right: if new reachable goals come from where the calibration goals came from, and are planned for with the same
model, solver, horizon and budget, then at most the asked share of them is called unreachable. How many unreachable
goals are recognized is another question, which only the quality of the model answers.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from craik.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class Reachability:
    """A threshold on the best planned terminal cost.

    Attributes:
        costs: Best planned terminal costs of reachable goals, ascending, [N].
        false_alarm_rate: Share of reachable goals that may be called unreachable.
    """

    costs: Tensor
    false_alarm_rate: float

    @property
    def threshold(self) -> float:
        """Largest cost that still counts as reachable: the ceil((N + 1) (1 - rate))-th smallest of the N."""
        return float(self.costs[math.ceil((len(self.costs) + 1) * (1 - self.false_alarm_rate) - 1e-9) - 1])

    def cannot_reach(self, cost: Tensor) -> Tensor:
        """Alarm for best planned terminal costs [B], bool [B]. A cost that is not finite is an alarm."""
        return ~(cost <= self.threshold)

    def rarity(self, cost: Tensor) -> Tensor:
        """Conformal p-value of costs [B]: at most this share of reachable goals costs so much, [B] in (0, 1]."""
        dearer = (self.costs >= torch.nan_to_num(cost.detach(), nan=math.inf)[:, None].to(self.costs)).sum(1)
        return (1 + dearer) / (len(self.costs) + 1)

    def sentence(self, cost: float) -> str:
        """The answer for people."""
        rate = f"{100 * self.false_alarm_rate:.3g} % false alarms, calibrated on {len(self.costs)} reachable goals"
        if cost <= self.threshold:
            return f"No sign that the goal is out of reach: planned cost {cost:.3g} <= {self.threshold:.3g} ({rate})."
        return f"Cannot reach this goal: planned cost {cost:.3g} > {self.threshold:.3g} ({rate})."


def calibrate(costs: Tensor, false_alarm_rate: float = 0.05) -> Reachability:
    """Calibrate the alarm.

    Args:
        costs: Best planned terminal cost of each held-out reachable pair of start and goal, [N].
        false_alarm_rate: Share of reachable goals that may be called unreachable, in (0, 1). The rate met on average
            lies between it and it minus 1 / (N + 1), where costs do not tie.

    Raises:
        UsageError: If there are too few pairs for the rate, or the rate is not inside (0, 1).

    Source: Vovk et al. 2005, "Algorithmic learning in a random world"; Lei et al. 2018 (arXiv 1604.04173), section 2.
    """
    if not 0 < false_alarm_rate < 1:
        raise UsageError(f"a false alarm rate lies between 0 and 1; got {false_alarm_rate}; 0.05 is usual")
    needed = math.ceil(1 / false_alarm_rate - 1e-9) - 1
    if len(costs) < needed:
        raise UsageError(
            f"a false alarm rate of {false_alarm_rate} wants at least {needed} reachable pairs to calibrate on; got "
            f"{len(costs)}: plan for more pairs, or allow a higher rate"
        )
    known = torch.nan_to_num(costs.detach().double().flatten(), nan=math.inf, posinf=math.inf)
    return Reachability(known.sort().values, false_alarm_rate)
