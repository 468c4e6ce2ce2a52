"""Open-loop error: a model that knows the world beats every baseline, and one that ignores actions is found out."""

import json
from pathlib import Path

import pytest
import torch

from craik.errors import UsageError
from craik.evaluate.openloop import open_loop, true_action, variance
from tests.data.episodes import write
from tests.evaluate.seeing import Blank, Eyes, places, rooms


def test_who_knows_the_world_beats_the_baselines(tmp_path: Path) -> None:
    found = open_loop(Eyes(), rooms(tmp_path), history=2, horizon=8, num_windows=24, num_random=20)
    assert [row.steps for row in found.ahead] == list(range(1, 9)) and found.num_windows == 24
    for row in found.ahead:
        assert row.model.value < 0.5 * row.copy.value and row.model.value < 0.5 * row.wrong_action.value
        assert row.over_copy.high < 0 and row.over_no_action.high < 0 and row.over_wrong_action.high < 0
    assert found.ahead[0].copy.value < found.ahead[-1].copy.value
    assert found.action.rank.value > 0.9 and found.action.lowest.value > 0.5
    assert found.action.energy.value < found.action.random.value
    assert "listens to the actions" in found.summary()[1] and "1 to 8 steps" in found.summary()[0]
    plain = json.loads(json.dumps(found.to_json()))
    assert plain["ahead"][0]["model"]["value"] == found.ahead[0].model.value
    assert found.table().row_count == 4  # 1, 2, 4, 8


def test_who_is_deaf_is_as_good_with_wrong_actions(tmp_path: Path) -> None:
    found = open_loop(Eyes(deaf=True), rooms(tmp_path), history=1, horizon=4, num_windows=16, num_random=10)
    for row in found.ahead:
        assert row.model == row.copy == row.wrong_action and row.over_copy.value == 0
    assert found.action.rank.value == pytest.approx(0.5)  # all tie
    assert "does not clearly listen" in found.summary()[1] and "at no horizon" in found.summary()[0]


def test_skipped_frames_and_short_episodes(tmp_path: Path) -> None:
    found = open_loop(Eyes(skip=3), rooms(tmp_path, steps=15), history=2, skip=3, num_windows=12, num_random=5)
    assert len(found.ahead) == 4  # 6 frames, 2 of them seen
    assert found.ahead[-1].model.value < 0.5 * found.ahead[-1].copy.value


def test_errors_are_those_of_the_true_places(tmp_path: Path) -> None:
    episodes = rooms(tmp_path, episodes=6)
    found = open_loop(Eyes(deaf=True), episodes, history=1, horizon=20, num_windows=6, num_random=2)
    at = torch.stack([places(episodes, episodes.rows(i)) for i in range(6)])
    spread = (at[:, 1:] - at[:, 1:].mean((0, 1))).square().mean()
    expected = (at[:, 20] - at[:, 0]).square().mean() / spread
    assert found.ahead[-1].copy.value == pytest.approx(float(expected), rel=0.05)


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    episodes = rooms(tmp_path / "rooms", episodes=3)
    with pytest.raises(UsageError, match="has collapsed"):
        open_loop(Blank(), episodes, history=1, horizon=4)
    with pytest.raises(UsageError, match="from another episode"):
        open_loop(Eyes(), episodes.subset([1]), history=1, horizon=4)
    with pytest.raises(UsageError, match="at least 10 frames"):
        open_loop(Eyes(), write(tmp_path / "short", (5, 9, 3)), history=9)
    with pytest.raises(UsageError, match="do not vary"):
        variance(torch.full((4, 2, 3), torch.nan))


def test_rank_counts_ties_half() -> None:
    found = true_action(torch.tensor([[1.0, 2.0, 3.0, 1.0, 0.5], [0.0, 2.0, 3.0, 1.0, 0.5]]))
    assert found.rank.value == pytest.approx((2.5 / 4 + 1) / 2) and found.lowest.value == 0.5
    assert found.num_random == 4
