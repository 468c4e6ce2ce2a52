"""Momentum, contact and cells: the laws of the point mass, the pushed disk and the grid."""

import dataclasses
from collections import deque

import numpy as np
import pytest

from craik.envs import find
from craik.envs.grid import MOVES, steps_to
from craik.envs.policy import Uniform
from tests.envs.worlds import begin


def test_a_frame_does_not_show_the_velocity():
    world, state, _, rng = begin("point_mass", 30)
    turned = dataclasses.replace(state, velocity=-state.velocity)
    np.testing.assert_array_equal(world.render(state), world.render(turned))
    idle = np.zeros((30, 2))
    one, other = world.step(state, idle, rng), world.step(turned, idle, rng)
    fast = np.linalg.norm(state.velocity, axis=1) > 0.3
    assert (world.render(one) != world.render(other)).any(axis=(1, 2, 3))[fast].all()


def test_the_point_mass_keeps_its_momentum_and_its_place():
    world = dataclasses.replace(find("point_mass"), drag=(0.0, 0.0))
    rng = np.random.default_rng(0)
    state = world.reset(50, rng)
    state = dataclasses.replace(state, position=np.full((50, 2), 32.0))
    following = world.step(state, np.zeros((50, 2)), rng)
    np.testing.assert_allclose(following.velocity, state.velocity)
    np.testing.assert_allclose(following.position - state.position, state.velocity)
    pushed = world.step(state, np.tile([1.0, 0.0], (50, 1)), rng)
    np.testing.assert_allclose(pushed.velocity - state.velocity, np.tile([world.force, 0.0], (50, 1)), atol=1e-12)
    policy = Uniform(world, hold_prob=0.95)
    memory, bounced = policy.begin(state, rng), 0
    for _ in range(1000):
        action, memory = policy.act(state, memory, rng)
        before, state = state, world.step(state, action, rng)
        assert state.position.min() >= 5.0 and state.position.max() <= 59.0
        assert np.linalg.norm(state.velocity, axis=1).max() <= world.max_speed + 1e-9
        bounced += int((np.sign(before.velocity) * np.sign(state.velocity) < 0).sum())
    assert bounced > 100


def test_flying_through_the_goal_is_not_reaching_it():
    world, _, goal, _ = begin("point_mass", 5)
    there = dataclasses.replace(goal, velocity=np.tile([2.0, 0.0], (5, 1)))
    assert not world.reached(there, goal).any() and world.reached(goal, goal).all()


def test_the_disk_moves_only_when_pushed_and_as_pushed():
    world, state, _, rng = begin("push_disc", 1)
    state = dataclasses.replace(state, agent=np.array([[20.0, 32.0]]), object=np.array([[32.0, 32.0]]))
    right = np.array([[2.0, 0.0]])
    touched = world.step(state, right, rng)
    np.testing.assert_allclose(touched.object, state.object)  # 10 apart, radii 3 and 5.5
    pushed = world.step(touched, right, rng)
    np.testing.assert_allclose(pushed.object, [[32.5, 32.0]])
    np.testing.assert_array_equal(world.truth(pushed)[:, 4], 1.0)
    np.testing.assert_allclose(world.step(pushed, -right, rng).object, pushed.object)
    askew = dataclasses.replace(state, agent=np.array([[24.5, 35.0]]))
    swerved = world.step(askew, right, rng)
    assert swerved.object[0, 0] > 32.0 and swerved.object[0, 1] < 32.0


def test_disks_never_overlap_nor_leave():
    world = find("push_disc:varied")
    rng = np.random.default_rng(0)
    state = world.reset(60, rng)
    policy = Uniform(world, hold_prob=0.9)
    memory, start, contacts = policy.begin(state, rng), state.object, 0.0
    touch = state.layout.agent_radius + state.layout.object_radius
    for _ in range(1000):
        action, memory = policy.act(state, memory, rng)
        state = world.step(state, action, rng)
        assert (np.linalg.norm(state.agent - state.object, axis=1) >= touch - 1e-5).all()
        for place, radius in ((state.agent, state.layout.agent_radius), (state.object, state.layout.object_radius)):
            assert (place >= 2 + radius[:, None] - 1e-9).all() and (place <= 62 - radius[:, None] + 1e-9).all()
        contacts += world.truth(state)[:, 4].mean()
    assert contacts > 10 and (np.abs(state.object - start).max(axis=1) > 1).mean() > 0.5


def test_impossible_pushes_are_refused():
    with pytest.raises(ValueError, match="margin"):
        dataclasses.replace(find("push_disc"), margin=5.0)
    with pytest.raises(ValueError, match="pass through"):
        dataclasses.replace(find("push_disc"), max_move=4.0)


def test_grid_distances_equal_a_plain_search():
    world, state, goal, _ = begin("grid", 30)
    free = ~state.layout.blocked
    assert free.mean(axis=(1, 2)).min() >= 0.5
    for row in range(30):
        found, queue = {tuple(goal.cell[row]): 0}, deque([tuple(goal.cell[row])])
        while queue:
            cell = queue.popleft()
            for way in MOVES[:4]:
                beside = (cell[0] + int(way[0]), cell[1] + int(way[1]))
                if min(beside) >= 0 and max(beside) < 8 and free[row][beside] and beside not in found:
                    found[beside] = found[cell] + 1
                    queue.append(beside)
        assert world.distance(state, goal)[row] == found[tuple(state.cell[row])]
        assert len(found) == free[row].sum()  # all free cells are joined
        np.testing.assert_array_equal(np.isfinite(steps_to(goal.cell, state.layout.blocked))[row], free[row])


def test_grid_moves_by_cells_and_stops_at_obstacles():
    world, state, _, rng = begin("grid", 100)
    for _ in range(1000):
        action = world.action.sample(100, rng)
        following = world.step(state, action, rng)
        moved = following.cell - state.cell
        stays = (moved == 0).all(axis=1)
        np.testing.assert_array_equal(moved[~stays], MOVES[action][~stays])
        assert not state.layout.blocked[np.arange(100), following.cell[:, 0], following.cell[:, 1]].any()
        state = following
    frames = world.render(state).astype(int)
    center = state.cell * 8 + 4
    assert (frames[np.arange(100), center[:, 0], center[:, 1]] == [214, 48, 49]).all()
