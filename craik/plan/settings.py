"""How to plan, in numbers: what a recipe recommends for its model, and what a command line may change."""

from dataclasses import dataclass
from typing import Literal, get_args

from craik.errors import UsageError
from craik.plan.bounds import Bounds, Discrete
from craik.plan.categorical import CategoricalCEM
from craik.plan.cem import CEM
from craik.plan.gradient import Gradient
from craik.plan.icem import ICEM
from craik.plan.mppi import MPPI
from craik.plan.shooting import RandomShooting
from craik.plan.solver import Solver

SolverName = Literal["icem", "cem", "mppi", "gradient", "shooting"]
CostName = Literal["terminal", "summed", "critic"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Planning:
    """How a model is planned with. Defaults: some 670 plans of 16 steps per decision, for small models."""

    horizon: int = 16
    """Steps of the model to look ahead H."""
    execute: int = 4
    """Steps of the model to execute before planning again, 1 to H."""
    solver: SolverName = "icem"
    """Which search; for discrete actions icem and cem become the categorical CEM."""
    samples: int = 200
    """Candidates per iteration; restarts of the gradient solver."""
    iterations: int = 5
    """Iterations of one search."""
    cost: CostName = "summed"
    """Latent distance to the goal at the last step, or its mean over the steps; or steps to go by a learned critic."""
    hold: bool = False
    """One action is held over a step of the model, in place of one for each step of the environment inside."""
    detour: float = 0.0
    """A random move where a step ended farther from what was imagined than this share of the imagined way, squared;
    0 for none. See `plan.detour`."""
    frames: int | None = None
    """Frames that are encoded and given to the model; None gives all that it looks at."""

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            UsageError: A number below 1, `execute` above `horizon`, or a solver or cost that does not exist.
        """
        least = min(self.horizon, self.execute, self.samples, self.iterations, self.frames or 1)
        if least < 1 or self.execute > self.horizon:
            raise UsageError(
                "planning wants 1 <= execute <= horizon, and samples, iterations and frames of 1 or more; got "
                f"execute {self.execute}, horizon {self.horizon}, samples {self.samples}, "
                f"iterations {self.iterations}, frames {self.frames}"
            )
        if not self.detour >= 0:
            raise UsageError(f"detour {self.detour}: give a share of the imagined way such as 0.5, or 0 for none")
        if self.solver not in get_args(SolverName) or self.cost not in get_args(CostName):
            raise UsageError(
                f"solver {self.solver!r} and cost {self.cost!r}: solvers are {', '.join(get_args(SolverName))}; "
                f"costs are {', '.join(get_args(CostName))}"
            )

    def search(self, bounds: Bounds) -> Solver:
        """The solver, for actions of this kind.

        Raises:
            UsageError: If the solver cannot choose among discrete actions, or the samples are too few for it.
        """
        samples, iterations = self.samples, self.iterations
        if self.solver == "shooting":
            return RandomShooting(samples, iterations)
        if self.solver in ("icem", "cem") and isinstance(bounds, Discrete):
            return CategoricalCEM(samples, max(2, samples // 10), iterations)
        if isinstance(bounds, Discrete):
            raise UsageError(f"solver {self.solver} cannot choose among discrete actions: take icem, cem or shooting")
        if self.solver == "icem":
            return ICEM(samples, min(10, max(2, samples // 10)), iterations)
        if self.solver == "cem":
            return CEM(samples, max(2, samples // 10), iterations)
        if self.solver == "mppi":
            return MPPI(samples, iterations)
        return Gradient(samples, iterations)
