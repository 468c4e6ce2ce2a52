"""Collecting: the same plan gives the same data, whoever does it and however often it is interrupted."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from craik.collect import Outcome, Plan, collect, gather
from craik.data.episode import Episodes
from craik.errors import UsageError
from tests.collect import worlds
from tests.collect.worlds import Line


@pytest.fixture(autouse=True)
def few_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "TOGETHER", 4)


def gathered(folder: Path, episodes: int, mode: str = "error", **options: object) -> Outcome:
    plan = {key: options.pop(key) for key in ("seed", "policy", "steps", "storage") if key in options}
    return collect(
        Plan(env="line", episodes=episodes, **plan),  # type: ignore[arg-type]
        folder,
        mode,  # type: ignore[arg-type]
        make=options.pop("make", Line),  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_rows_belong_together(tmp_path: Path) -> None:
    outcome = gathered(tmp_path, 6)
    assert outcome == Outcome(before=0, episodes=6, wanted=6, frames=66)
    found = Episodes.open(tmp_path)
    assert found.lengths.tolist() == [11] * 6 and found.layout.state_names == ("place",)
    assert found.layout.action is not None and found.layout.action.low == (-1.0,)
    for number in range(6):
        episode = found.episode(number)
        place = episode.states[:, 0]
        np.testing.assert_allclose(episode.frames[:, 0, 0, 0], 2.5 * place, atol=0.51)
        moved = np.clip(place[:-1] + episode.actions[:-1, 0], 0, 100)
        np.testing.assert_allclose(place[1:], moved, atol=1e-4)
    assert len({found.episode(i).states[0, 0] for i in range(6)}) == 6


def test_the_seed_decides_and_the_number_of_workers_does_not(tmp_path: Path) -> None:
    gathered(tmp_path / "one", 10, policy="mixed")
    gathered(tmp_path / "two", 10, policy="mixed", workers=2, make=partial(Line))
    gathered(tmp_path / "other", 10, policy="mixed", seed=1)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert content(tmp_path / "one")["frames.npy"] != content(tmp_path / "other")["frames.npy"]


@pytest.mark.parametrize("stops", [1, 2])
def test_interrupted_collection_goes_on_bit_equal(tmp_path: Path, stops: int) -> None:
    gathered(tmp_path / "whole", 10)
    asked = iter([False] * stops + [True] * 10)
    first = gathered(tmp_path / "cut", 10, stop=lambda: next(asked))
    assert first.interrupted and first.episodes == 4 * stops
    assert len(Episodes.open(tmp_path / "cut")) == 4 * stops
    second = gathered(tmp_path / "cut", 10)
    assert not second.interrupted and (second.before, second.episodes) == (4 * stops, 10)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_asked_again_it_adds_nothing_and_asked_for_more_it_adds_more(tmp_path: Path) -> None:
    gathered(tmp_path, 6)
    before = content(tmp_path)
    assert gathered(tmp_path, 6).frames == 0
    assert gathered(tmp_path, 3).frames == 0
    assert {name: data for name, data in content(tmp_path).items() if name != "meta.json"} == {
        name: data for name, data in before.items() if name != "meta.json"
    }
    outcome = gathered(tmp_path, 9)
    assert (outcome.before, outcome.episodes) == (6, 9)
    starts = [Episodes.open(tmp_path).episode(i).states[0, 0] for i in range(9)]
    assert len(set(starts)) == 9, "no episode comes twice"


def test_append_goes_on_with_new_streams_of_the_same_seed(tmp_path: Path) -> None:
    gathered(tmp_path, 5)
    gathered(tmp_path, 5, "append")
    gathered(tmp_path, 4, "append", policy="expert")
    found = Episodes.open(tmp_path)
    assert len({found.episode(i).states[0, 0] for i in range(14)}) == 14
    assert [(o.policy, o.first, o.wanted) for o in found.layout.origins] == [
        ("random", 0, 5),
        ("random", 5, 10),
        ("expert", 10, 14),
    ]


def test_interrupted_append_is_finished_by_asking_again(tmp_path: Path) -> None:
    gathered(tmp_path, 4)
    asked = iter([False, True, True])
    assert gathered(tmp_path, 8, "append", seed=5, stop=lambda: next(asked)).episodes == 8
    outcome = gathered(tmp_path, 8, "append", seed=5)
    assert (outcome.before, outcome.episodes) == (8, 12)
    assert len(Episodes.open(tmp_path).layout.origins) == 2


def test_other_settings_are_not_mixed_by_accident(tmp_path: Path) -> None:
    gathered(tmp_path, 4)
    for change in ({"policy": "expert"}, {"seed": 3}, {"steps": 5}, {"make": partial(Line, side=16)}):
        with pytest.raises(UsageError, match=r"holds 4 episodes of line by a random policy, collected with other"):
            gathered(tmp_path, 4, **change)
    gathered(tmp_path, 2, "overwrite", steps=5)
    assert Episodes.open(tmp_path).lengths.tolist() == [6, 6]


def test_an_environment_that_raises_loses_nothing_that_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(worlds, "CALLS", [2 * 10 + 3])
        outcome = gathered(tmp_path, 12)
    assert outcome.failure is not None and not outcome.interrupted
    assert outcome.failure.error == "RuntimeError: the motor is hot" and outcome.failure.step == 3
    assert outcome.failure.place.startswith("worlds.py:")
    assert len(Episodes.open(tmp_path)) == outcome.episodes == 8
    outcome = gathered(tmp_path, 12)
    assert (outcome.before, outcome.episodes) == (8, 12)
    found = Episodes.open(tmp_path)
    assert len({found.episode(i).states[0, 0] for i in range(12)}) == 12


def test_an_environment_that_raises_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Line:
        raise KeyError("no such joint")

    with pytest.raises(UsageError, match=r"line cannot be made: KeyError: 'no such joint' \(test_collect.py:"):
        gathered(tmp_path / "a", 4, make=broken)
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(worlds, "CALLS", [0])
    assert gathered(tmp_path / "b", 4).episodes == 0


def test_expert_reaches_goals_and_random_does_not(tmp_path: Path) -> None:
    gathered(tmp_path / "expert", 8, policy="expert", steps=60)
    gathered(tmp_path / "random", 8, policy="random", steps=60)
    spans = [np.mean([np.ptp(e.episode(i).states) for i in range(8)]) for e in map(Episodes.open, tmp_path.iterdir())]
    names = [path.name for path in tmp_path.iterdir()]
    assert spans[names.index("expert")] > 2 * spans[names.index("random")]


def test_frames_as_jpeg(tmp_path: Path) -> None:
    gathered(tmp_path, 4, storage="jpeg")
    found = Episodes.open(tmp_path)
    assert found.layout.storage == "jpeg"
    assert np.abs(found.episode(2).frames[:, 0, 0, 0] - 2.5 * found.episode(2).states[:, 0]).max() < 4


@pytest.mark.parametrize(
    ("change", "message"),
    [({"episodes": 0}, "-n 0"), ({"steps": 0}, "--steps 0"), ({"size": 2}, "--size 2"), ({"seed": -1}, "--seed -1")],
)
def test_values_that_cannot_be(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(**{"env": "line", "episodes": 3, **change})  # type: ignore[arg-type]
