"""Episodes on the disk: what is written is read, and what would be wrong is told."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from craik.data.episode import Episodes
from craik.data.episode_layout import Layout, Moments, is_episodes
from craik.data.episode_writer import Writer
from craik.data.trajectory import ActionSpace, Trajectory
from craik.errors import UsageError
from tests.data.episodes import make, write


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = write(tmp_path / "a")
    assert len(found) == 3 and found.num_frames == 17 and found.lengths.tolist() == [5, 9, 3]
    for number, num in enumerate((5, 9, 3)):
        made, read = make(number, num), found.episode(number)
        np.testing.assert_array_equal(read.frames, made.frames)
        np.testing.assert_array_equal(read.actions[:-1], made.actions)
        assert np.isnan(read.actions[-1]).all(), "the last action is not there"
        np.testing.assert_array_equal(read.states, made.states)
        np.testing.assert_array_equal(read.rewards[:-1], made.rewards)
        assert read.done.tolist() == [False] * (num - 2) + [True, False]
    assert found.summary().endswith("a: 3 episodes, 17 frames of 8 x 8 x 3, 3 to 9 frames each, actions of 2")


def test_numpy_reads_every_file(tmp_path: Path) -> None:
    write(tmp_path)
    shapes = {path.name: np.load(path).shape for path in tmp_path.glob("*.npy")}
    assert shapes == {
        "episodes.npy": (3, 2),
        "frames.npy": (17, 8, 8, 3),
        "actions.npy": (17, 2),
        "states.npy": (17, 3),
        "rewards.npy": (17,),
        "done.npy": (17,),
    }
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".npy") == ["meta.json"]


def test_jpeg_is_close(tmp_path: Path) -> None:
    found = write(tmp_path, storage="jpeg")
    assert not (tmp_path / "frames.npy").exists()
    rows = np.array([[0, 4], [13, 5]])
    frames = found.frames.read(rows)
    assert frames.shape == (2, 2, 8, 8, 3)
    wanted = np.stack([make(0, 5).frames[[0, 4]], np.stack([make(1, 9).frames[8], make(1, 9).frames[0]])])
    assert np.abs(frames.astype(int) - wanted).max() <= 4
    many = found.frames.read(np.arange(17).repeat(10))
    np.testing.assert_array_equal(many[40:50], found.frames.read(np.full(10, 4)))


def test_n_actions_for_n_frames(tmp_path: Path) -> None:
    whole = replace(make(0, 5), actions=np.ones((5, 2)))
    with Writer(tmp_path) as writer:
        writer.add(whole)
        writer.add(make(1, 4))
    found = Episodes.open(tmp_path)
    assert np.isfinite(found.episode(0).actions).all()
    assert len(found.known_actions()) == 4 + 3, "an action whose effect is not seen does not count"


def test_discrete_actions(tmp_path: Path) -> None:
    with Writer(tmp_path, action=ActionSpace("discrete", 4)) as writer:
        writer.add(Trajectory(make(0, 5).frames, np.array([0, 1, 2, 1])))
        with pytest.raises(UsageError, match="there are 4 actions, 0 to 3"):
            writer.add(Trajectory(make(0, 5).frames, np.array([0, 1, 4, 1])))
    found = Episodes.open(tmp_path)
    assert found.discrete and found.action_size == 4
    assert found.episode(0).actions[:-1, 0].tolist() == [0, 1, 2, 1]
    assert found.action_moments().mean == (0.0,) * 4 and found.action_moments().std == (1.0,) * 4


def test_moments_are_those_of_all_actions_and_joined_ones_are_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(3.0, 2.0, (n, 2)).astype(np.float32) for n in (4, 50, 7)]
    with Writer(tmp_path) as writer:
        for part in parts:
            writer.add(Trajectory(np.zeros((len(part) + 1, 4, 4, 3), dtype=np.uint8), part))
            writer.commit()
    found = Episodes.open(tmp_path)
    every = np.concatenate(parts).astype(np.float64)
    for moments in (found.action_moments(), found.layout.moments):
        assert moments.count == len(every)
        np.testing.assert_allclose(moments.mean, every.mean(0))
        np.testing.assert_allclose(moments.std, every.std(0))
        np.testing.assert_allclose(moments.low, every.min(0))
    np.testing.assert_allclose(found.subset([1]).action_moments().mean, parts[1].astype(np.float64).mean(0))


def test_an_action_that_never_moves_stays_zero_after_z_scores() -> None:
    moments = Moments.of(np.zeros((5, 1)))
    assert moments is not None and moments.std == (0.0,)


def test_split_keeps_episodes_whole_and_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    found = write(tmp_path, (4,) * 20)
    train, test = found.split(0.9, seed=1)
    assert (len(train), len(test)) == (18, 2)
    assert sorted([*train.numbers, *test.numbers]) == list(range(20))
    again, _ = found.split(0.9, seed=1)
    assert again.numbers.tolist() == train.numbers.tolist()
    assert found.split(0.9, seed=2)[1].numbers.tolist() != test.numbers.tolist()
    assert test.episode(0).frames[0, 0, 0, 0] == test.numbers[0]
    assert len(found.subset([3, 1]).every_row) == 8
    with pytest.raises(UsageError, match="one episode cannot be split"):
        found.subset([0]).split(0.5)


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    one, same = write(tmp_path / "a"), write(tmp_path / "b")
    other = write(tmp_path / "c", (5, 9, 4))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.subset([0]).fingerprint != one.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros((3, 2))}, r"actions are \(3, 2\) but frames are N=5; expected N-1 or N actions, actions"),
        ({"actions": np.zeros((6, 2))}, r"actions are \(6, 2\) but frames are N=5"),
        ({"actions": np.full((4, 2), np.nan)}, "NaN or infinity in the action at frame 0"),
        ({"actions": np.array([[0, 0], [0, np.inf], [0, 0], [0, 0]])}, "NaN or infinity in the action at frame 1"),
        ({"frames": np.zeros((0, 8, 8, 3), np.uint8)}, "it has no frame. Leave empty episodes out"),
        ({"frames": np.zeros((5, 8, 8), np.uint8)}, r"frames are \(5, 8, 8\); expected \[N, height, width"),
        ({"frames": np.full((5, 8, 8, 3), np.nan)}, "NaN or infinity in the observation of frame 0"),
        ({"frames": np.full((5, 8, 8, 3), -1.0)}, "observations range from -1 to -1; expected 0 to 1, or 0 to 255"),
        ({"states": np.zeros((4, 3))}, r"states are \(4, 3\) but frames are N=5; expected one state per frame"),
        ({"rewards": np.zeros(2)}, r"rewards are \(2\) but frames are N=5"),
    ],
)
def test_what_cannot_be_stored_is_told_and_leaves_nothing(
    tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    with Writer(tmp_path) as writer:
        writer.add(make(0, 5))
        with pytest.raises(UsageError, match=f"episode 1: .*{message}"):
            writer.add(replace(make(1, 5), **change))
        writer.add(make(2, 5))
    assert [found.frames[0, 0, 0, 0] for found in map(Episodes.open(tmp_path).episode, range(2))] == [0, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros((4, 3))}, r"actions are \(4, 3\), 3 numbers each, but this data has actions of 2"),
        ({"actions": None}, "it has no actions, but the episodes before have them"),
        ({"frames": np.zeros((5, 9, 8, 3), np.uint8)}, "frames of 9 x 8 x 3, but this data has 8 x 8 x 3"),
        ({"states": np.zeros((5, 2))}, r"states of 2 numbers, but this data has 3 \(s0, s1, s2\)"),
        ({"rewards": None}, "it has no rewards"),
    ],
)
def test_all_episodes_have_what_the_first_has(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with Writer(tmp_path) as writer:
        writer.add(make(0, 5))
        with pytest.raises(UsageError, match=message):
            writer.add(replace(make(1, 5), **change))  # type: ignore[arg-type]


def test_real_frames_in_0_to_1_become_bytes(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.add(Trajectory(np.linspace(0, 1, 2 * 4 * 4 * 3).reshape(2, 4, 4, 3)))
    frames = Episodes.open(tmp_path).episode(0).frames
    assert frames.min() == 0 and frames.max() == 255


def test_folder_that_is_not_there_or_not_ours(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such folder. Collect data: craik collect two_rooms"):
        Episodes.open(tmp_path / "none")
    with pytest.raises(UsageError, match=r"no episodes here \(it has no meta.json\)"):
        Episodes.open(tmp_path)
    (tmp_path / "meta.json").write_text("{}")
    assert not is_episodes(tmp_path)
    with pytest.raises(UsageError, match="not of episodes"):
        Episodes.open(tmp_path)


def test_damaged_folders_are_told(tmp_path: Path) -> None:
    write(tmp_path)
    frames = tmp_path / "frames.npy"
    frames.write_bytes(frames.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"frames.npy: is cut short \(3,391 of 3,392 bytes\)"):
        Episodes.open(tmp_path)
    meta = json.loads((tmp_path / "meta.json").read_text())
    (tmp_path / "meta.json").write_text(json.dumps({**meta, "version": 99}))
    with pytest.raises(UsageError, match=r"version 99, this craik reads 1. Update craik"):
        Episodes.open(tmp_path)
    del meta["rows"]
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UsageError, match="damaged"):
        Episodes.open(tmp_path)


def test_nan_in_stored_actions_names_the_place(tmp_path: Path) -> None:
    found = write(tmp_path)
    actions = np.load(tmp_path / "actions.npy", mmap_mode="r+")
    actions[5 + 2, 1] = np.nan
    actions.flush()
    with pytest.raises(UsageError, match=r"NaN in the action of episode 1, frame 2. See craik inspect"):
        found.action_moments()


def test_layout_columns_say_what_files_there_are() -> None:
    assert list(Layout((4, 4, 3)).columns()) == ["frames"]
    assert list(Layout((4, 4, 3), "jpeg", rewards=True).columns()) == ["jpegs", "rewards"]
