"""What every solver promises, on worlds whose best plan is known."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from craik.errors import UsageError
from craik.plan import (
    CEM,
    ICEM,
    MPPI,
    ActionSize,
    Box,
    CategoricalCEM,
    Discrete,
    Forbidden,
    Gradient,
    LatentDistance,
    Objective,
    RandomShooting,
    Solver,
    Term,
    evaluator,
    rectangle,
)
from tests.plan.worlds import BOX, GRID, Cart, Cells, Point, alone, cart_optimum, generator, quadratic, same, to_goal

REAL: dict[str, Solver] = {
    "cem": CEM(num_iterations=15),
    "icem": ICEM(num_iterations=12, beta=0.5),
    "mppi": MPPI(num_iterations=15),
    "gradient": Gradient(num_restarts=4, num_iterations=60),
    "shooting": RandomShooting(num_samples=20_000),
}
ALL: dict[str, tuple[Solver, Box | Discrete]] = {name: (solver, BOX) for name, solver in REAL.items()} | {
    "categorical": (CategoricalCEM(), GRID),
    "discrete shooting": (RandomShooting(num_samples=500, num_iterations=10), GRID),
}


def start(bounds: Box | Discrete, batch: int = 1, horizon: int = 3) -> Tensor:
    return bounds.neutral().expand(batch, horizon, -1)


@pytest.mark.parametrize(("name", "tolerance"), [("cem", 0.01), ("icem", 0.01), ("mppi", 0.02), ("gradient", 0.01)])
def test_reaches_the_closed_form_optimum_of_a_cart(name: str, tolerance: float) -> None:
    horizon, effort = 6, 0.1
    state = torch.tensor([[0.0, 0.0, 0.1, -0.1], [1.0, 0.5, 0.0, 0.0]])
    goal = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    cost = Objective({"goal": Term(LatentDistance(goal)), "effort": Term(ActionSize(BOX), effort)})
    evaluate = evaluator(Cart(), alone(state), cost)
    best = torch.stack([cart_optimum(s, g, horizon, effort) for s, g in zip(state, goal, strict=True)])
    assert float(best.abs().max()) < 1, "the optimum must lie inside the bounds for the closed form to hold"
    plan = REAL[name](evaluate, BOX, start(BOX, 2, horizon), generator())
    lowest = evaluate(best.unsqueeze(1))[:, 0]
    assert (plan.cost >= lowest - 1e-6).all()
    assert (plan.cost - lowest < tolerance).all(), plan.cost - lowest
    assert torch.allclose(evaluate(plan.actions.unsqueeze(1))[:, 0], plan.cost, atol=1e-6)


def test_every_solver_beats_random_shooting_with_as_many_candidates() -> None:
    optimum = torch.rand(4, 8, 2, generator=generator()) - 0.5
    plans = {name: solver(quadratic(optimum), BOX, start(BOX, 4, 8), generator()) for name, solver in REAL.items()}
    for name in ("cem", "icem", "mppi", "gradient"):
        assert plans[name].evaluations < plans["shooting"].evaluations
        assert (plans[name].cost < plans["shooting"].cost / 2).all()


def test_around_a_u_shaped_wall_sampling_finds_the_way_and_the_gradient_does_not() -> None:
    arms = [rectangle([1, -1.5], [2, 1.5]), rectangle([-0.5, 1.2], [2, 1.8]), rectangle([-0.5, -1.8], [2, -1.2])]
    cost = Objective(
        {
            "goal": Term(LatentDistance(torch.tensor([[3.0, 0.0]]), scale=9.0)),
            "wall": Term(
                Forbidden(lambda s: s, lambda at: torch.stack([arm(at) for arm in arms]).amin(0), margin=0.1), weight=20
            ),
        }
    )
    box = Box.of([-0.5, -0.5], [0.5, 0.5])
    evaluate = evaluator(Point(), alone(torch.zeros(1, 2)), cost)
    horizon = 20
    stuck = Gradient(num_restarts=1, num_iterations=200)(evaluate, box, start(box, 1, horizon), generator())
    found = ICEM(num_samples=500, num_elites=25, num_iterations=20, spread=1.0)(
        evaluate, box, start(box, 1, horizon), generator()
    )
    assert float(stuck.cost) > 0.2
    assert float(found.cost) < 0.01
    path = found.actions[0].cumsum(0)
    assert min(float(arm(path).min()) for arm in arms) > -0.02
    assert float(path[:, 1].abs().max()) > 1.8, "the way leads around an arm"


def test_discrete_choices_find_the_way_through_a_grid() -> None:
    world = Cells([".......", ".####..", "....#..", ".##.#..", "..#...."])
    at, goal = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[2.0, 5.0], [4.0, 3.0]])
    plan = CategoricalCEM(num_samples=500, num_iterations=15)(
        to_goal(world, at, goal, 4), GRID, start(GRID, 2, 11), generator()
    )
    assert (plan.cost == 0).all()
    assert set(plan.actions.unique().tolist()) == {0.0, 1.0}
    assert (plan.actions.sum(-1) == 1).all()
    choices = GRID.split(plan.actions)
    assert choices.shape == (2, 11)
    assert choices.dtype == torch.int64
    shooting = RandomShooting(num_samples=500)(to_goal(world, at, goal, 4), GRID, start(GRID, 2, 11), generator())
    assert float(shooting.cost.sum()) > 0


@pytest.mark.parametrize("name", ALL)
def test_a_problem_does_not_feel_its_neighbors(name: str) -> None:
    solver, bounds = ALL[name]
    goals = bounds.uniform((2, 3), generator(1))
    begin = torch.stack([start(bounds)[0], bounds.project(goals[1] * 0.5 + 0.1)])
    both = solver(quadratic(goals), bounds, begin, generator())
    for row in (0, 1):
        one = solver(quadratic(goals[row : row + 1]), bounds, begin[row : row + 1], generator())
        assert torch.allclose(both.actions[row], one.actions[0], atol=1e-5)
        assert torch.allclose(both.trace[:, row], one.trace[:, 0], atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_same_seed_same_plan_and_the_trace_never_rises(name: str) -> None:
    solver, bounds = ALL[name]
    evaluate = quadratic(bounds.uniform((2, 8), generator(1)))
    plans = [solver(evaluate, bounds, start(bounds, 2, 8), generator(seed)) for seed in (3, 3, 4)]
    assert same(plans[0], plans[1])
    if name != "gradient":  # which starts from the mean and comes to the same place
        assert not torch.equal(plans[0].trace, plans[2].trace)
    assert (plans[0].trace.diff(dim=0) <= 0).all()
    assert plans[0].carry.shape[0] == 2
    assert plans[0].carry.shape[2:] == (8, bounds.size)


@pytest.mark.parametrize("name", ALL)
def test_nan_and_infinite_costs_survive(name: str) -> None:
    solver, bounds = ALL[name]
    goals = bounds.uniform((2, 3), generator(1))

    def treacherous(actions: Tensor) -> Tensor:
        cost = quadratic(goals)(actions)
        spoiled = torch.stack([actions[0, :, 0, 0] > 0.9, actions[1, :, 0, 1] > 0.9])
        return torch.where(spoiled, math.nan if actions.shape[1] % 2 else -math.inf, cost)

    plan = solver(treacherous, bounds, start(bounds, 2), generator())
    assert torch.isfinite(plan.cost).all()
    assert torch.isfinite(plan.carry).all()
    assert (plan.cost < quadratic(goals)(start(bounds, 2).unsqueeze(1))[:, 0]).all()


@pytest.mark.parametrize("name", ALL)
def test_without_any_finite_cost_the_start_stands(name: str) -> None:
    solver, bounds = ALL[name]
    plan = solver(lambda a: a.sum((-2, -1)) * math.nan, bounds, start(bounds, 2), generator())
    assert torch.isinf(plan.cost).all()
    assert torch.equal(plan.actions, bounds.nearest(start(bounds, 2)))
    assert torch.isfinite(plan.carry).all()


class Clock:
    """Time passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize("seconds", [0.5, 2.0])
@pytest.mark.parametrize("name", ALL)
def test_a_deadline_is_used_and_kept(name: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("craik.plan.solver.time", SimpleNamespace(perf_counter=clock.perf_counter))
    solver, bounds = ALL[name]
    solver = type(solver)(num_iterations=10_000)
    goals = bounds.uniform((1, 3), generator(1))

    def slow(actions: Tensor) -> Tensor:
        clock.now += 0.03 * (1 + 0.5 * math.sin(clock.now)) if actions.shape[1] > 1 else 0.001
        return quadratic(goals)(actions)

    plan = solver(slow, bounds, start(bounds), generator(), deadline=100.0 + seconds)
    assert 0.8 * seconds <= clock.now - 100.0 <= 1.05 * seconds
    assert plan.seconds == pytest.approx(clock.now - 100.0)


@pytest.mark.parametrize("name", ALL)
def test_a_deadline_long_past_still_gives_a_plan(name: str) -> None:
    solver, bounds = ALL[name]
    goals = bounds.uniform((1, 3), generator(1))
    plan = solver(quadratic(goals), bounds, start(bounds), generator(), deadline=0.0)
    assert torch.isfinite(plan.cost).all()
    assert 1 <= len(plan.trace) <= 2  # one iteration, and the mean where the mean is returned


@pytest.mark.parametrize("name", ALL)
def test_the_mean_and_the_proposals_are_tried_first(name: str) -> None:
    solver, bounds = ALL[name]
    goals = bounds.uniform((2, 3), generator(1))
    seen: list[Tensor] = []

    def watch(actions: Tensor) -> Tensor:
        seen.append(actions.detach().expand(2, -1, -1, -1).clone())
        return quadratic(goals)(actions)

    begin = torch.stack([start(bounds, 2), goals], 1)  # [B, 2, H, A]: nothing, and the answer
    plan = solver(watch, bounds, begin, generator())
    assert torch.allclose(seen[0][:, 0], bounds.nearest(start(bounds, 2)))
    assert torch.allclose(seen[0][:, 1], goals)
    assert torch.allclose(plan.trace[0], torch.zeros(2), atol=1e-6)


@pytest.mark.parametrize("name", REAL)
def test_proposals_stay_inside_the_bounds(name: str) -> None:
    box = Box.of([-1, 0.5], [0, 2.0], max_norm=1.5).block(2)
    seen: list[Tensor] = []

    def watch(actions: Tensor) -> Tensor:
        seen.append(actions.detach())
        return -actions.square().sum((-2, -1))

    REAL[name](watch, box, start(box), generator())
    tried = torch.cat([actions.flatten(0, 2) for actions in seen])
    assert (tried >= box.low - 1e-6).all()
    assert (tried <= box.high + 1e-6).all()
    assert float(tried.view(-1, 2, 2).norm(dim=-1).max()) <= 1.5 + 1e-5


@pytest.mark.parametrize("name", REAL)
def test_double_precision_stays(name: str) -> None:
    goals = torch.rand(1, 3, 2, dtype=torch.float64) - 0.5
    plan = REAL[name](quadratic(goals), BOX, start(BOX).double(), generator())
    assert plan.actions.dtype == plan.cost.dtype == plan.carry.dtype == torch.float64


def test_the_wrong_kind_of_action_is_refused_with_a_way_out() -> None:
    for name in ("cem", "icem", "mppi", "gradient"):
        with pytest.raises(UsageError, match="CategoricalCEM"):
            REAL[name](quadratic(torch.zeros(1, 3, 4)), GRID, start(GRID), generator())
    with pytest.raises(UsageError, match="use CEM"):
        CategoricalCEM()(quadratic(torch.zeros(1, 3, 2)), BOX, start(BOX), generator())


@pytest.mark.parametrize(
    "make",
    [
        lambda: CEM(num_elites=400),
        lambda: ICEM(num_elites=150),
        lambda: MPPI(temperature=0.0),
        lambda: Gradient(num_restarts=0),
        lambda: CategoricalCEM(num_elites=1),
    ],
)
def test_settings_that_cannot_work_are_refused(make: object) -> None:
    with pytest.raises(UsageError, match="wants"):
        make()  # type: ignore[operator]


def test_a_cost_of_the_wrong_shape_and_a_start_of_the_wrong_width() -> None:
    with pytest.raises(ValueError, match=r"\[B, S\] = \[1, 300\]"):
        CEM()(lambda actions: actions.sum(-1), BOX, start(BOX), generator())
    with pytest.raises(ValueError, match="A = 2"):
        CEM()(quadratic(torch.zeros(1, 3, 2)), BOX, torch.zeros(1, 3, 5), generator())
