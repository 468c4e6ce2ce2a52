"""Pairs of possible and impossible clips: who knows what can be is always right, pixels are as good as chance."""

import json

import pytest
import torch
from torch import Tensor

from craik.data.physics import PROPERTIES, physics_pairs
from craik.errors import UsageError
from craik.evaluate.success import wilson
from craik.evaluate.surprise_pairs import copy_last, extrapolate, physics_test, quadruplet_interval, right, surprises

SETTINGS = {"window": 16, "contexts": (4, 8), "size": 32, "num": 2}


def windows_of(clips) -> set[bytes]:
    return {clip[b : b + 16].tobytes() for clip in clips for b in range(0, 9, 2)}


@pytest.fixture(scope="module")
def report():
    known = set()
    for split in ("val", "test"):
        known |= windows_of(physics_pairs(14, frames=24, size=32, split=split).possible)

    def oracle(windows: Tensor, contexts) -> Tensor:
        new = [window.movedim(1, -1).contiguous().numpy().tobytes() not in known for window in windows]
        return torch.tensor(new).float()[:, None].repeat(1, len(contexts))

    def blind(windows: Tensor, contexts) -> Tensor:
        return torch.zeros(len(windows), len(contexts))

    return physics_test({"oracle": oracle, "blind": blind, "copy": copy_last}, **SETTINGS)


def test_who_knows_what_can_be_is_always_right(report) -> None:
    for verdict in report.judge("oracle").verdicts:
        assert verdict.relative.value == verdict.auc.value == verdict.filtered.value == verdict.absolute.value == 1.0
    assert report.judge("oracle").of("all").relative == wilson(7, 7)  # two pairs of a quadruplet count as one
    assert [v.property for v in report.judge("oracle").verdicts] == [*PROPERTIES, "all"]


def test_who_sees_nothing_is_at_chance(report) -> None:
    for verdict in report.judge("blind").verdicts:
        assert verdict.relative.value == verdict.auc.value == 0.5 and verdict.context == 4


def test_the_report_is_told(report) -> None:
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["num_pairs"] == 2 and plain["frames"] == 24 and len(plain["judges"][2]["verdicts"]) == 8
    first, second = report.tables()
    assert first.row_count == second.row_count == 8 and len(first.columns) == 4
    assert "2 pairs of each property" in report.lines()[0]
    with pytest.raises(KeyError):
        report.judge("nobody")


def test_pixels_that_stand_still_and_pixels_that_go_on() -> None:
    still = torch.full((1, 6, 3, 2, 2), 100, dtype=torch.uint8)
    rising = (still.int() + 10 * torch.arange(6)[None, :, None, None, None]).to(torch.uint8)
    assert copy_last(still, [2, 4]).tolist() == [[0, 0]] == extrapolate(still, [2, 4]).tolist()
    assert copy_last(rising, [2, 4])[0].tolist() == pytest.approx([25 / 255, 15 / 255])
    assert extrapolate(rising, [2, 4])[0].tolist() == pytest.approx([0, 0], abs=1e-6)
    bright = torch.tensor([0, 200, 255, 255]).to(torch.uint8)[None, :, None, None, None].expand(1, 4, 3, 2, 2)
    assert extrapolate(bright, [2]).tolist() == [[0]]  # no brighter than white


def test_windows_and_ties() -> None:
    clips = physics_pairs(2, frames=20, size=32).possible
    values = surprises(copy_last, clips, 16, (4, 8))
    assert values.shape == (2, 3, 2)
    again = copy_last(torch.from_numpy(clips[1:, 2:18]).movedim(-1, -3), (4, 8))
    torch.testing.assert_close(values[1:, 1], again.double())
    assert right(values, values).tolist() == [[0.5, 0.5]] * 2


def test_pairs_of_a_quadruplet_are_drawn_together() -> None:
    one_of_two = quadruplet_interval(torch.tensor([1.0, 0.0] * 10), 0)
    assert (one_of_two.value, one_of_two.low, one_of_two.high) == (0.5, 0.5, 0.5)
    both_or_none = quadruplet_interval(torch.tensor([1.0, 1.0, 0.0, 0.0] * 5), 0)
    assert both_or_none.low < 0.3 and both_or_none.high > 0.7


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(UsageError, match="have at most 32: train with fewer"):
        physics_test({}, **{**SETTINGS, "window": 64})
    with pytest.raises(UsageError, match="even number"):
        physics_test({}, **{**SETTINGS, "num": 3})
