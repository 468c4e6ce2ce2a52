"""The configurator: what is to be done, checked before anything is done.

Source: LeCun 2022, section 3: it prepares the other modules for the task at hand.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from craik.agent.cost import CRITIC, GOAL, CostModule
from craik.agent.perception import Observation
from craik.core.world import WorldModel
from craik.errors import UsageError
from craik.plan import (
    CEM,
    ICEM,
    MPPI,
    Bounds,
    CategoricalCEM,
    Discrete,
    Gradient,
    Held,
    RandomShooting,
    Solver,
    summed,
)
from craik.plan.objective import Cost, OverTime

PLANNERS: Mapping[str, Callable[[], Solver]] = MappingProxyType(
    {
        "cem": CEM,
        "icem": ICEM,
        "mppi": MPPI,
        "gradient": Gradient,
        "random": RandomShooting,
        "categorical": CategoricalCEM,
    }
)
MODES = ("both", "react", "plan")


@dataclass(frozen=True, slots=True, eq=False)
class TaskSpec:
    """A task.

    Attributes:
        goal: Observations of goals [B, ...], or [1, ...] for all environments alike; or any cost of imagined futures,
            such as a region to be reached. Only goals that can be seen are distilled into the policy.
        weights: Of `goal`, of `critic`, and of guard rails, which can be raised alone. Without any: the critic weighs
            1 where there is one, else the goal does.
        horizon: Steps of the model to look ahead.
        execute: Steps of a plan to carry out before the next one, while nothing is a surprise; 1 to horizon.
        planner: A name (auto, cem, icem, mppi, gradient, random, categorical) or a solver; auto is iCEM, or the
            categorical CEM where actions are discrete.
        seconds: Wall-clock budget of one plan [s]; None leaves the planner its own limits.
        block: Actions of the environment in one step of the model (frame skip).
        hold: One action is chosen for a step of the model and carried out `block` times, in place of a whole block:
            there is less to search, and a policy learns single actions. See `craik.plan.Held`.
        detour: A random move where a step ended farther from what was imagined than this share of the imagined way,
            squared; 0 for none. See `craik.plan.Detour`.
        over: How the costs of the steps become one; summed, so that arriving early pays.
        glance: Steps that Mode-1 looks ahead to see whether the cost falls.
        mode: "both", or one alone: "react" (Mode-1) or "plan" (Mode-2).
    """

    goal: Observation | Cost
    weights: Mapping[str, float] = field(default_factory=dict)
    horizon: int = 10
    execute: int = 1
    planner: str | Solver = "auto"
    seconds: float | None = None
    block: int = 1
    hold: bool = False
    detour: float = 0.0
    over: OverTime = summed
    glance: int = 3
    mode: str = "both"

    def __post_init__(self) -> None:
        if isinstance(self.planner, str) and self.planner != "auto":
            _known(self.planner, PLANNERS, "planner")
        _known(self.mode, MODES, "mode")
        for name in ("horizon", "execute", "block", "glance"):
            if getattr(self, name) < 1:
                raise UsageError(f"a task wants {name} of 1 or more; got {getattr(self, name)}")
        if self.execute > self.horizon:
            raise UsageError(f"a plan of {self.horizon} steps (horizon) cannot be carried out for {self.execute}")
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(
                f"a task wants a budget above 0 seconds; got {self.seconds}. Leave it out for the planner's own limits"
            )
        if not 0 <= self.detour < float("inf"):
            raise UsageError(f"detour {self.detour}: give a share of the imagined way such as 0.5, or 0 for none")
        for name, weight in self.weights.items():
            if not 0 <= weight < float("inf"):
                raise UsageError(f"the weight of {name!r} is to be 0 or more, and finite; got {weight}")
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))


class Configuration(NamedTuple):
    """What the other modules are set to for a task."""

    task: TaskSpec
    solver: Solver
    bounds: Bounds
    """Of what is chosen for a step of the model: a block of actions, or one action that is held."""
    inside: Bounds
    """Of actions as the model takes them, in blocks."""
    weights: Mapping[str, float]

    def whole(self, chosen: Tensor) -> Tensor:
        """What was chosen [..., A] as the model takes it [..., block * A]."""
        return chosen.repeat(*[1] * (chosen.ndim - 1), self.task.block) if self.task.hold else chosen

    def imagining(self, model: WorldModel) -> WorldModel:
        """The model as a search sees it: it takes what is chosen."""
        return Held(model, self.task.block) if self.task.hold else model


def configure(task: TaskSpec, bounds: Bounds, cost: CostModule) -> Configuration:
    """Set up a task for the actions and the cost of an agent.

    Raises:
        UsageError: If a weight has no cost, or lowers a guard rail; if what is wanted weighs nothing; if a planner
            does not fit the actions; if a goal that cannot be seen is to be reacted to.
    """
    names = (GOAL, CRITIC, *cost.intrinsic.names())
    for name in task.weights:
        _known(name, names, "cost")
    cost.intrinsic.weighted(task.weights)
    seen = not callable(task.goal)
    if task.mode == "react" and not seen:
        raise UsageError('a cost as goal can be planned for, not reacted to: take mode="plan", or observe the goal')
    if task.weights.get(CRITIC, 0) > 0 and (cost.critic is None or not seen):
        lacks = "this agent has none: train one with fit_critic" if cost.critic is None else "its goal is a cost"
        raise UsageError(f"the task gives the critic a weight, and {lacks}")
    if isinstance(task.goal, Tensor) and task.goal.ndim < 2:
        raise UsageError(f"a goal is a batch of observations [B, ...]; got {list(task.goal.shape)}: add an axis")
    usual = CRITIC if cost.critic is not None and seen else GOAL
    chosen = (
        {GOAL: 0.0, CRITIC: 0.0} | ({} if {GOAL, CRITIC} & task.weights.keys() else {usual: 1.0}) | dict(task.weights)
    )
    if not chosen[GOAL] + chosen[CRITIC] > 0:
        raise UsageError("goal and critic both weigh 0: nothing would be wanted; give one of them a weight")
    inside = bounds.block(task.block)
    return Configuration(task, _solver(task.planner, bounds), bounds if task.hold else inside, inside, chosen)


def _solver(planner: str | Solver, bounds: Bounds) -> Solver:
    discrete = isinstance(bounds, Discrete)
    if not isinstance(planner, str):
        return planner
    if planner == "auto":
        return CategoricalCEM() if discrete else ICEM()
    if planner != "random" and discrete != (planner == "categorical"):
        fits = "categorical or random" if discrete else "cem, icem, mppi, gradient or random"
        raise UsageError(f"planner {planner!r} does not fit the actions of this world; these do: {fits}")
    return PLANNERS[planner]()


def _known(name: str, known: "Mapping[str, object] | tuple[str, ...]", what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, list(known), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"no {what} {name!r}.{hint} There are: {', '.join(known)}.")
