"""Chance at the rates that the settings say."""

import dataclasses

import numpy as np
import pytest

from craik.envs import find
from craik.envs.grid import MOVES
from craik.envs.stochastic import Distractor, Ice, Noise, RandomDoor
from tests.envs.worlds import begin, within


def test_doors_open_and_shut_at_their_rates():
    world = RandomDoor(open_prob=0.08, shut_prob=0.2)
    rng = np.random.default_rng(0)
    state = world.reset(400, rng)
    seen = [state.open[:, 0]]
    for _ in range(100):
        state = world.step(state, np.zeros((400, 2)), rng)
        at, way = state.rooms.position, state.rooms.layout.doorways
        seen.append(state.open[:, 0])
    outside = ~within(at, way, skin=-1e-3)  # a dot in the doorway keeps it open
    is_open = np.array(seen)[:, outside]
    assert abs(is_open[0].mean() - 0.08 / 0.28) < 0.1  # as in the long run, from the start
    opens, shuts = is_open[1:][~is_open[:-1]].mean(), (~is_open[1:])[is_open[:-1]].mean()
    assert abs(opens - 0.08) < 0.006 and abs(shuts - 0.2) < 0.015
    later = is_open[5:][~is_open[:-5]].mean()
    assert abs(later - 0.08 / 0.28 * (1 - (1 - 0.28) ** 5)) < 0.02


def test_a_shut_door_bars_and_an_open_one_does_not():
    world, state, _, rng = begin("random_door", 50)
    rooms = state.rooms
    x, y = rooms.layout.wall_x[:, 0], rooms.layout.door_y[:, 0, 0]
    before = dataclasses.replace(rooms, position=np.stack([x - 2.0, y], axis=1))
    right = np.tile([2.0, 0.0], (50, 1))
    shut = world.step(dataclasses.replace(state, rooms=before, open=np.zeros_like(state.open)), right, rng)
    np.testing.assert_array_equal(shut.rooms.position, before.position)
    opened = world.step(dataclasses.replace(state, rooms=before, open=np.ones_like(state.open)), right, rng)
    np.testing.assert_allclose(opened.rooms.position, before.position + right)
    for _ in range(50):  # it does not shut on one who stands in it
        opened = world.step(opened, np.zeros((50, 2)), rng)
        assert opened.open.all()


def test_frames_show_whether_the_door_is_open():
    world, state, _, _ = begin("random_door", 30)
    x, y = ((p + 0.5) * 64 / 65 for p in (state.rooms.layout.wall_x[:, 0], state.rooms.layout.door_y[:, 0, 0]))
    away = np.linalg.norm(state.rooms.position - np.stack([x, y], axis=1), axis=1) > 8
    rows = np.arange(30), y.astype(int), x.astype(int)
    shut = world.render(dataclasses.replace(state, open=np.zeros_like(state.open)))[rows]
    opened = world.render(dataclasses.replace(state, open=np.ones_like(state.open)))[rows]
    assert (np.abs(shut[away].astype(int) - [240, 147, 43]).max(axis=1) < 2).all()
    assert (opened[away] >= 240).all()


def test_one_action_has_several_futures():
    world, state, goal, _ = begin("random_door:flicker", 100)
    action = world.expert(state, goal, np.random.default_rng(0))
    futures = [world.step(state, action, np.random.default_rng(seed)).open[:, 0] for seed in range(40)]
    share = np.mean(futures, axis=0)
    inside = within(state.rooms.position, state.rooms.layout.doorways, skin=-3.0)
    assert np.abs(share[~inside] - 0.5).max() < 0.4 and abs(share[~inside].mean() - 0.5) < 0.03


def test_the_distractor_drifts_whatever_the_agent_does():
    world = Distractor(find("two_rooms"), persistence=0.9, speed=0.001)
    rng = np.random.default_rng(0)
    state = world.reset(300, rng)
    velocities, agent = [state.velocity], state.world.position
    for _ in range(30):
        state = world.step(state, np.zeros((300, 2)), rng)
        velocities.append(state.velocity)
    np.testing.assert_array_equal(state.world.position, agent)
    v = np.array(velocities)
    assert abs(v.std() / 0.001 - 1) < 0.05
    assert abs((v[1:] * v[:-1]).mean() / (v**2).mean() - 0.9) < 0.03
    assert state.place.min() >= 0.05 and state.place.max() <= 0.95
    plain, drawn = world.world.render(state.world), world.render(state)
    center = (state.place * 64).astype(int)
    pixel = drawn[np.arange(300), center[:, 1], center[:, 0]]
    np.testing.assert_array_equal(pixel, np.tile([130, 70, 190], (300, 1)))
    changed = (plain != drawn).any(axis=3).sum(axis=(1, 2))
    assert changed.max() < 70 and np.median(changed) > 25
    names = world.truth_names
    np.testing.assert_allclose(world.truth(state)[:, names.index("distractor_x")], state.place[:, 0] * 64)


def test_the_noise_video_has_its_strength_and_its_memory():
    world = Noise(find("point_mass"), strength=10.0, persistence=0.7)
    rng = np.random.default_rng(0)
    state = world.reset(40, rng)
    fields, frames = [state.field], [world.render(state)]
    for _ in range(20):
        state = world.step(state, np.zeros((40, 2)), rng)
        fields.append(state.field)
        frames.append(world.render(state))
    f = np.array(fields)
    assert abs(f.std() - 1) < 0.02
    assert abs((f[1:] * f[:-1]).mean() - 0.7) < 0.02
    noise = frames[-1].astype(int) - world.world.render(state.world)
    corner = noise[:, 0, 0]  # on the border's dark color nothing is clipped
    near = 1.0 - 3.5 / 64  # the first pixel lies 7 / 128 of the way from the first node to the second
    weight = np.array([[near, 0], [1 - near, 0]])[:, :1] * np.array([near, 1 - near])
    nodes = np.einsum("bijc,ij->bc", state.field[:, :2, :2], weight)
    np.testing.assert_allclose(corner, 10.0 * nodes, atol=0.6)
    assert (frames[0] != frames[1]).any(axis=(1, 2, 3)).all()


def test_grid_slips_at_its_rate():
    world = dataclasses.replace(find("grid:open_field"), slip_prob=0.3)
    rng = np.random.default_rng(0)
    state = dataclasses.replace(world.reset(20000, rng), cell=np.full((20000, 2), 4))
    following = world.step(state, np.full(20000, 1), rng)
    other = ((following.cell - state.cell) != MOVES[1]).any(axis=1).mean()
    assert abs(other - 0.3 * 4 / 5) < 0.012


def test_disturbances_need_color_and_doors_a_chance():
    with pytest.raises(ValueError, match="2 channels"):
        Noise(find("two_rooms:channels"))
    with pytest.raises(ValueError, match="open_prob"):
        RandomDoor(open_prob=0.0)
    with pytest.raises(ValueError, match="left_prob"):
        Ice(left_prob=1.0)


def test_moves_veer_on_the_ice_alone_at_their_rate():
    world, rng = Ice(), np.random.default_rng(0)
    state = world.reset(4000, rng)
    action = world.action.sample(4000, rng)
    inner = (np.abs(state.position - 32.0) < 16.0).all(axis=1)  # no edge is met
    moved = world.step(state, action, rng).position - state.position
    ice = world.on_ice(state)
    assert 0.3 < ice.mean() < 0.6
    np.testing.assert_allclose(moved[inner & ~ice], action[inner & ~ice])
    length, turned = np.linalg.norm(action, axis=1), np.linalg.norm(moved, axis=1)
    on = inner & ice
    np.testing.assert_allclose(turned[on], length[on])
    np.testing.assert_allclose((moved * action).sum(axis=1)[on], length[on] ** 2 / 2)  # the cosine of 60 degrees
    left = moved[:, 0] * action[:, 1] - moved[:, 1] * action[:, 0] > 0  # counterclockwise, y points down
    assert abs(left[on].mean() - 0.7) < 0.05
    assert world.step(state, action, rng).position.min() >= 4.0


def test_frames_show_the_ice_and_the_dot():
    world, state, _, _ = begin("ice", 40)
    frames, (x, y) = world.render(state), state.position.astype(int).T
    assert (frames[np.arange(40), y, x] == [214, 48, 49]).all()
    off = np.abs(state.position - 1.0).max(axis=1) > 8
    assert (frames[off, 1, 1] == [244, 244, 240]).all() and (frames[:, 1, 32] == [176, 214, 240]).all()
