"""Moving digits, scenes of physics, and both as data."""

import numpy as np
import pytest

from craik.data.clip import Clip
from craik.data.clips import ClipPixels, load_clips
from craik.data.digits import GLYPH, MovingDigits, moving_digits
from craik.data.images import load_images
from craik.data.physics import PROPERTIES, draw_twins, physics_pairs, property_of, quadruplet, render
from craik.data.strokes import draw_digits
from craik.data.toy import PALETTE
from craik.errors import UsageError


def test_handwriting_is_of_many_hands_and_tells_its_digit() -> None:
    """One digit looks more like others of its kind than like other digits, and no two are the same."""
    rng = np.random.default_rng(0)
    kinds = np.tile(np.arange(10), 24)
    ink = draw_digits(kinds, 28, rng).reshape(240, -1).astype(np.float64)
    assert len({glyph.tobytes() for glyph in ink}) == 240
    assert 0.05 < (ink > 127).mean() < 0.4 and ink.max() == 255
    means = np.stack([ink[:120][kinds[:120] == digit].mean(0) for digit in range(10)])
    nearest = ((ink[120:, None] - means) ** 2).sum(-1).argmin(1)
    assert (nearest == kinds[120:]).mean() > 0.75


def ink_center(frame: np.ndarray) -> tuple[float, float]:
    """Middle of the box around what is bright, as a fraction of the side: x, y."""
    rows, columns = np.nonzero(frame[..., 0] > 60)
    side = len(frame)
    return (columns.min() + columns.max() + 1) / 2 / side, (rows.min() + rows.max() + 1) / 2 / side


def test_digits_are_where_the_factors_say_and_move_as_they_say() -> None:
    videos = moving_digits(6, 20, seed=1)
    for row in range(6):
        frames = videos.render(row, np.arange(20), 64)
        assert frames.shape == (20, 64, 64, 3) and frames.dtype == np.uint8
        for number in range(20):
            x, y = ink_center(frames[number])
            assert abs(x - videos.x[row, number, 0]) < 0.02 and abs(y - videos.y[row, number, 0]) < 0.02
    assert videos.factors["x"].shape == (6, 20) and videos.factors["digit"].shape == (6,)


def bounces(videos: MovingDigits) -> np.ndarray:
    """Whether the velocity changes after each frame, bool [N, T - 1]."""
    velocity = np.stack([videos.vx, videos.vy], -1)
    return (velocity[:, 1:] != velocity[:, :-1]).any((-1, -2))


def test_between_edges_digits_go_straight_and_at_them_they_bounce() -> None:
    for stochastic in (False, True):
        videos = moving_digits(200, 40, stochastic=stochastic)
        for at, velocity in ((videos.x, videos.vx), (videos.y, videos.vy)):
            assert at.min() >= GLYPH / 2 - 1e-6 and at.max() <= 1 - GLYPH / 2 + 1e-6
            free = ~bounces(videos)
            np.testing.assert_allclose((at[:, 1:] - at[:, :-1] - velocity[:, :-1])[free], 0, atol=1e-6)
        assert 0.02 < bounces(videos).mean() < 0.3
        speed = np.hypot(videos.vx, videos.vy)[..., 0]
        constant = np.isclose(speed, speed[:, :1], atol=1e-6).all(1)
        assert constant.all() if not stochastic else constant.mean() < 0.5


def test_more_videos_and_more_frames_only_append() -> None:
    for stochastic in (False, True):
        few, many = moving_digits(3, 10, stochastic=stochastic), moving_digits(300, 25, stochastic=stochastic)
        np.testing.assert_array_equal(few.x, many.x[:3, :10])
        np.testing.assert_array_equal(few.render(2, np.arange(10), 32), many.render(2, np.arange(10), 32))
    other = moving_digits(3, 10, stream=1)
    assert (other.x != few.x).all()


@pytest.mark.parametrize(("frames", "size"), [(16, 64), (24, 64), (32, 32)])
def test_impossible_clips_are_made_of_possible_frames_and_pairs_of_frames(frames: int, size: int) -> None:
    for number in range(2 * len(PROPERTIES)):
        a, b, ab, ba = quadruplet(number, frames, size)
        name = PROPERTIES[property_of(number)]
        differ = (a != b).reshape(frames, -1).any(1)
        assert differ.any(), name
        for t in range(frames):  # at each time the impossible clips show what the possible ones show
            assert (ab[t] == a[t]).all() or (ab[t] == b[t]).all()
            assert (ba[t] == (b[t] if (ab[t] == a[t]).all() else a[t])).all() or not differ[t]
        possible = {(t, clip[t : t + 2].tobytes()) for clip in (a, b) for t in range(frames - 1)}
        assert {(t, clip[t : t + 2].tobytes()) for clip in (ab, ba) for t in range(frames - 1)} == possible, name
        for impossible in (ab, ba):
            assert (impossible != a).any() and (impossible != b).any(), name


def test_no_seam_shows_whatever_the_scene() -> None:
    for number in range(20 * len(PROPERTIES)):
        frames, size = (16, 24, 32)[number % 3], (32, 64)[number % 2]
        twins, _ = draw_twins(number, frames, (5, 0))
        for cut in twins.cuts:
            a, b = (render(scene, np.array([cut]), size) for scene in (twins.a, twins.b))
            np.testing.assert_array_equal(a, b, err_msg=PROPERTIES[property_of(number)])


def test_pairs_agree_up_to_the_cut() -> None:
    pairs = physics_pairs(14, frames=20, size=32)
    assert pairs.possible.shape == pairs.impossible.shape == (14, 20, 32, 32, 3)
    assert pairs.property.tolist() == np.repeat(np.arange(7), 2).tolist()
    for possible, impossible, cut in zip(pairs.possible, pairs.impossible, pairs.cut, strict=True):
        assert 2 < cut < 18
        np.testing.assert_array_equal(possible[:cut], impossible[:cut])
        assert (possible[cut] != impossible[cut]).any()
    sums = [clips.reshape(7, 2, -1, 3).astype(np.int64).sum((1, 2)) for clips in (pairs.possible, pairs.impossible)]
    np.testing.assert_array_equal(*sums)


def test_pairs_follow_from_the_seed_and_more_only_append() -> None:
    pairs = physics_pairs(16, size=16, seed=3)
    np.testing.assert_array_equal(pairs.impossible[:4], physics_pairs(4, size=16, seed=3).impossible)
    assert (physics_pairs(4, size=16, seed=4).possible != pairs.possible[:4]).any()
    assert (physics_pairs(4, size=16, seed=3, split="val").possible != pairs.possible[:4]).any()
    color = physics_pairs(4, size=16, seed=3, only="color")
    assert (color.property == PROPERTIES.index("color")).all()
    np.testing.assert_array_equal(color.possible[:2], pairs.possible[10:12])
    for values in ({"num": 3}, {"num": 2, "only": "luck"}, {"num": 2, "split": "exam"}, {"num": 2, "frames": 40}):
        with pytest.raises(ValueError, match=r"pairs come in twos|16 to 32 frames"):
            physics_pairs(**values)  # type: ignore[arg-type]


def test_scenes_break_what_they_are_named_after() -> None:
    for number in range(0, 70):
        name = PROPERTIES[property_of(number)]
        twins, _ = draw_twins(number, 24, (0, 0))
        a, b, cut = twins.a, twins.b, twins.cuts[0]
        if name == "shape":
            assert a.shape != b.shape and a.color == b.color
        elif name == "color":
            assert np.linalg.norm(PALETTE[a.color] - PALETTE[b.color]) > 0.45 and a.shape == b.shape
        elif name in ("permanence", "continuity"):
            assert a.shown.all() and not b.shown.any() and len(twins.cuts) == (2 if name == "continuity" else 1)
        elif name == "inertia":
            steps = np.diff(a.x)[cut], np.diff(b.x)[cut]
            assert a.x[cut] == b.x[cut] and steps[0] > 0.02 and steps[1] <= 0
        elif name == "solidity":
            ((left, _, _, _),) = b.fixtures
            assert not a.fixtures and (b.x + b.radius).max() <= left + 1e-9 and a.x[-1] > 1 and b.x[-1] < b.x.max()
        else:
            assert b.y[-1] > a.y[-1] + 0.1 and b.fixtures[0][2] < a.fixtures[0][2]


SHORT = Clip(8, 4.0)


def load(path: str, clip: Clip = SHORT, **options: object):  # type: ignore[no-untyped-def]
    return load_clips(path, clip=clip, view=32, **options)  # type: ignore[arg-type]


def test_toys_are_data_as_files_are() -> None:
    digits = load("toy:digits?n=30&seed=2", split="test")
    assert digits.pixels.shape == (30, 8, 32, 32, 3) and len(digits.class_names) == 10
    np.testing.assert_array_equal(digits.labels, digits.factors["digit"])
    present = len(np.unique(digits.labels))
    assert digits.summary() == f"toy:digits?n=30&seed=2: 30 videos, 32x32, 20 frames, {present} classes"
    videos = moving_digits(30, 20, seed=2, stream=2)
    np.testing.assert_array_equal(digits.take(np.array([4]))[0], videos.render(4, np.arange(6, 14), 32))
    assert isinstance(digits.pixels, ClipPixels)
    clips, _ = digits.pixels.draw(np.array([4]), 0, 1)
    whole = videos.render(4, np.arange(20), 32)
    assert any((clips[0] == whole[first : first + 8]).all() for first in range(13))
    pairs = load("toy:digits?n=30&digits=2&bounce=random")
    assert len(pairs.class_names) == 55 and pairs.factors["x"].shape == (30, 20, 2)
    assert load("toy:digits?n=3", Clip(30, 4.0)).factors["x"].shape == (3, 30)


def test_physics_is_possible_unless_asked_for() -> None:
    clip = Clip(16, 8.0)
    train, both = load("toy:physics?n=28&frames=16", clip), load("toy:physics?n=28&frames=16&clips=both", clip)
    assert train.factors["possible"].all() and both.factors["possible"].mean() == 0.5
    np.testing.assert_array_equal(both.take(np.arange(8, 12)), quadruplet(2, 16, 32))
    np.testing.assert_array_equal(train.take(np.arange(4, 6)), quadruplet(2, 16, 32)[:2])
    assert train.class_names == PROPERTIES and train.labels[4] == 2


def test_mistakes_in_the_names_of_toys() -> None:
    for path, text in {
        "toy:digit": "Use toy:digits or toy:physics",
        "toy:digits?bounc=random": "Did you mean bounce?",
        "toy:digits?bounce=up": "one of mirror, random",
        "toy:digits?frames=4": "a clip of the recipe has 8",
        "toy:digits?size=64": "the recipe wants 32 px",
        "toy:digits?n=0": "whole number",
        "toy:digits?digits=3": "1 or 2",
        "toy:physics?frames=40": "16 to 32 frames",
        "toy:physics?split=exam": "one of train, val, test",
    }.items():
        with pytest.raises(UsageError) as caught:
            load(path)
        assert text in str(caught.value), path
    with pytest.raises(UsageError, match="these are videos"):
        load_images("toy:digits", size=32)
