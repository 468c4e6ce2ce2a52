"""What was asked for, and what is planned with: the recipe's own numbers where nothing else was asked."""

from dataclasses import dataclass, replace
from pathlib import Path

from craik.errors import UsageError
from craik.plan.settings import CostName, Planning, SolverName
from craik.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """An evaluation of planning. None leaves a number to the recipe, or to the world."""

    run: Path
    env: str
    episodes: int = 50
    seed: int = 0
    max_steps: int | None = None
    """Steps of the environment in which the goal is to be reached; those of the world by default."""
    distance: tuple[float, float] | None = None
    """Range of the distance from start to goal [units of the world]."""
    stay: int = 20
    """Steps to go on after arriving."""
    together: int = 10
    """Episodes side by side."""
    horizon: int | None = None
    execute: int | None = None
    solver: SolverName | None = None
    samples: int | None = None
    iterations: int | None = None
    cost: CostName | None = None
    detour: float | None = None
    hold: bool | None = None
    seconds: float | None = None
    """Wall-clock budget of a decision of one episode [s]."""
    data: Path | None = None
    """Episodes that a critic learns from; those of the run without, or some that are collected."""
    compare: Path | None = None
    vary: tuple[str, ...] = ()
    reach: bool = False
    pictures: int = 0
    """Episodes to record."""
    device: str = "auto"

    def __post_init__(self) -> None:
        least = {"--episodes": self.episodes, "--max-steps": self.max_steps, "--together": self.together}
        for name, value in least.items():
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}: give at least 1")
        if self.stay < 0 or self.pictures < 0 or self.seed < 0:
            raise UsageError("--stay, --pictures and --seed are 0 or more")
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"--seconds {self.seconds}: a budget is more than 0 s; 0.05 is a quick decision")
        if self.distance is not None and not 0 <= self.distance[0] <= self.distance[1]:
            raise UsageError(f"--distance {self.distance[0]:g} {self.distance[1]:g}: give least and greatest distance")

    def planning(self, recipe: Recipe) -> Planning:
        """The recipe's numbers, and in their place those that were asked for.

        Raises:
            UsageError: If they do not go together.
        """
        own: Planning = getattr(recipe, "planning", None) or Planning()
        names = ("horizon", "execute", "solver", "samples", "iterations", "cost", "detour", "hold")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if "horizon" in given and "execute" not in given:
            given["execute"] = max(1, min(own.execute, given["horizon"]))
        return replace(own, **given)
