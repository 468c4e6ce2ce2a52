"""Guard rails cannot be changed; the critic can."""

from types import MappingProxyType

import pytest
import torch
from torch import nn

from craik.agent import CostModule, IntrinsicCost, TaskSpec
from craik.agent.configurator import configure
from craik.errors import UsageError
from craik.plan import CategoricalCEM, Discrete, LatentDistance, ReadoutCost, Term, summed
from tests.agent.worlds import BOX

LATENTS, ACTIONS = torch.randn(2, 3, 4, 2), torch.zeros(2, 3, 4, 2)


class Heat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.linear(latents).squeeze(-1).square()


def test_nothing_reaches_inside() -> None:
    home, heat = torch.zeros(1, 2), Heat()
    terms = {"home": Term(LatentDistance(home), 2.0), "heat": Term(ReadoutCost(heat), 3.0)}
    cost = CostModule(IntrinsicCost(terms), scale=1.0)
    task = TaskSpec(goal=torch.ones(1, 2))

    def judged() -> torch.Tensor:
        weights = configure(task, BOX, cost).weights
        return cost.wanted(torch.ones(1, 2), weights, summed).whole(LATENTS, ACTIONS).detach()

    before = judged()
    home.add_(5)
    torch.nn.init.zeros_(heat.linear.weight)
    terms["home"] = Term(LatentDistance(home), 0.0)
    del terms["heat"]
    cost.intrinsic.terms["home"].cost.goal.add_(7)
    assert torch.equal(judged(), before)
    with pytest.raises(AttributeError, match="immutable"):
        cost.intrinsic._terms = {}
    with pytest.raises(AttributeError, match="immutable"):
        del cost.intrinsic._terms
    with pytest.raises(AttributeError):
        cost.intrinsic = IntrinsicCost()
    assert isinstance(cost.intrinsic._terms, MappingProxyType)
    with pytest.raises(AttributeError):
        cost.intrinsic.terms["home"].weight = 0.0
    inside = cost.intrinsic.terms["heat"].cost.readout
    assert not any(parameter.requires_grad for parameter in inside.parameters())
    assert torch.equal(judged(), before)
    cost.critic = lambda latents, goals: (latents - goals).abs().sum(-1)
    assert not torch.equal(judged(), before), "the critic may change, and is used once it is there"


def test_a_task_may_raise_a_guard_rail_and_never_lower_it() -> None:
    cost = CostModule(IntrinsicCost({"heat": Term(ReadoutCost(lambda x: x[..., 0]), 3.0)}), scale=1.0)
    raised = configure(TaskSpec(goal=torch.ones(1, 2), weights={"heat": 5}), BOX, cost)
    whole = cost.wanted(torch.ones(1, 2), raised.weights, summed).whole
    assert torch.allclose(whole.terms(LATENTS, ACTIONS)["heat"], 5 * LATENTS[..., 0].mean(-1))
    assert set(whole.named) == {"heat", "goal"}
    with pytest.raises(UsageError, match="raise it, never lower it"):
        configure(TaskSpec(goal=torch.ones(1, 2), weights={"heat": 2.9}), BOX, cost)
    with pytest.raises(UsageError, match="cannot be called 'goal'"):
        IntrinsicCost({"goal": Term(ReadoutCost(lambda x: x[..., 0]))})
    with pytest.raises(UsageError, match="positive weight"):
        IntrinsicCost({"heat": Term(ReadoutCost(lambda x: x[..., 0]), 0.0)})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"planner": "icme"}, "Did you mean icem"),
        ({"mode": "plna"}, "Did you mean plan"),
        ({"horizon": 0}, "horizon of 1 or more; got 0"),
        ({"block": 0}, "block of 1 or more"),
        ({"seconds": 0.0}, "above 0 seconds"),
        ({"weights": {"goal": -1}}, "0 or more"),
        ({"weights": {"gaol": 1}}, "Did you mean goal"),
        ({"weights": {"goal": 0}}, "nothing would be wanted"),
        ({"weights": {"critic": 1}}, "train one with fit_critic"),
        ({"planner": "categorical"}, "these do: cem"),
        ({"goal": torch.ones(2)}, "add an axis"),
        ({"goal": lambda latents, actions: latents[..., 0, 0], "mode": "react"}, "not reacted to"),
    ],
)
def test_tasks_that_cannot_be(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        configure(TaskSpec(**{"goal": torch.ones(1, 2), **wrong}), BOX, CostModule(IntrinsicCost(), 1.0))


def test_discrete_actions_get_a_planner_that_fits() -> None:
    task, cost = TaskSpec(goal=torch.ones(1, 2), block=2), CostModule(IntrinsicCost(), 1.0)
    configuration = configure(task, Discrete(3), cost)
    assert isinstance(configuration.solver, CategoricalCEM) and configuration.bounds.size == 6
    with pytest.raises(UsageError, match="categorical or random"):
        configure(TaskSpec(goal=torch.ones(1, 2), planner="icem"), Discrete(3), cost)
    with pytest.raises(AttributeError):
        task.horizon = 3
    with pytest.raises(TypeError):
        task.weights["goal"] = 3
