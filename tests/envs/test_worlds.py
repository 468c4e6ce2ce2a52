"""What holds for every world: shapes, seeds, goals, experts that arrive, frames that are quick."""

import dataclasses
import json
import time

import numpy as np
import pytest

from craik import codec
from craik.envs import find
from craik.envs.world import Box, Discrete, choose, count, each, join, take
from craik.errors import UsageError
from tests.envs.worlds import ALL, QUICK, SPECS, begin


def leaves(state):
    found = []
    each(lambda a: found.append(a) or a, state)
    return found


@pytest.mark.parametrize("spec", QUICK)
def test_shapes(spec):
    world, state, goal, rng = begin(spec, 5)
    assert count(state) == count(goal) == 5
    assert all(len(array) == 5 for array in leaves(state))
    action = world.action.sample(5, rng)
    following = world.step(state, action, rng)
    assert [a.shape for a in leaves(following)] == [a.shape for a in leaves(state)]
    assert [a.dtype for a in leaves(following)] == [a.dtype for a in leaves(state)]
    frames = world.render(following)
    assert frames.shape == (5, *world.shape) and frames.dtype == np.uint8
    assert world.truth(state).shape == (5, len(world.truth_names))
    assert world.reached(state, goal).dtype == bool
    assert world.distance(state, goal).shape == (5,)
    assert world.expert(state, goal, rng).shape == action.shape
    assert world.name.split("+")[0] == spec.split("+")[0].split(":")[0]


@pytest.mark.parametrize("spec", QUICK)
def test_same_seed_same_episode(spec):
    def play(seed):
        world, state, goal, rng = begin(spec, 4, seed)
        for _ in range(10):
            state = world.step(state, world.action.sample(4, rng), rng)
        return world.render(state), world.render(goal), world.truth(state)

    first, again, other = play(1), play(1), play(2)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first[0] != other[0]).any()


@pytest.mark.parametrize("spec", QUICK)
def test_step_and_render_leave_the_state_as_it_was(spec):
    world, state, goal, rng = begin(spec, 3)
    before = [a.copy() for a in leaves(state)]
    world.step(state, world.expert(state, goal, rng), rng)
    world.render(state)
    for a, b in zip(before, leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("spec", QUICK)
def test_worlds_do_not_touch_each_other(spec):
    world, state, goal, _ = begin(spec, 6)
    rows = np.array([4, 1])
    np.testing.assert_array_equal(world.render(state)[rows], world.render(take(state, rows)))
    np.testing.assert_allclose(world.distance(state, goal)[rows], world.distance(take(state, rows), take(goal, rows)))


@pytest.mark.parametrize("spec", QUICK)
def test_goals_are_not_reached_at_the_start_and_share_the_layout(spec):
    world, state, goal, _ = begin(spec, 200)
    assert not world.reached(state, goal).any()
    assert world.reached(goal, goal).all()
    far = world.distance(state, goal)
    assert np.isfinite(far).all() and far.min() > 0
    np.testing.assert_allclose(world.distance(goal, goal), 0.0, atol=1e-9)


@pytest.mark.parametrize("spec", ["maze:large", *(s for s in QUICK if s != "random_door:rare")])
def test_the_expert_arrives(spec):
    num = {"maze:large": 12, "maze:loops": 50, "maze+distractor+noise": 50}.get(spec, 200)
    world, state, goal, rng = begin(spec, num)
    taken, arrived = np.zeros(num), world.reached(state, goal)
    far, left = world.distance(state, goal), np.zeros(num)
    for _ in range(world.max_steps):
        state = world.step(state, world.expert(state, goal, rng), rng)
        taken += ~arrived
        now = world.reached(state, goal) & ~arrived
        left[now] = world.distance(state, goal)[now]
        arrived |= now
        if arrived.all():
            break
    assert arrived.all()
    if spec.startswith(("two_rooms", "maze")):  # a move may end at a bend, no more is lost
        base = world.world if hasattr(world, "world") else world
        base = base.world if hasattr(base, "world") else base
        ideal = (far - base.success_radius) / base.max_move
        assert (taken * base.max_move + left >= far - 1e-6).all()  # nobody beats the shortest path
        assert (taken <= 1.15 * ideal + 8).all()
        assert taken.mean() < (1.2 if spec == "maze:large" else 1.1) * ideal.mean() + 2
    if spec in ("grid", "grid:open_field"):
        np.testing.assert_array_equal(taken, far)


def test_states_can_be_taken_chosen_and_joined():
    world, state, _, _ = begin("two_rooms", 3)
    _, other, _, _ = begin("two_rooms", 3, seed=5)
    both = join(state, other)
    assert count(both) == 6
    np.testing.assert_array_equal(take(both, slice(3, 6)).position, other.position)
    mixed = choose(np.array([True, False, True]), state, other)
    frames = world.render(mixed)
    np.testing.assert_array_equal(frames[[0, 2]], world.render(state)[[0, 2]])
    np.testing.assert_array_equal(frames[1], world.render(other)[1])


def test_box_fits_and_samples_within_its_bounds():
    rng = np.random.default_rng(0)
    box = Box((-2.0, -2.0), (2.0, 2.0), max_norm=2.0)
    sample = box.sample(2000, rng)
    assert np.linalg.norm(sample, axis=1).max() <= 2.0
    assert abs((np.linalg.norm(sample, axis=1) < 1.0).mean() - 0.25) < 0.04  # uniform on the disk
    fitted = box.fit(np.array([[9.0, 0.0], [0.3, 0.4], [1.9, -1.9]]), 3)
    np.testing.assert_allclose(fitted[:2], [[2.0, 0.0], [0.3, 0.4]])
    np.testing.assert_allclose(np.linalg.norm(fitted[2]), 2.0)
    assert set(Discrete(3).sample(200, rng)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("spec", "action", "message"),
    [
        ("two_rooms", np.zeros((2, 3)), r"expected actions \[2, 2\].*got \[2, 3\]"),
        ("two_rooms", np.zeros(2), r"got \[2\]"),
        ("point_mass", np.array([[0.0, 0.0], [0.0, np.nan]]), "world 1 .* finite"),
        ("grid", np.zeros((2, 1), dtype=int), "whole numbers"),
        ("grid", np.zeros(2), "float64"),
        ("grid", np.array([0, 5]), "from 0 to 4, got 0 to 5"),
    ],
)
def test_wrong_actions_are_refused(spec, action, message):
    world, state, _, rng = begin(spec, 2)
    with pytest.raises(UsageError, match=message):
        world.step(state, action, rng)


@pytest.mark.parametrize("name", ALL)
def test_settings_survive_json(name):
    world = find(name)
    again = codec.decode(type(world), json.loads(json.dumps(codec.encode(world))))
    assert again == world and dataclasses.is_dataclass(world)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [s for s in SPECS if "+" not in s])
def test_five_thousand_frames_per_second_on_one_core(spec):
    world, state, _, _ = begin(spec, 64)
    world.render(state)
    seconds = []
    for _ in range(8):
        began = time.process_time()
        world.render(state)
        seconds.append(time.process_time() - began)
    assert 64 / min(seconds) > 5000
