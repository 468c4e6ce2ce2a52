"""Planning in a simulator, with models of which it is known beforehand how they plan."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from craik import api
from craik.envs import find
from craik.envs.grid import Grid
from craik.envs.stochastic import RandomDoor
from craik.envs.two_rooms import TwoRooms
from craik.envs.world import World, take
from craik.errors import UsageError
from craik.evaluate.planning import Outcomes, Rules, play
from craik.evaluate.policies import NoOp, Oracle, Planner, Policy, Random, Straight, baselines
from craik.evaluate.recorder import Recorder
from craik.evaluate.scenes import Scenes, draw
from craik.evaluate.variations import variations, varied
from craik.evaluate.walks import judge, true_pairs, walk
from craik.plan import Box, Controller, LatentDistance, summed, usability
from craik.plan.settings import Planning
from tests import oracle_world
from tests.collect.worlds import Line, State

RULES = Rules(budget=60, stay=5)


def planner(variant: str = "line", execute: int = 2, seconds: float | None = None) -> Planner:
    """With the true dynamics of the line, or with wrong ones."""
    cfg = getattr(oracle_world, variant)()
    recipe = oracle_world.build(cfg)
    model = api.Model(recipe, {"recipe": "line", "variant": variant}, "line", torch.device("cpu"))
    bounds = Box.of((-1.0,), (1.0,))
    search = Planning(samples=32, iterations=2).search(bounds)
    controller = Controller(model, search, bounds, 6, torch.Generator(), execute, cfg.skip)
    return Planner(model, controller, lambda goal: LatentDistance(goal, 1.0, summed), cfg.history, seconds)


def scenes(num: int = 6, seed: int = 0) -> Scenes:
    return draw(Line(), num, seed, (20, 50))


def played(policy: Policy, some: Scenes, rules: Rules = RULES, world: object = None, together: int = 10) -> Outcomes:
    return Outcomes.join(list(play(world or Line(), some, policy, rules, 0, together=together)))  # type: ignore[arg-type]


def test_scenes_do_not_depend_on_how_many_are_drawn() -> None:
    few, many = draw(TwoRooms(), 5, 3), draw(TwoRooms(), 70, 3)
    np.testing.assert_array_equal(few.start.position, many.start.position[:5])
    np.testing.assert_array_equal(few.goal.position, many.goal.position[:5])
    np.testing.assert_array_equal(few.distance, TwoRooms().distance(few.start, few.goal))
    assert not (few.start.position == draw(TwoRooms(), 5, 4).start.position).any()
    assert few.refused == many.refused == 0, "goals of two rooms are never reached already"


def test_starts_that_satisfy_the_goal_are_refused_and_counted() -> None:
    class Careless(Line):
        def goal(self, state: State, rng: np.random.Generator) -> State:
            return State(
                np.where(rng.uniform(size=len(state.place)) < 0.5, state.place, Line.goal(self, state, rng).place)
            )

    found = draw(Careless(), 100, 0)
    assert not Careless().reached(found.start, found.goal).any()
    assert 70 < found.refused < 140 and found.outside == 0
    assert len(found) == 100


def test_distance_to_the_goal_is_asked_for() -> None:
    found = scenes(30)
    assert found.distance.min() >= 20 and found.distance.max() <= 50 and found.outside > 10
    with pytest.raises(
        UsageError, match=r"0 of 3 pairs of start and goal found in line: 0 starts .* 500 to 600: widen"
    ):
        draw(Line(), 3, 0, (500, 600))


def test_the_truth_plans_as_well_as_the_expert_and_its_contrary_not_at_all() -> None:
    some = scenes()
    oracle, good, bad = played(Oracle(), some), played(planner(), some), played(planner("backward"), some)
    assert oracle.reached.all() and good.reached.all() and not bad.reached.any()
    assert oracle.stayed.all() and good.stayed.all() and not bad.stayed.any()
    np.testing.assert_array_equal(
        oracle.steps, np.ceil(some.distance - 2) + (np.ceil(some.distance - 2) == some.distance - 2)
    )
    assert (good.steps >= oracle.steps).all() and (good.steps < 1.4 * oracle.steps + 3).all()
    assert (bad.steps == RULES.budget).all() and (bad.closest == some.distance).all()
    assert (good.closest < 2).all() and (good.decisions == -(-good.steps // 2)).all()
    assert (good.seconds > 0).all()


def test_history_and_frame_skip() -> None:
    """The model double checks that past actions are those between the frames it is given."""
    some = scenes()
    for execute in (1, 2):
        found = played(planner("skipping", execute=execute), some)
        assert found.reached.all()
        np.testing.assert_array_equal(found.decisions, -(-found.steps // (2 * execute)))


def test_groups_change_nothing_for_those_who_do_not_draw() -> None:
    some = scenes(7)
    whole, parts = (played(Oracle(), some, together=n) for n in (10, 3))
    np.testing.assert_array_equal(whole.steps, parts.steps)
    np.testing.assert_array_equal(parts.number, np.arange(7))


def test_same_seed_same_outcomes() -> None:
    some = scenes(4)
    a, b = played(planner(), some), played(planner(), some)
    np.testing.assert_array_equal(a.steps, b.steps)
    np.testing.assert_array_equal(a.closest, b.closest)


def test_the_last_step_is_looked_at_too() -> None:
    """Who runs through the goal has reached it and has not stayed."""

    class Runner(Oracle):
        def begin(self, world: World[State], scenes: Scenes, seed: int) -> None:
            super().begin(world, scenes, seed)
            self.way = np.sign(scenes.goal.place - scenes.start.place)

        def act(self, state: State) -> np.ndarray:
            return self.way[:, None, None]

        def keep(self, rows: np.ndarray) -> None:
            super().keep(rows)
            self.way = self.way[rows]

    some = scenes()
    found = played(Runner(), some)
    assert found.reached.all() and not found.stayed.any()
    assert played(Runner(), some, Rules(60, stay=0)).stayed.all(), "ended on arrival"
    late = played(Runner(), some, Rules(int(found.steps.max()), stay=3))
    assert late.reached.all() and late.stayed[found.steps.argmax()], "the budget ends it"
    short = played(Runner(), some, Rules(int(found.steps.max()) - 1, stay=3))
    assert not short.reached[found.steps.argmax()] and short.reached.sum() < 6


def test_frames_are_drawn_of_episodes_that_go_on() -> None:
    drawn: list[int] = []

    class Watched(Line):
        def render(self, state: State) -> np.ndarray:
            drawn.append(len(state.place))
            return super().render(state)

    some = scenes()
    found = played(planner(execute=2), some, world=Watched())
    assert drawn[0] == 6, "the goals"
    on = [(np.minimum(found.steps + RULES.stay, RULES.budget) > step).sum() for step in range(0, 60, 2)]
    assert drawn[1:] == pytest.approx([n for n in on if n], abs=6) and min(drawn) < 6
    assert sum(drawn) < 6 * 31


def test_an_evaluation_that_is_stopped_leaves_whole_groups() -> None:
    asked = iter([False] * 19 + [True] * 100)
    found = list(play(Line(), scenes(9), Oracle(), Rules(10), 0, together=3, stop=lambda: next(asked)))
    assert [o.number.tolist() for o in found] == [[0, 1, 2]], "10 decisions of the first, 9 of the second"


def test_what_a_world_draws_is_the_same_for_all_who_are_compared() -> None:
    world = RandomDoor()
    doors: dict[str, list[np.ndarray]] = {}

    @dataclass(frozen=True, slots=True)
    class Watched(RandomDoor):
        who: str = ""

        def step(self, state, action, rng):  # type: ignore[no-untyped-def]
            state = RandomDoor.step(self, state, action, rng)
            doors.setdefault(self.who, []).append(state.open.copy())
            return state

    some = draw(world, 3, 0)
    for policy in (Random(), NoOp()):
        played(policy, some, Rules(8), Watched(who=policy.name))
    agree = np.mean(np.stack(doors["random"]) == np.stack(doors["no-op"]))
    assert agree > 0.95  # a dot in the doorway may hold it open


def test_straight_stops_at_the_wall_and_the_oracle_does_not() -> None:
    world = TwoRooms()
    some = draw(world, 40, 0)
    straight, oracle = (played(p, some, Rules(100, stay=0), world, together=40) for p in (Straight(), Oracle()))
    sees = np.abs(some.distance - np.linalg.norm(some.start.position - some.goal.position, axis=1)) < 1e-6
    assert oracle.reached.all() and straight.reached[sees].all() and straight.reached[~sees].mean() < 0.1
    assert not played(NoOp(), some, Rules(20), world).reached.any()
    assert [p.name for p in baselines(world)] == ["random", "no-op", "straight", "oracle"]
    assert [p.name for p in baselines(find("push_disc"))] == ["random", "no-op", "oracle"]


def test_discrete_actions() -> None:
    world = Grid()
    some = draw(world, 8, 0)
    still = NoOp()
    found = played(still, some, Rules(5), world)
    assert still.nothing == 4, "stay"
    assert not found.reached.any() and (found.closest == some.distance).all()
    straight, oracle = (played(p, some, Rules(30), world) for p in (Straight(), Oracle()))
    assert oracle.reached.all() and (straight.steps >= oracle.steps).all()
    np.testing.assert_array_equal(oracle.steps, some.distance)


def test_a_goal_of_another_shape_is_refused() -> None:
    class Odd(Line):
        def render(self, state: State) -> np.ndarray:
            return super().render(state)[:, :4]

    with pytest.raises(
        UsageError, match=r"the goal of line is drawn as uint8 \[6, 4, 8, 3\]; expected uint8 \[6, 8, 8, 3\]"
    ):
        played(planner(), scenes(), world=Odd())
    with pytest.raises(UsageError, match="latents that are not finite"):
        played(planner("broken"), scenes())


def test_a_budget_of_time_is_shared() -> None:
    slow = planner(seconds=0.01)
    slow.controller.solver = Planning(samples=32, iterations=10_00).search(slow.controller.bounds)
    found = played(slow, scenes(2), Rules(6))
    assert slow.controller.seconds == pytest.approx(0.02)
    assert (0.02 < found.seconds).all() and (found.seconds < 0.6).all()


def test_recording_holds_what_was_seen_done_and_imagined() -> None:
    some, recorder = scenes(3), Recorder(range(1, 3))
    policy = planner("skipping")
    found = Outcomes.join(list(play(Line(), some, policy, RULES, 0, record=recorder)))
    one, two = recorder.episodes()
    assert (one.number, two.number) == (1, 2) and one.block == 2
    length = min(int(found.steps[1]) + RULES.stay, RULES.budget)
    assert one.reached == found.steps[1] and one.actions.shape == (length, 1)
    assert one.frames.shape == (length + 1, 8, 8, 3) and one.truth.shape == (length + 1, 1)
    np.testing.assert_allclose(np.diff(one.truth[:, 0]), one.actions[:, 0], atol=1e-6)
    np.testing.assert_array_equal(one.frames[-1], Line().render(State(one.truth[-1]))[0])
    assert float(one.goal_latent[0]) == pytest.approx(one.goal_truth[0], abs=0.3)
    assert [d.step for d in one.decisions] == list(range(0, length, 4))
    for decision in one.decisions[1:]:
        assert decision.latents.shape == (2, 1) and decision.past.shape == (1, 2)
        assert decision.actions.shape == (6, 2) and decision.imagined.shape == (6, 1)
        assert decision.cost == pytest.approx(float(decision.trace[-1]))
        ahead = min(decision.step + 4, length)
        np.testing.assert_allclose(
            one.actions[decision.step : ahead].ravel(),
            decision.actions[:2].flatten()[: ahead - decision.step],
            atol=1e-6,
        )
        if ahead == decision.step + 4:
            assert float(decision.imagined[1, 0]) == pytest.approx(one.truth[ahead, 0], abs=0.5)


def test_a_walk_tells_whether_the_latent_distance_is_usable() -> None:
    world = Line()
    taken = walk(world, 12, 20, seed=0, block=2)
    assert taken.frames.shape == (12, 20, 8, 8, 3) and taken.actions.shape == (12, 19, 2, 1)
    places = torch.from_numpy(taken.states.place.reshape(20, 12).T).float().unsqueeze(-1)
    inside = ((places > 2) & (places < 98)).all(1)[:, 0].numpy()
    assert inside.sum() > 4 and abs(np.diff(places[..., 0]) - taken.actions.sum((2, 3)))[inside].max() < 1e-4
    assert usability(true_pairs(world, taken, places, 0)).monotone
    noise = torch.randn(12, 20, 4, generator=torch.Generator().manual_seed(0))
    useless = usability(true_pairs(world, taken, noise, 0))
    assert not useless.monotone and abs(useless.spearman) < 0.2


def test_a_walk_that_leads_nowhere_is_told_by_time() -> None:
    class Still(Line):
        def step(self, state: State, action: np.ndarray, rng: np.random.Generator) -> State:
            return state

    taken = walk(Still(), 4, 12, seed=0)
    latents = torch.randn(4, 12, 3, generator=torch.Generator().manual_seed(0))
    assert set(true_pairs(Still(), taken, latents, 0).steps.tolist()) == set(range(1, 12))
    assert len(judge(Still(), taken, latents, 0).bands) >= 2


def test_a_world_without_expert() -> None:
    class Plain:
        def __getattr__(self, name: str) -> object:
            if name == "expert":
                raise AttributeError(name)
            return getattr(Line(), name)

    world: World[State] = Plain()  # type: ignore[assignment]
    taken = walk(world, 4, 12, seed=0, policy="mixed")
    assert true_pairs(world, taken, torch.zeros(4, 12, 1), 0).steps.max() == 11
    assert [p.name for p in baselines(world)] == ["random", "no-op"]


def test_steps_of_a_walk_are_those_of_the_shortest_way() -> None:
    world = TwoRooms()
    taken = walk(world, 6, 30, seed=0)
    x = torch.from_numpy(taken.states.position.reshape(30, 6, 2).transpose(1, 0, 2)).float()
    pairs = true_pairs(world, taken, x, 0)
    assert (pairs.steps.double() * world.max_move + 1e-6 >= pairs.distance.sqrt().double()).all()


def test_variations_change_one_thing() -> None:
    found = {v.name: v.world for v in variations(TwoRooms())}
    assert {"agent_color", "wall_color", "floor_color", "agent_size", "door", "walls", "speed", "noise"} <= set(found)
    assert found["door"] == replace(TwoRooms(), door_half=3)
    assert found["speed"].action.max_norm == pytest.approx(0.75 * 2.45)
    plain, blue = draw(TwoRooms(), 4, 0), draw(found["agent_color"], 4, 0)
    np.testing.assert_array_equal(plain.goal.position, blue.goal.position)
    assert (TwoRooms().render(plain.start) != found["agent_color"].render(blue.start)).any()
    for name in ("push_disc", "grid", "random_door"):
        for variation in variations(find(name)):
            scene = draw(variation.world, 2, 0)
            assert variation.world.render(take(scene.start, slice(1))).shape[1:] == find(name).shape
    with pytest.raises(UsageError, match="--vary gravity: two_rooms can be varied by agent_color, "):
        varied(TwoRooms(), ("gravity",))
    assert len(varied(TwoRooms(), ("all",))) == len(found)
    assert varied(Line(), ("all",))[0].name == "distractor"
