"""What was asked of the agent."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from craik import plan_run
from craik.errors import UsageError

Mode = Literal["plan", "react", "both"]
NAMES: dict[str, str] = {"plan": "Mode-2 alone", "react": "Mode-1 alone", "both": "both"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Lives of an agent: rounds in which it learns, then every mode on the same starts and goals."""

    planning: plan_run.Asked
    """Run, environment, episodes, seed, and how to plan."""
    rounds: int = 2
    """Rounds of learning before it is measured, each of as many episodes."""
    mode: Mode = "both"
    """Which modes are measured: one alone, or both of them and the two together."""
    policy: Path | None = None
    """What an agent learned before; by default what the run holds."""
    fresh: bool = False
    """Forget what the run's agent learned before."""
    surprise_rate: float = 0.01
    """Share of usual steps that may count as a surprise."""
    reach_rate: float = 0.05
    """Share of reachable goals that may be called out of reach; 0 asks nothing."""

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise UsageError(f"--rounds {self.rounds}: give 0 or more")
        if not 0 < self.surprise_rate < 1 or not 0 <= self.reach_rate < 1:
            raise UsageError(
                f"--surprise-rate {self.surprise_rate:g} and --reach-rate {self.reach_rate:g} are shares between "
                "0 and 1; 0.01 and 0.05 are usual, --reach-rate 0 asks nothing"
            )
        if self.fresh and self.policy is not None:
            raise UsageError("--fresh and --policy contradict each other; give one")

    @property
    def modes(self) -> tuple[Mode, ...]:
        """What is measured."""
        return ("plan", "react", "both") if self.mode == "both" else (self.mode,)

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return self.planning.run / "agent"
