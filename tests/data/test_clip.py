"""Which frames of a video make a clip."""

import numpy as np
import pytest

from craik.data.clip import Clip, Rule, frame_step, pick_as_vjepa
from craik.data.video import Track


def track(times: np.ndarray | list[float], tick: float = 0.001, last: float | None = None) -> Track:
    """A file whose frames are shown at these times [s], rounded to ticks."""
    stamps = np.rint(np.asarray(times) / tick).astype(np.int64)
    last = float(np.median(np.diff(times))) if last is None else last
    return Track(stamps, tick, round((times[-1] + last) / tick), 48, 64, "h264")


def steady(count: int, fps: float, tick: float = 0.001) -> Track:
    return track(np.arange(count) / fps, tick, 1 / fps)


@pytest.mark.parametrize("tick", [1 / 15360, 0.001, 0.01])
@pytest.mark.parametrize("fps", [24000 / 1001, 25.0, 30.0])
def test_at_the_rate_of_the_file_every_frame_comes_once_whatever_the_rounding(fps: float, tick: float) -> None:
    video = steady(90, fps, tick)
    clip = Clip(16, fps)
    assert clip.places(video) == 90 - 15
    for place in np.linspace(0, 0.999, 40):
        assert (np.diff(clip.pick(video, place)) == 1).all()
    assert clip.pick(video, 0.0)[0] == 0 and clip.pick(video, 0.999)[-1] == 89


def test_frames_per_second_are_of_the_clip() -> None:
    assert Clip(4, 5.0).pick(steady(60, 30.0), 0.0).tolist() == [0, 6, 12, 18]
    odd = Clip(8, 4.0).pick(steady(60, 25.0), 0.0)  # 6.25 frames: the nearest, without drift
    assert odd.tolist() == [0, 6, 13, 19, 25, 31, 38, 44]
    assert Clip(6, 20.0).pick(steady(60, 10.0), 0.0).tolist() == [0, 0, 1, 1, 2, 2]  # slower files repeat frames


def test_a_frame_stays_on_the_screen_until_the_next_one() -> None:
    """Screen recordings hold a frame for seconds: it is what is seen in all that time."""
    video = track([0.0, 0.02, 0.04, 3.0, 3.02, 3.04, 3.06], last=0.02)
    assert Clip(4, 1.0).pick(video, 0.0).tolist() == [0, 2, 2, 3]
    assert Clip(3, 1.0).pick(video, 0.0).tolist() == [0, 2, 2]


def test_short_files_have_no_place_unless_they_may_hold_their_last_frame() -> None:
    video = steady(10, 10.0)
    assert Clip(10, 10.0).places(video) == 1 and Clip(11, 10.0).places(video) == 0
    with pytest.raises(ValueError, match="too short"):
        Clip(11, 10.0).pick(video, 0.0)
    held = Clip(14, 10.0, repeat=True)
    assert held.places(video) == 1 and held.pick(video, 0.5).tolist() == [*range(10), 9, 9, 9, 9]
    still = Track(np.zeros(1, np.int64), 1.0, 1, 4, 4, "image")
    assert Clip(5, 4.0).pick(still, 0.7).tolist() == [0] * 5


def test_places_reach_every_clip_that_fits() -> None:
    video, clip = steady(20, 10.0), Clip(5, 5.0)
    firsts = {int(clip.pick(video, place)[0]) for place in np.linspace(0, 0.9999, 500)}
    assert firsts == set(range(20 - 8))


def test_the_rule_of_v_jepa() -> None:
    """floor(ceil(rate) / fps) apart, both ends of the window taken, then floored: worked by hand."""
    assert frame_step(steady(100, 30000 / 1001, 1 / 30000), 4.0) == 7  # ceil(29.97) = 30, 30 / 4 = 7.5
    assert frame_step(steady(100, 24.0), 4.0) == 6 and frame_step(steady(100, 3.0), 4.0) == 1
    # 4 frames, 3 apart: a window of 12 frames from 10 on, points 10, 14, 18, 22 of which the last is cut to 21
    assert pick_as_vjepa(100, 4, 3, 10).tolist() == [10, 14, 18, 21]
    assert pick_as_vjepa(64, 16, 4, 0).tolist() == [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63]
    # 9 frames are too few: a frame each third of them over all, then the last one
    assert pick_as_vjepa(9, 4, 3, 0).tolist() == [0, 4, 8, 8]
    clip = Clip(4, 10.0, rule=Rule.VJEPA)
    video = steady(40, 30.0)
    assert clip.places(video) == 40 - 12 + 1 and clip.pick(video, 0.999)[-1] == 39
    assert clip.places(steady(2, 30.0)) == 1 and clip.pick(steady(2, 30.0), 0.5).tolist() == [0, 1, 1, 1]


def test_values_without_sense_are_refused() -> None:
    for values in ((0, 4.0), (4, 0.0), (4, float("inf"))):
        with pytest.raises(ValueError, match="above 0"):
            Clip(*values)
