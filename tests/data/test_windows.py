"""Windows: T frames a skip apart with every action between them, from one episode, as a stream that resumes."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from craik.data.episode import Episodes
from craik.data.episode_writer import Writer
from craik.data.stream import Stream
from craik.data.trajectory import ActionSpace, Trajectory
from craik.data.windows import Windows
from craik.errors import UsageError
from tests.data.episodes import make, write


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> Episodes:
    return write(tmp_path_factory.mktemp("windows"), (5, 9, 3, 1, 7))


def test_every_window_of_every_episode(episodes: Episodes) -> None:
    windows = Windows(episodes, frames=3)
    assert len(windows) == 3 + 7 + 1 + 0 + 5
    clips = windows.read(np.arange(len(windows)))
    assert clips.frames.shape == (16, 3, 3, 8, 8) and clips.frames.dtype == torch.uint8
    assert clips.frames.is_contiguous() and clips.actions.shape == (16, 2, 2)
    number, time = clips.frames[:, :, 0, 0, 0], clips.frames[:, :, 1, 0, 0].int()
    assert (number == number[:, :1]).all(), "a window lies in one episode"
    assert (time.diff(dim=1) == 1).all()
    starts = list(zip(number[:, 0].tolist(), time[:, 0].tolist(), strict=True))
    assert starts == [*((0, t) for t in range(3)), *((1, t) for t in range(7)), (2, 0), *((4, t) for t in range(5))]
    assert torch.equal(clips.frames[0, 0, 2, :, 0], torch.arange(8, dtype=torch.uint8)), "height stays height"
    assert torch.equal(clips.actions[..., 1], time[:, :-1].float()), "actions[t] is taken between frame t and t + 1"
    assert torch.equal(clips.states[..., 1], time.float()) and torch.equal(clips.rewards, time[:, :-1].float())


def test_actions_are_gathered_densely_over_the_skip(episodes: Episodes) -> None:
    windows = Windows(episodes, frames=3, skip=2)
    assert windows.span == 5 and windows.action_size == 4 and len(windows) == 1 + 5 + 3
    clips = windows.read(np.array([1, 5, 6]))
    time = clips.frames[:, :, 1, 0, 0].int()
    assert time.tolist() == [[0, 2, 4], [4, 6, 8], [0, 2, 4]]
    assert clips.actions.shape == (3, 2, 4)
    assert clips.actions[1].tolist() == [[1, 4, 1, 5], [1, 6, 1, 7]], "both actions of a block, one after the other"
    assert clips.rewards[1].tolist() == [4 + 5, 6 + 7]
    assert clips.done.tolist() == [[False, False], [False, True], [False, False]]


def test_starts_may_be_apart(episodes: Episodes) -> None:
    windows = Windows(episodes, frames=3, every=4)
    times = windows.read(np.arange(len(windows))).frames[:, 0, 1, 0, 0].tolist()
    assert times == [0, 0, 4, 0, 0, 4]
    assert windows.paths[2] == "episode 1, frame 4" and len(windows.paths) == len(windows)


def test_single_frames_and_data_without_actions(tmp_path: Path, episodes: Episodes) -> None:
    clips = Windows(episodes, frames=1).read(np.arange(25))
    assert clips.frames.shape == (25, 1, 3, 8, 8) and clips.actions.shape == (25, 0, 2)
    with Writer(tmp_path) as writer:
        writer.add(Trajectory(make(0, 5).frames))
    windows = Windows(Episodes.open(tmp_path), frames=2)
    assert windows.read(np.array([0])).actions is None and windows.action_size == 0


def test_discrete_actions_are_one_hot(tmp_path: Path) -> None:
    with Writer(tmp_path, action=ActionSpace("discrete", 3)) as writer:
        writer.add(Trajectory(make(0, 5).frames, np.array([2, 0, 1, 1])))
    clips = Windows(Episodes.open(tmp_path), frames=3, skip=2).read(np.array([0]))
    assert clips.actions.tolist() == [[[0, 0, 1, 1, 0, 0], [0, 1, 0, 0, 1, 0]]]


def test_jpeg_gives_the_same_windows(tmp_path: Path, episodes: Episodes) -> None:
    jpeg = Windows(write(tmp_path, (5, 9, 3, 1, 7), "jpeg"), frames=3).read(np.array([4, 4, 11]))
    raw = Windows(episodes, frames=3).read(np.array([4, 4, 11]))
    assert (jpeg.frames.int() - raw.frames.int()).abs().max() <= 4
    assert torch.equal(jpeg.actions, raw.actions)


def test_stream_is_shuffled_and_resumes_to_the_window(episodes: Episodes) -> None:
    windows = Windows(episodes, frames=2)

    def take(stream: Stream, count: int) -> list[torch.Tensor]:
        batches = iter(stream)
        found = [clips.index for clips in itertools.islice(batches, count)]
        batches.close()
        return found

    whole = take(Stream(windows, 4, seed=3), 12)
    assert len(Stream(windows, 4, seed=3)) == 5
    assert len(set(torch.cat(whole[:5]).tolist())) == 20, "an epoch has no window twice"
    assert torch.cat(whole[:5]).tolist() != sorted(torch.cat(whole[:5]).tolist())
    first = Stream(windows, 4, seed=3)
    take(first, 7)
    second = Stream(windows, 4, seed=3)
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(take(second, 5), whole[7:], strict=True))
    with pytest.raises(UsageError, match="windows 14, this is windows 20"):
        second.load_state_dict({**first.state_dict(), "windows": 14})
    with pytest.raises(UsageError, match=r"20 windows do not fill one batch of 64. Use --batch 20 or less"):
        Stream(windows, 64, seed=0)


def test_batches_move_as_a_whole(episodes: Episodes) -> None:
    clips = Windows(episodes, frames=2).read(np.arange(4)).to("cpu")
    assert len(clips) == 4 and clips.actions is not None and clips.states is not None


def test_episodes_too_short_for_a_window(episodes: Episodes) -> None:
    with pytest.raises(
        UsageError, match="no episode has the 13 frames that 4 frames with skip 4 span; the longest has 9"
    ):
        Windows(episodes, frames=4, skip=4)
    with pytest.raises(ValueError, match="at least 1"):
        Windows(episodes, frames=0)


def test_nan_is_told_before_training(tmp_path: Path) -> None:
    write(tmp_path)
    actions = np.load(tmp_path / "actions.npy", mmap_mode="r+")
    actions[1] = np.nan
    actions.flush()
    with pytest.raises(UsageError, match="NaN in the action of episode 0, frame 1"):
        Windows(Episodes.open(tmp_path), frames=2)
