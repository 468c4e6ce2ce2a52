"""Two rooms and mazes: the published numbers, layouts within their settings, frames that show the state."""

import dataclasses

import numpy as np
import pytest

from craik.envs import find, paint
from craik.envs.two_rooms import CHANNEL_MEAN, CHANNEL_STD, TwoRooms
from craik.envs.world import take
from tests.envs.worlds import begin


def spot(frames, color, other):
    """Center (x, y) [px] of what has a color, from how far each pixel is on the way there from another color."""
    way = np.array(color, dtype=float) - np.array(other)
    part = ((frames - np.array(other)) @ way / (way @ way)).clip(0.0, 1.0)
    part[np.abs((frames - np.array(other)) - part[..., None] * way).max(axis=-1) > 12] = 0.0
    axis = np.arange(frames.shape[1]) + 0.5
    total = part.sum(axis=(1, 2))
    return np.stack([(part.sum(1) * axis).sum(1), (part.sum(2) * axis).sum(1)], axis=1) / total[:, None], total


@pytest.mark.parametrize(("spec", "color"), [("two_rooms", paint.RED), ("maze", paint.RED), ("point_mass", paint.BLUE)])
def test_the_agent_is_where_the_state_says(spec, color):
    world = dataclasses.replace(find(spec), wall_colors=(paint.WHITE,))  # invisible walls: all that shows is the agent
    state = world.reset(60, np.random.default_rng(0))
    frames = world.render(state).astype(float)
    center, area = spot(frames, color, paint.WHITE)
    scale, shift = (64 / 65, 0.5) if spec == "two_rooms" else (1.0, 0.0)
    true = (state.position + shift) * scale
    np.testing.assert_allclose(center, true, atol=0.05)
    np.testing.assert_allclose(area, np.pi * (state.layout.radius * scale) ** 2, rtol=0.06)


def test_moves_of_a_tenth_of_a_pixel_show():
    world, state, _, _ = begin("two_rooms", 1)
    position = np.array([[12.0, 12.0]]) + np.arange(11)[:, None] * [0.1, 0.0]
    row = dataclasses.replace(take(state, np.zeros(11, dtype=int)), position=position)
    frames = world.render(row).astype(float)
    center, _ = spot(frames, paint.RED, paint.WHITE)
    np.testing.assert_allclose(np.diff(center[:, 0]), 0.1 * 64 / 65, atol=0.02)
    assert (np.abs(np.diff(frames, axis=0)).sum(axis=(1, 2, 3)) > 100).all()


def test_channel_form_has_the_published_normalizer():
    world, state, _, _ = begin("two_rooms:channels", 300)
    frames = world.render(state) / 255.0
    np.testing.assert_allclose(frames.mean((0, 1, 2)), CHANNEL_MEAN, atol=1e-4)
    np.testing.assert_allclose(frames.std((0, 1, 2)), CHANNEL_STD, atol=5e-4)
    dot, wall = frames[..., 0], frames[..., 1]
    assert (dot.max(axis=(1, 2)) == 1.0).all() and set(np.unique(wall)) == {0.0, 1.0}
    row, col = np.unravel_index(dot.reshape(300, -1).argmax(1), (65, 65))
    np.testing.assert_array_less(np.abs(np.stack([col, row], 1) - state.position), 0.51)
    middle = state.layout.wall_x[:, 0].astype(int)
    gap = (wall[np.arange(300), :, middle] == 0).sum(axis=1)
    assert (gap == 9).all()  # 2 * 4 + 1, and the wall is three wide
    assert (wall[np.arange(300), 3, middle - 1] + wall[np.arange(300), 3, middle + 1] == 2).all()


def test_layouts_are_within_their_settings():
    _, state, _, _ = begin("two_rooms", 400)
    wall_x, door_y = state.layout.wall_x, state.layout.door_y
    assert set(wall_x[:, 0]) == set(range(20, 45)) and set(door_y[:, 0, 0]) <= set(range(10, 55))
    _, state, _, _ = begin("two_rooms:fixed", 20)
    assert set(state.layout.wall_x[:, 0]) == set(state.layout.door_y[:, 0, 0]) == {32.0}
    world, state, goal, _ = begin("two_rooms:many", 400)
    walls = np.isfinite(state.layout.wall_x).sum(axis=1)
    doors = np.isfinite(state.layout.door_y).sum(axis=2)
    assert set(walls) == {1, 2, 3} and set(doors[doors > 0]) == {1, 2, 3}
    assert np.nanmin(np.diff(state.layout.wall_x, axis=1)) >= 6
    assert np.nanmin(np.diff(state.layout.door_y, axis=2)) >= 10
    assert (world.room(state) != world.room(goal)).all()


def test_factors_of_variation_change_the_frame_and_nothing_else():
    world = TwoRooms()
    other = dataclasses.replace(world, agent_colors=(paint.BLUE,), floor_colors=(paint.SAND,), radius=(3.5, 3.5))
    first, second = (w.reset(20, np.random.default_rng(0)) for w in (world, other))
    np.testing.assert_array_equal(first.position, second.position)
    np.testing.assert_array_equal(first.layout.boxes, second.layout.boxes)
    assert (world.render(first) != other.render(second)).any(axis=(1, 2, 3)).all()
    small, large = (dataclasses.replace(world, side=side) for side in (32, 96))
    assert small.render(first).shape == (20, 32, 32, 3) and large.render(first).shape == (20, 96, 96, 3)
    seen = find("two_rooms:colorful").reset(100, np.random.default_rng(0)).layout
    assert len(np.unique(seen.agent_color, axis=0)) == 5 and seen.radius.min() < 1.5 and seen.radius.max() > 3.5


@pytest.mark.parametrize("settings", [{"form": "gray"}, {"walls": (0, 1)}, {"doors": (2, 9)}, {"wall_width": 2}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"ha(s|ve) to be"):
        TwoRooms(**settings)


def test_mazes_are_spanning_trees_of_many_forms():
    world, state, goal, _ = begin("maze", 60)
    doors, rooms = state.layout.doors, world.borders.rooms
    assert (doors.sum(axis=1) == 8).all() and len(np.unique(doors, axis=0)) > 40
    for row in doors:
        joined = {0}
        for _ in range(9):
            joined |= {int(b) for pair in rooms[row] if joined & set(pair.tolist()) for b in pair}
        assert joined == set(range(9))
    assert (world.room(state.position) != world.room(goal.position)).all()
    assert (world.distance(state, goal) >= 12).all()
    assert (find("maze:loops").reset(40, np.random.default_rng(0)).layout.doors.sum(axis=1) > 8).any()


def test_goals_of_a_maze_lie_in_the_band_that_is_asked_for():
    world = dataclasses.replace(find("maze"), goal_distance=(40.0, 60.0))
    rng = np.random.default_rng(0)
    state = world.reset(60, rng)
    far = world.distance(state, world.goal(state, rng))
    assert far.min() >= 40 and far.max() <= 60


def test_walls_of_a_maze_are_drawn_where_they_stand():
    world, state, _, _ = begin("maze", 4)
    frames = world.render(state).astype(float)
    wall = np.abs(frames - np.array(paint.SLATE)).max(axis=-1) < 2
    covered = paint.cover(state.layout.boxes, 64)
    area = np.einsum("bwi,bwj->bij", covered[:, :, 1], covered[:, :, 0])
    assert area.max() < 1.0 + 1e-5  # boxes do not overlap
    reach = 3.0  # the disk may cover a wall that it touches
    axis = np.arange(64) + 0.5
    near = np.hypot(axis - state.position[:, None, None, 0], axis[:, None] - state.position[:, None, None, 1]) < reach
    np.testing.assert_array_equal(wall & ~near, (area > 0.99) & ~near)


def test_a_maze_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="no second room"):
        dataclasses.replace(find("maze"), rows=1, cols=1)
    with pytest.raises(ValueError, match="doors of 8"):
        dataclasses.replace(find("maze"), rows=8)
