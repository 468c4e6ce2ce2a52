"""Surprise test: who sees places is startled by a teleport alone, who sees colors by a recolor alone."""

import json

import numpy as np
import pytest
import torch

from craik.envs import find
from craik.errors import UsageError
from craik.evaluate.tamper import other_color, tell, with_color
from craik.evaluate.violation import PixelChange, auc_interval, surprise_test
from tests.evaluate.seeing import Blank, Eyes, Tints


@pytest.fixture(scope="module")
def told():
    return tell(find("two_rooms"), 24, history=2, before=2, after=2, policy="walk")


def test_the_ways_part_at_the_moment_and_not_before(told) -> None:
    assert told.moment == 4 and told.untouched.shape == (24, 6, 3, 64, 64) and told.actions.shape == (24, 5, 2)
    for other in (told.teleport, told.recolor):
        assert (other[:, :4] == told.untouched[:, :4]).all()
        assert (other[:, 4] != told.untouched[:, 4]).flatten(1).any(1).all()
    at = {name: Eyes().encode(getattr(told, name)) for name in ("untouched", "teleport", "recolor")}
    torch.testing.assert_close(at["recolor"], at["untouched"], atol=0.3, rtol=0)
    assert ((at["teleport"] - at["untouched"])[:, 4].norm(dim=-1) > 4).all()
    moved = (at["teleport"][:, 5] - at["teleport"][:, 4]).norm(dim=-1)
    assert (moved < 2.6).all()  # it goes on from there
    again = tell(find("two_rooms"), 24, history=2, before=2, after=2, policy="walk")
    assert (again.teleport == told.teleport).all() and (again.recolor == told.recolor).all()


def test_each_is_startled_by_what_it_sees(told) -> None:
    found = surprise_test({"eyes": Eyes(), "tints": Tints(), "pixels": PixelChange(16)}, told)
    eyes, tints, pixels = (found.model(name) for name in ("eyes", "tints", "pixels"))
    assert 0.7 < pixels.teleport.value <= eyes.teleport.value and pixels.curve.untouched[2].value > 0
    assert eyes.teleport.value > 0.98 and 0.3 < eyes.recolor.value < 0.7 and eyes.teleport_over_recolor.value > 0.98
    assert tints.recolor.value > 0.9 and tints.teleport_over_recolor.value < 0.3
    assert eyes.teleport.low <= eyes.teleport.value <= eyes.teleport.high
    assert found.moment == 2 and len(eyes.curve.teleport) == 4
    assert eyes.curve.teleport[1] == eyes.curve.untouched[1]
    assert eyes.curve.teleport[2].value > 10 * eyes.curve.untouched[2].value
    assert json.loads(json.dumps(found.to_json()))["models"][0]["model"] == "eyes" and found.table().row_count == 3
    with pytest.raises(UsageError, match="collapsed"):
        surprise_test({"blank": Blank()}, told)


@pytest.mark.parametrize("spec", ["point_mass", "push_disc", "grid", "random_door", "two_rooms+distractor+noise"])
def test_nothing_else_changes_in_other_worlds(spec: str) -> None:
    told = tell(find(spec), 3, history=1, before=1, after=2, skip=2)
    assert (told.teleport[:, :2] == told.untouched[:, :2]).all() and told.actions.shape[:2] == (3, 3)
    for other in (told.teleport, told.recolor):
        changed = (other[:, 2].int() - told.untouched[:, 2].int()).abs().amax(1) > 40
        assert 0 < changed.float().mean() < 0.15  # the object, where it was and where it is


def test_another_color_is_another_one() -> None:
    rng = np.random.default_rng(0)
    state = find("two_rooms:colorful").reset(50, rng)
    color = other_color(state, rng)
    assert (np.abs(color - state.layout.agent_color).max(1) > 1).all() and len(np.unique(color, axis=0)) == 5
    assert (with_color(state, color).layout.agent_color == color).all()
    with pytest.raises(UsageError, match="cannot be recolored"):
        other_color(np.zeros(3), rng)


def test_auc_and_its_interval() -> None:
    rng = torch.Generator().manual_seed(0)
    less = torch.randn(200, generator=rng)
    found = auc_interval(less + 1, torch.randn(200, generator=rng))
    assert found.value == pytest.approx(0.76, abs=0.05) and found.low < found.value < found.high
    assert found.high - found.low < 0.15
    assert auc_interval(less, less).value == pytest.approx(0.5)
    with pytest.raises(ValueError, match="same windows"):
        auc_interval(less, less[:5])
