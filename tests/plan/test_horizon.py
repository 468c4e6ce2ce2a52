"""Imagination in chunks, receding horizon, and the example of the package."""

import math
import textwrap
import time

import pytest
import torch
from torch import Tensor

import craik.plan
from craik.errors import UsageError
from craik.plan import (
    CEM,
    ICEM,
    Box,
    CategoricalCEM,
    Controller,
    Discrete,
    Futures,
    LatentDistance,
    Situation,
    evaluator,
    imagine,
    summed,
)
from craik.plan.imagine import expected, worst
from tests.plan.worlds import BOX, Cart, Cells, Point, alone, generator


class Counting(Point):
    """Notes how many rows it was given at once."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        self.rows.append(len(actions))
        return super().rollout(latents, past, actions, z)


def test_chunks_change_nothing_but_the_memory() -> None:
    actions = torch.randn(3, 20, 4, 2)
    situation = alone(torch.randn(3, 2))
    whole = evaluator(Point(), situation, LatentDistance(torch.zeros(3, 2)))(actions)
    model = Counting()
    pieces = evaluator(model, situation, LatentDistance(torch.zeros(3, 2)), chunk=13)(actions)
    assert torch.equal(whole, pieces)
    assert model.rows == [12] * 5
    tiny = Counting()
    assert torch.equal(evaluator(tiny, situation, LatentDistance(torch.zeros(3, 2)), chunk=1)(actions), whole)
    assert set(tiny.rows) == {3}


def test_imagination_keeps_problems_and_candidates_apart() -> None:
    situation = alone(torch.tensor([[0.0, 0.0], [10.0, 0.0]]))
    actions = torch.randn(2, 3, 4, 2)
    imagined = imagine(Point(), situation, actions)
    assert torch.allclose(imagined, situation.now[:, None, None] + actions.cumsum(2))


def test_several_futures_are_averaged_or_feared() -> None:
    z = torch.tensor([[[1.0, 0.0]], [[-3.0, 0.0]]])  # two futures of one step, with drift
    situation, actions = alone(torch.zeros(1, 2)), torch.zeros(1, 5, 1, 2)
    cost = LatentDistance(torch.zeros(1, 2))
    for judge, value in ((expected, 5.0), (worst, 9.0)):
        costs = evaluator(Point(), situation, cost, chunk=2, futures=Futures(z, judge))(actions)
        assert costs.tolist() == [[value] * 5]


def test_a_situation_needs_the_actions_between_its_frames() -> None:
    with pytest.raises(ValueError, match=r"T - 1 actions"):
        Situation(torch.zeros(2, 3, 4), torch.zeros(2, 3, 1))


def test_receding_horizon_brings_a_cart_to_rest_at_the_goal() -> None:
    state, goal = torch.tensor([[0.0, 0.0, 0.0, 0.0], [2.0, 1.0, 0.2, 0.0]]), torch.tensor([[1.5, -1.0, 0.0, 0.0]])
    controller = Controller(Cart(), ICEM(), BOX, horizon=12, rng=generator())
    for _ in range(40):
        action = controller.act(state.unsqueeze(1), torch.zeros(2, 0, 2), LatentDistance(goal, over=summed))
        assert action.shape == (2, 1, 2)
        state = Cart().rollout(state.unsqueeze(1), torch.zeros(2, 0, 2), action)[:, 0]
    assert torch.allclose(state, goal.expand(2, -1), atol=0.1)


def test_the_next_search_starts_where_the_last_one_ended() -> None:
    seen: list[Tensor] = []
    inner = ICEM(num_iterations=1)

    def solver(evaluate, bounds, start, rng, deadline=None):  # type: ignore[no-untyped-def]
        seen.append(start)
        return inner(evaluate, bounds, start, rng, deadline)

    controller = Controller(Point(), solver, Box.of([0.5, -1], [1, 1]), horizon=5, rng=generator(), execute=2)
    objective = LatentDistance(torch.ones(3, 2))
    first = controller.act(torch.zeros(3, 1, 2), torch.zeros(3, 0, 2), objective)
    assert first.shape == (3, 2, 2)
    assert (seen[0] == torch.tensor([0.5, 0.0])).all(), "doing nothing, as far as the bounds let"
    carry = controller.plan.carry
    controller.keep(torch.tensor([True, False, True]))
    controller.act(torch.zeros(2, 1, 2), torch.zeros(2, 0, 2), LatentDistance(torch.ones(2, 2)))
    assert torch.equal(seen[1][:, :, :3], carry[[0, 2], :, 2:])
    assert (seen[1][:, :, 3:] == torch.tensor([0.5, 0.0])).all()
    with pytest.raises(ValueError, match="keep"):
        controller.act(torch.zeros(1, 1, 2), torch.zeros(1, 0, 2), objective)
    controller.reset()
    controller.act(torch.zeros(1, 1, 2), torch.zeros(1, 0, 2), LatentDistance(torch.ones(1, 2)))
    assert seen[2].shape == (1, 1, 5, 2)


class BlockPoint(Point):
    """Moves by the three actions of a block at once."""

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        return latents[:, -1:] + actions.unflatten(-1, (3, 2)).sum(2).cumsum(1)


def test_blocks_of_actions() -> None:
    controller = Controller(BlockPoint(), CEM(), BOX, horizon=2, rng=generator(), execute=2, block=3)
    goal = torch.tensor([[2.0, -1.0]])
    actions = controller.act(torch.zeros(1, 1, 2), torch.zeros(1, 0, 6), LatentDistance(goal))
    assert actions.shape == (1, 6, 2)
    assert torch.allclose(actions.sum(1), goal, atol=0.1)


def test_discrete_choices_walk_home() -> None:
    world = Cells(["....", ".##.", "...."])
    at, goal = torch.tensor([[0.0, 0.0], [2.0, 3.0]]), torch.tensor([[2.0, 3.0], [0.0, 1.0]])
    controller = Controller(world, CategoricalCEM(num_iterations=5), Discrete(4), 6, generator())
    home = torch.zeros(2, dtype=torch.bool)
    for _ in range(6):
        choice = controller.act(at.unsqueeze(1), torch.zeros(2, 0, 4), LatentDistance(goal))
        assert choice.shape == (2, 1)
        at = world.step(at, world.MOVES[choice[:, 0]])
        home |= (at == goal).all(1)
    assert home.all(), at


def test_a_wall_clock_budget_on_the_real_clock() -> None:
    """Each evaluation sleeps, so the budget is what ends the search; the best of three tries on a busy machine."""

    class Sleepy(Point):
        def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
            time.sleep(0.01)
            return super().rollout(latents, past, actions, z)

    controller = Controller(Sleepy(), CEM(num_iterations=10_000), BOX, 3, generator(), seconds=0.25)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        controller.act(torch.zeros(1, 1, 2), torch.zeros(1, 0, 2), LatentDistance(torch.ones(1, 2)))
        taken.append(time.perf_counter() - began)
    assert min(abs(seconds / 0.25 - 1) for seconds in taken) < 0.2, taken


@pytest.mark.parametrize(("execute", "block"), [(0, 1), (6, 1), (1, 0)])
def test_settings_that_cannot_work(execute: int, block: int) -> None:
    with pytest.raises(UsageError, match="1 <= execute <= horizon"):
        Controller(Point(), CEM(), BOX, 5, generator(), execute, block)


def test_the_example_of_the_package_runs(capsys: pytest.CaptureFixture[str]) -> None:
    paragraphs = textwrap.dedent(craik.plan.__doc__.split("\n", 1)[1]).split("\n\n")
    code = "\n\n".join(textwrap.dedent(p) for p in paragraphs if p.startswith("    "))
    state = torch.zeros(1, 1, 2)

    def observe(actions: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal state
        assert actions.shape == (1, 1, 2)
        state = state + actions[:, :1]
        return state, torch.zeros(1, 0, 2)

    walk = torch.randn(10, 60, 2, generator=generator()).cumsum(1)
    names = dict(
        vars(craik.plan),
        model=Point(),
        goal_frames=torch.tensor([6.0, 0.0]).view(1, 1, 1, 1, 2),
        latents_of_data=walk.flatten(0, 1),
        position=lambda latents: latents,
        bounds=Box.of([-0.5, -0.5], [0.5, 0.5]),
        latents_of_episodes=walk,
        rng=generator(),
        latents=state,
        past=torch.zeros(1, 0, 2),
        observe=observe,
        costs_of_reachable_goals=torch.rand(100),
    )
    exec(code, names)
    printed = capsys.readouterr().out
    assert "usable" in printed
    assert "No sign that the goal is out of reach" in printed
    assert math.dist(state.flatten().tolist(), [6.0, 0.0]) < 0.3
