"""What an agent did: each decision, and what they come to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from torch import Tensor


class Why(StrEnum):
    """Why an environment was reacted to, or planned for."""

    REACTS = "reacts"
    FOLLOWS = "follows its plan"
    STRAYS = "makes a random move: the last step led elsewhere"
    OVER = "the episode is over"
    UNTAUGHT = "plans: the policy was not taught yet"
    SURPRISED = "plans: the last step was a surprise"
    NO_GAIN = "plans: reacting is foreseen to gain nothing"
    ASKED = "plans: to tell whether the goal can be reached"
    TOLD = "plans: as it was told to"


class Decision(NamedTuple):
    """One decision for B environments."""

    actions: Tensor
    """As the model takes them, [B, A]."""
    reasons: tuple[Why, ...]
    """For each environment."""
    surprise: Tensor | None
    """Of the step before, [B]; None at the first."""
    seconds: float
    """Wall-clock time from observation to action [s]."""
    evaluations: int = 0
    """Futures that the search judged for each environment that planned."""


@dataclass(frozen=True, slots=True)
class Report:
    """Decisions added up.

    Attributes:
        reasons: How many decisions each reason had, over all environments whose episode went on.
        num_reactions: Calls in which no environment planned or followed a plan.
        seconds_reacting: In these [s].
        num_searches: The other calls.
        seconds_planning: In these [s].
    """

    reasons: Counter[Why] = field(default_factory=Counter)
    num_reactions: int = 0
    seconds_reacting: float = 0.0
    num_searches: int = 0
    seconds_planning: float = 0.0

    def plus(self, decision: Decision) -> "Report":
        """The report with one more decision."""
        counts = self.reasons + Counter(why for why in decision.reasons if why is not Why.OVER)
        if set(decision.reasons) <= {Why.REACTS, Why.STRAYS, Why.OVER}:
            seconds = self.seconds_reacting + decision.seconds
            return replace(self, reasons=counts, num_reactions=self.num_reactions + 1, seconds_reacting=seconds)
        seconds = self.seconds_planning + decision.seconds
        return replace(self, reasons=counts, num_searches=self.num_searches + 1, seconds_planning=seconds)

    @property
    def num_decisions(self) -> int:
        """Over all environments."""
        return self.reasons.total()

    @property
    def share_reacting(self) -> float:
        """Share of Mode-1 decisions; NaN before the first."""
        return self.reasons[Why.REACTS] / self.num_decisions if self.num_decisions else float("nan")

    @property
    def seconds_per_reaction(self) -> float:
        """Wall-clock time of a call without planning [s]; NaN where there was none."""
        return self.seconds_reacting / self.num_reactions if self.num_reactions else float("nan")

    @property
    def seconds_per_search(self) -> float:
        """Wall-clock time of a call by plans [s]; NaN where there was none."""
        return self.seconds_planning / self.num_searches if self.num_searches else float("nan")

    def __str__(self) -> str:
        lines = [
            f"{self.num_decisions} decisions, {100 * self.share_reacting:.0f} % by Mode-1 alone",
            f"seconds per decision: {self.seconds_per_reaction:.2g} reacting, {self.seconds_per_search:.2g} planning",
        ]
        return "\n".join(lines + _counted(self.reasons.most_common()))


def _counted(reasons: Sequence[tuple[Why, int]]) -> list[str]:
    return [f"{num:8d}  {why}" for why, num in reasons]
