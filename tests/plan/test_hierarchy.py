"""Two levels in a maze with a trap: the way to the goal first leads away from it."""

import pytest
import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan import (
    CEM,
    ICEM,
    Box,
    Controller,
    HierarchicalController,
    LatentDistance,
    Objective,
    Pathfinder,
    Term,
    summed,
)
from tests.plan.worlds import Cells, SlowCells, generator

TRAP = Cells(
    [
        "########################",
        "#......................#",
        "#......................#",
        "#......................#",
        "#......###########.....#",
        "#................#.....#",
        "#................#.....#",
        "#................#.....#",
        "#......###########.....#",
        "#......#...............#",
        "#......#...............#",
        "########################",
    ]
)
STRIDE = 8
BOX = Box.of([-0.9, -0.9], [0.9, 0.9])
TOP = ICEM(num_samples=300, num_elites=10, num_iterations=5, spread=1.0, beta=1.0)
LOW = ICEM(num_samples=60, num_elites=6, num_iterations=3)


def distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).norm(dim=-1)


def end_at(goal: Tensor) -> Objective:
    return Objective({"goal": Term(LatentDistance(goal))})


def hurry_to(goal: Tensor) -> Objective:
    return Objective({"goal": Term(LatentDistance(goal, over=summed))})


def pathfinder(**changes: object) -> Pathfinder:
    settings = dict(depths=(1, 2, 4, 8), enough=2.0) | changes
    return Pathfinder(SlowCells(TRAP, STRIDE), TOP, BOX, end_at, distance, **settings)  # type: ignore[arg-type]


def problems(num: int) -> tuple[Tensor, Tensor]:
    """Starts deep in the trap, goals behind its wall."""
    unit = torch.rand(2, num, 2, generator=generator(5))
    return unit[0] * torch.tensor([2, 5]) + torch.tensor([5, 10]), unit[1] * torch.tensor([6, 3]) + torch.tensor(
        [3, 19]
    )


def drive(act, start: Tensor, goal: Tensor, num_steps: int = 100) -> float:  # type: ignore[no-untyped-def]
    """Share of goals reached."""
    at, reached = start, torch.zeros(len(start), dtype=torch.bool)
    for _ in range(num_steps // 4):
        actions = act(at.unsqueeze(1), torch.zeros(len(at), 0, 2))
        for action in actions.unbind(1):
            at = TRAP.step(at, action)
            reached |= distance(at, goal) < 1
    return float(reached.float().mean())


def test_hierarchical_beats_flat_out_of_a_trap_with_fewer_predictions() -> None:
    start, goal = problems(5)
    TRAP.predictions, top = 0, pathfinder()
    low = Controller(TRAP, LOW, BOX, STRIDE, generator(), execute=4)
    agent = HierarchicalController(top, low, hurry_to, close=4.0, hold=2)
    success = drive(lambda latents, past: agent.act(latents, past, goal), start, goal)
    hierarchical = TRAP.predictions + top.model.predictions  # type: ignore[attr-defined]
    assert success >= 0.8
    flat_solver = ICEM(num_samples=250, num_elites=20, num_iterations=5, spread=1.0)
    for towards in (end_at, hurry_to):
        TRAP.predictions = 0
        flat = Controller(TRAP, flat_solver, BOX, 24, generator(), execute=4)
        flat_success = drive(
            lambda latents, past, flat=flat, towards=towards: flat.act(latents, past, towards(goal)), start, goal
        )
        assert TRAP.predictions >= hierarchical
        assert flat_success <= success / 2


def test_routes_are_as_short_as_will_do() -> None:
    start = torch.tensor([[1.0, 1.0], [1.0, 1.0], [6.0, 14.0]])
    goal = torch.tensor([[5.0, 4.0], [1.0, 13.0], [6.0, 20.0]])  # one macro-action, two, around the trap
    route = pathfinder()(start, goal, generator())
    assert route.depth.tolist()[:2] == [1, 2]
    assert int(route.depth[2]) >= 4
    assert (route.final <= 2).all()
    assert float(distance(route.subgoal[0], goal[0])) <= 2
    assert float(route.subgoal[2, 1]) < 14, "the first step around the trap leads away from the goal"


def test_a_goal_out_of_reach_gets_the_route_that_ends_nearest() -> None:
    start, goal = torch.tensor([[1.0, 1.0]]), torch.tensor([[60.0, 1.0]])
    route = pathfinder(depths=(1, 2))(start, goal, generator())
    assert float(route.final) > 2
    assert float(route.final) == pytest.approx(50, abs=1.0)
    assert int(route.depth) in (1, 2)


def test_close_goals_are_planned_for_directly() -> None:
    wanted: list[Tensor] = []

    def towards(goal: Tensor) -> Objective:
        wanted.append(goal)
        return hurry_to(goal)

    start, goal = torch.tensor([[1.0, 1.0], [6.0, 14.0]]), torch.tensor([[3.0, 3.0], [6.0, 20.0]])
    low = Controller(TRAP, CEM(num_iterations=1), BOX, STRIDE, generator())
    agent = HierarchicalController(pathfinder(), low, towards, close=4.0, hold=2)
    past = torch.zeros(2, 0, 2)
    agent.act(start.unsqueeze(1), past, goal)
    assert torch.equal(wanted[0][0], goal[0])
    assert torch.equal(wanted[0][1], agent.route.subgoal[1])
    first = agent.route
    agent.act(start.unsqueeze(1), past, goal)
    assert agent.route is first, "a sub-goal is held for two calls"
    agent.act(start.unsqueeze(1), past, goal)
    assert agent.route is not first
    agent.keep(torch.tensor([1]))
    agent.act(start[1:].unsqueeze(1), past[1:], goal[1:])
    assert torch.equal(wanted[-1], agent.route.subgoal)
    agent.reset()
    assert agent.route is None
    assert low.plan is None


def test_depths_must_grow() -> None:
    with pytest.raises(UsageError, match="grow"):
        pathfinder(depths=(4, 2))
