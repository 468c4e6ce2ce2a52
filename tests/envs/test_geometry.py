"""Exact distances against brute force, and walls that hold."""

import dataclasses

import numpy as np
import pytest

from craik.envs import find, geometry
from craik.envs.policy import Uniform
from craik.envs.world import take
from tests.envs.worlds import begin, within

MOVES = [(1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2)]


def brute_force(start, boxes, low, high, unit=0.5):
    """Lengths of shortest paths from one point to all points of a fine lattice (Bellman and Ford).

    Ways are chains of 16 directions, each checked at points 0.14 px apart, so they are feasible, and at most 2.8 %
    longer than the shortest way, and what they lose where they round corners.
    """
    axis = np.arange(low, high + 1e-9, unit)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    lattice = np.stack([x, y], axis=-1)

    def blocked(points):
        hit = np.zeros(points.shape[:-1], dtype=bool)
        for x0, y0, x1, y1 in boxes:
            hit |= (points[..., 0] > x0) & (points[..., 0] < x1) & (points[..., 1] > y0) & (points[..., 1] < y1)
        return hit

    edges = []
    for i, j in MOVES:
        closed = np.zeros(x.shape, dtype=bool)
        for part in np.linspace(0.0, 1.0, 9):
            closed |= blocked(lattice + part * unit * np.array([i, j]))
        edges.append(np.where(closed, np.inf, unit * np.hypot(i, j)))
    length = np.where(np.abs(lattice - start).max(axis=-1) < 1e-9, 0.0, np.inf)
    n = len(axis)
    for _ in range(2000):
        before = length.copy()
        for (i, j), cost in zip(MOVES, edges, strict=True):
            here = slice(0, n - i), slice(max(0, -j), n - max(0, j))
            there = slice(i, n), slice(max(0, j), n + min(0, j))
            forth, back = length[here] + cost[here], length[there] + cost[here]
            length[there] = np.minimum(length[there], forth)
            length[here] = np.minimum(length[here], back)
        if (before == length).all():
            break
    return axis, length


@pytest.mark.parametrize("spec", ["two_rooms", "two_rooms:many", "maze:loops"])
def test_shortest_path_equals_brute_force(spec):
    world, state, _, rng = begin(spec, 3, seed=4)
    low, high = np.ceil(world.arena[0] * 2) / 2, np.floor(world.arena[1] * 2) / 2
    boxes = getattr(state.layout, "solid", state.layout.boxes)
    compared = 0
    for row in range(3):

        def lattice(num, walls=boxes[row]):
            points = np.round(rng.uniform(low, high, (num, 2)) * 2) / 2
            return points[~within(points, np.broadcast_to(walls, (num, *walls.shape)), skin=-1e-3)]

        start = lattice(20)[0]
        axis, brute = brute_force(start, boxes[row], low, high)
        goals = lattice(60)
        at = dataclasses.replace(
            state, position=np.broadcast_to(start, goals.shape), layout=take(state.layout, np.full(len(goals), row))
        )
        exact = world.distance(at, dataclasses.replace(at, position=goals))
        where = np.round((goals - axis[0]) * 2).astype(int)
        found = brute[where[:, 0], where[:, 1]]
        assert np.isfinite(exact).all() and np.isfinite(found).all()
        straight = np.linalg.norm(goals - start, axis=1)
        assert (exact >= straight - 1e-9).all() and (exact > straight + 1).any()
        assert (found > exact - 0.3).all()  # no feasible way is shorter
        assert (found < 1.028 * exact + 3.0).all()  # and none of the brute-force ways shows a detour
        compared += len(goals)
    assert compared > 90


def test_distance_is_a_metric():
    world, a, b, rng = begin("maze", 60)
    c = world.goal(a, rng)
    ab, bc, ac = world.distance(a, b), world.distance(b, c), world.distance(a, c)
    np.testing.assert_allclose(ab, world.distance(b, a), atol=1e-9)
    assert (ac <= ab + bc + 1e-9).all()


@pytest.mark.parametrize(
    ("spec", "slide"), [("two_rooms:many", False), ("two_rooms:many", True), ("maze", True), ("random_door", False)]
)
def test_nobody_is_ever_inside_a_wall_or_passes_through_one(spec, slide):
    world = find(spec)
    if spec == "random_door":
        world = dataclasses.replace(world, rooms=dataclasses.replace(world.rooms, slide=slide))
    else:
        world = dataclasses.replace(world, slide=slide)
    rng = np.random.default_rng(3)
    state = world.reset(40, rng)
    policy = Uniform(world, hold_prob=0.9)  # long ways in one direction, into every corner
    memory = policy.begin(state, rng)
    rooms = state.rooms if spec == "random_door" else state
    walls = getattr(rooms.layout, "solid", rooms.layout.boxes)
    low, high = (world.rooms if spec == "random_door" else world).arena
    visited = []
    for _ in range(1000):
        action, memory = policy.act(state, memory, rng)
        shut = np.where(state.open[..., None], 1e3, rooms.layout.doorways) if spec == "random_door" else walls[:, :0]
        before = (state.rooms if spec == "random_door" else state).position
        state = world.step(state, action, rng)
        after = (state.rooms if spec == "random_door" else state).position
        solid = np.concatenate([walls, shut], axis=1)
        ways = (0.5, 1.0) if not slide else (1.0,)  # a slide is no straight line
        for part in ways:
            assert not within(before + part * (after - before), solid).any()
        assert after.min() >= low and after.max() <= high
        visited.append(after)
    still = (np.diff(np.array(visited), axis=0) == 0).all(axis=2).mean()
    assert still < 0.9  # they move, and a wall has been met
    assert still > 0.02 or slide


def test_moves_stay_or_slide():
    wall = np.array([[[10.0, 0.0, 12.0, 100.0]]])
    at, way = np.array([[8.0, 50.0]]), np.array([[3.0, 1.0]])
    np.testing.assert_allclose(geometry.move(at, way, wall, (0.0, 100.0)), at)
    np.testing.assert_allclose(geometry.move(at, way, wall, (0.0, 100.0), slide=True), [[10.0, 51.0]], atol=1e-5)
    np.testing.assert_allclose(geometry.move(at, -way, wall, (0.0, 100.0)), at - way)
    edge = np.array([[99.0, 50.0]])
    np.testing.assert_allclose(geometry.move(edge, way, wall, (0.0, 100.0)), edge)
    np.testing.assert_allclose(geometry.move(edge, way, wall, (0.0, 100.0), slide=True), [[100.0, 51.0]])


def test_one_who_slides_is_never_held_fast():
    rng = np.random.default_rng(0)
    wall = np.array([[[10.0, 0.0, 12.0, 100.0]]])
    at = np.stack([rng.uniform(8.0, 9.9, 500), rng.uniform(40.0, 60.0, 500)], axis=1)
    walls = np.broadcast_to(wall, (500, 1, 4))
    for _ in range(5):
        before, at = at, geometry.move(at, np.tile([2.0, 1.0], (500, 1)), walls, (0.0, 100.0), slide=True)
        np.testing.assert_allclose(at[:, 1] - before[:, 1], 1.0, atol=1e-6)
    np.testing.assert_allclose(at[:, 0], 10.0, atol=1e-5)
    back = geometry.move(at, np.tile([-2.0, 0.0], (500, 1)), walls, (0.0, 100.0))
    np.testing.assert_allclose(back[:, 0], 8.0, atol=1e-5)


def test_first_hit_is_where_the_way_enters_the_wall():
    wall = np.array([[[10.0, 10.0, 20.0, 20.0]]])
    start = np.array([[[0.0, 15.0], [0.0, 15.0], [0.0, 9.9], [15.0, 15.0], [0.0, 10.0]]])
    stop = np.array([[[40.0, 15.0], [9.0, 15.0], [40.0, 9.9], [16.0, 15.0], [40.0, 10.0]]])
    hit = geometry.first_hit(start, stop, wall)[0]
    np.testing.assert_allclose(hit[0], 0.25, atol=1e-5)
    assert np.isinf(hit[1]) and np.isinf(hit[2])
    assert hit[3] == 0.0
    assert np.isinf(hit[4])  # along its face


def test_places_that_cannot_be_found_are_an_error():
    with pytest.raises(ValueError, match="leave no room"):
        geometry.scatter(2, lambda rows: np.zeros((len(rows), 2)), lambda rows, at: rows < 0, "a goal")
