"""Other people's recordings: npz, HDF5, parquet rows and LeRobot, in the layouts that are met."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from craik.data.episode import Episodes
from craik.data.imports import import_recording, open_recording
from craik.data.recording import Columns
from craik.errors import UsageError
from tests.data.episodes import make

ROBOT = Path(__file__).resolve().parents[2] / "../shared/data/robot"
needs_robot = pytest.mark.skipif(not ROBOT.is_dir(), reason="no ../shared/data/robot beside the repository")


def imported(source: Path, out: Path, **columns: object) -> Episodes:
    import_recording(open_recording(str(source), Columns(**columns)), out)  # type: ignore[arg-type]
    return Episodes.open(out)


def check(found: Episodes, lengths: tuple[int, ...], first: int = 0) -> None:
    """The episodes are those that `make` makes."""
    assert found.lengths.tolist() == list(lengths)
    for number, num in enumerate(lengths):
        wanted, read = make(first + number, num), found.episode(number)
        assert np.abs(read.frames.astype(int) - wanted.frames).max() <= 4, "JPEG is close, all else is equal"
        np.testing.assert_array_equal(read.actions[: num - 1], wanted.actions)
        if read.states is not None:
            np.testing.assert_array_equal(read.states, wanted.states)


def flat(lengths: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Episodes one after the other, N actions for N frames."""
    parts = [make(number, num) for number, num in enumerate(lengths)]
    actions = [np.concatenate([p.actions, np.zeros((1, 2))]) for p in parts]
    return {
        "frames": np.concatenate([p.frames for p in parts]),
        "actions": np.concatenate(actions),
        "states": np.concatenate([p.states for p in parts]),
    }


# npz


def test_npz_of_one_episode(tmp_path: Path) -> None:
    made = make(0, 6)
    np.savez(tmp_path / "a.npz", observations=made.frames, actions=made.actions, states=made.states)
    check(imported(tmp_path / "a.npz", tmp_path / "out"), (6,))


def test_npz_of_a_batch_with_channels_first(tmp_path: Path) -> None:
    made = [make(number, 6) for number in range(3)]
    frames = np.stack([m.frames for m in made]).transpose(0, 1, 4, 2, 3)
    np.savez(tmp_path / "a.npz", images=frames, action=np.stack([m.actions for m in made]))
    check(imported(tmp_path / "a.npz", tmp_path / "out"), (6, 6, 6))


@pytest.mark.parametrize("how", ["episode_ends", "episode_lengths", "episode_index", "terminals", "timeouts"])
def test_npz_of_rows(tmp_path: Path, how: str) -> None:
    lengths = (4, 6, 3)
    ends = np.cumsum(lengths)
    marks = {
        "episode_ends": ends,
        "episode_lengths": np.array(lengths),
        "episode_index": np.repeat([0, 1, 2], lengths),
        "terminals": np.isin(np.arange(13), ends - 1),
        "timeouts": np.isin(np.arange(13), ends - 1),
    }
    np.savez(tmp_path / "a.npz", **flat(lengths), **{how: marks[how]})
    check(imported(tmp_path / "a.npz", tmp_path / "out"), lengths)


def test_folder_of_npz_files(tmp_path: Path) -> None:
    for number, num in enumerate((4, 5)):
        made = make(number, num)
        np.savez(tmp_path / f"{number}.npz", obs=made.frames, act=made.actions)
    check(imported(tmp_path, tmp_path / "out"), (4, 5))


def test_discrete_actions_are_counted_over_all_episodes(tmp_path: Path) -> None:
    frames = np.stack([make(n, 4).frames for n in range(2)])
    np.savez(tmp_path / "a.npz", frames=frames, actions=np.array([[0, 1, 0], [2, 3, 0]]))
    found = imported(tmp_path / "a.npz", tmp_path / "out")
    assert found.discrete and found.action_size == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros((8, 2))}, r"a: actions are \(8, 2\) but frames are N=6; expected N-1 or N actions"),
        ({"actions": np.full((5, 2), np.nan)}, "a: NaN or infinity in the action at frame 0"),
        ({"frames": np.full((6, 8, 8, 3), np.nan)}, "a: NaN or infinity in the observation of frame 0"),
        ({"frames": np.zeros((6, 8))}, r"no frames, but frames \[6, 8\], actions"),
        ({"episode_ends": np.array([3, 9])}, "the ends of the episodes go to row 9 of 6 rows"),
    ],
)
def test_wrong_layouts(tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    made = make(0, 6)
    np.savez(tmp_path / "a.npz", **{"frames": made.frames, "actions": made.actions, **change})
    with pytest.raises(UsageError, match=message):
        imported(tmp_path / "a.npz", tmp_path / "out")


def test_what_is_no_npz(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"nothing of the kind")
    with pytest.raises(UsageError, match=r"not a readable .npz file"):
        open_recording(str(tmp_path / "a.npz"))


# HDF5


def test_hdf5_with_a_group_per_episode(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs craik[envs]")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for number in range(11):
            made = make(number, 4 + number)
            group = file.create_group(f"data/demo_{number}")
            group["obs/agentview_image"], group["obs/state"] = made.frames, made.states
            group["actions"] = np.concatenate([made.actions, np.zeros((1, 2))])
    check(imported(tmp_path / "a.hdf5", tmp_path / "out"), tuple(range(4, 15)))


def test_hdf5_of_rows(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs craik[envs]")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in {**flat((4, 6)), "episode_ends": np.array([4, 10])}.items():
            file[name] = values
    check(imported(tmp_path / "a.h5", tmp_path / "out"), (4, 6))


# parquet rows


def rows(lengths: tuple[int, ...], first: int = 0, frames: str | None = "image", **names: str) -> pa.Table:
    """A table with one row per step, in a muddle."""
    found = []
    for number, num in enumerate(lengths):
        made = make(first + number, num)
        for step in range(num):
            row = {
                names.get("episode", "episode"): first + number,
                names.get("step", "step"): step,
                "action": made.actions[min(step, num - 2)].tolist(),
                names.get("state", "state"): made.states[step].tolist(),
            }
            if frames is not None:
                buffer = io.BytesIO()
                Image.fromarray(made.frames[step]).save(buffer, "PNG")
                row[frames] = {"bytes": buffer.getvalue(), "path": "a.png"}
            found.append(row)
    order = np.random.default_rng(0).permutation(len(found))
    return pa.Table.from_pylist([found[i] for i in order])


def test_parquet_rows_in_any_order(tmp_path: Path) -> None:
    pq.write_table(rows((4, 6, 5)), tmp_path / "a.parquet")
    check(imported(tmp_path / "a.parquet", tmp_path / "out"), (4, 6, 5))


def test_frames_can_be_scaled(tmp_path: Path) -> None:
    pq.write_table(rows((4,)), tmp_path / "a.parquet")
    found = imported(tmp_path / "a.parquet", tmp_path / "out", size=4)
    assert found.layout.frame == (4, 4, 3)
    assert found.episode(0).frames[:, 0, 0, 1].tolist() == [0, 1, 2, 3]


def test_parquet_without_episodes_or_with_a_column_that_is_not_there(tmp_path: Path) -> None:
    pq.write_table(rows((4,)).drop_columns(["episode"]), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"no column with the number of the episode, but .*action"):
        open_recording(str(tmp_path / "a.parquet"))
    pq.write_table(rows((4,)), tmp_path / "b.parquet")
    with pytest.raises(UsageError, match=r"no 'acton' \(--action-column\), but .* Did you mean 'action'"):
        open_recording(str(tmp_path / "b.parquet"), Columns(action_column="acton"))


@needs_robot
def test_bridge_episodes(tmp_path: Path) -> None:
    recording = open_recording(str(ROBOT / "bridge_train.parquet"))
    assert any("image_1" in note and "left out" in note for note in recording.notes)
    found = imported(ROBOT / "bridge_train.parquet", tmp_path / "a")
    assert found.summary().endswith("17 episodes, 170 frames of 64 x 64 x 3, 10 frames each, actions of 7")
    other = imported(ROBOT / "bridge_train.parquet", tmp_path / "b", frames_column="image_2")
    assert (found.episode(0).frames != other.episode(0).frames).any()
    table = pq.read_table(ROBOT / "bridge_train.parquet", columns=["episode", "step", "action"]).to_pylist()
    wanted = [row["action"] for row in table if row["episode"] == 3]
    np.testing.assert_array_equal(found.episode(3).actions, np.array(wanted, dtype=np.float32))


@needs_robot
def test_franka_transition(tmp_path: Path) -> None:
    found = imported(ROBOT / "franka_example_traj.npz", tmp_path / "a")
    assert found.lengths.tolist() == [2] and found.layout.frame == (256, 256, 3) and found.actions is None
    with np.load(ROBOT / "franka_example_traj.npz") as file:
        np.testing.assert_array_equal(found.episode(0).frames, file["observations"][0])
        np.testing.assert_array_equal(found.episode(0).states, file["states"][0])


# LeRobot


def lerobot(folder: Path, lengths: tuple[int, ...], kind: str = "image", **info: object) -> Path:
    names = {"episode": "episode_index", "step": "frame_index", "state": "observation.state"}
    camera = "observation.image" if kind == "image" else None
    for number, num in enumerate(lengths):
        path = folder / f"data/chunk-000/episode_{number:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows((num,), number, camera, **names), path)
    features = {"action": {"dtype": "float32"}, "observation.state": {"dtype": "float32"}}
    meta = {
        "codebase_version": "v2.1",
        "fps": 10,
        **info,
        "features": {**features, "observation.image": {"dtype": kind}},
    }
    (folder / "meta").mkdir()
    (folder / "meta/info.json").write_text(json.dumps(meta))
    return folder


def test_lerobot_with_images(tmp_path: Path) -> None:
    folder = lerobot(tmp_path / "robot", (4, 6))
    recording = open_recording(str(folder))
    assert recording.layout == "LeRobot v2.1"
    check(imported(folder, tmp_path / "out"), (4, 6))


def test_lerobot_with_videos_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lerobot(tmp_path / "robot", (4,), "video", video_path="videos/{video_key}/{episode_index}.mp4")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UsageError, match=r"frames \(observation.image\) are in video files; .* 'craik\[video\]'"):
        open_recording(str(folder))


def film(path: Path, frames: np.ndarray) -> None:
    av = pytest.importorskip("av", reason="needs craik[video]")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 64, "yuv420p", 8_000_000
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def gray(num: int, first: int = 0) -> np.ndarray:
    """Frames [num, 64, 64, 3], each ten levels brighter than the one before."""
    levels = (20 + 10 * (first + np.arange(num))).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (num, 64, 64, 3)).copy()


def test_lerobot_with_a_video_per_episode(tmp_path: Path) -> None:
    template = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    folder = lerobot(tmp_path / "robot", (4, 6), "video", video_path=template, chunks_size=1000)
    for number, num in enumerate((4, 6)):
        path = template.format(episode_chunk=0, video_key="observation.image", episode_index=number)
        film(folder / path, gray(num, number))
    found = imported(folder, tmp_path / "out")
    assert found.lengths.tolist() == [4, 6]
    assert np.abs(found.episode(1).frames[:, 0, 0, 0].astype(int) - gray(6, 1)[:, 0, 0, 0]).max() <= 3


def test_lerobot_with_a_video_of_several_episodes(tmp_path: Path) -> None:
    template = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    folder = lerobot(tmp_path / "robot", (8, 12), "video", video_path=template, codebase_version="v3.0")
    film(folder / template.format(video_key="observation.image", chunk_index=0, file_index=0), gray(20))
    key = "videos/observation.image"
    table = [
        {"episode_index": n, f"{key}/chunk_index": 0, f"{key}/file_index": 0, **times}
        for n, times in enumerate(
            [{f"{key}/from_timestamp": a, f"{key}/to_timestamp": b} for a, b in ((0.0, 0.8), (0.8, 2.0))]
        )
    ]
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(table), folder / "meta/episodes/chunk-000/file-000.parquet")
    found = imported(folder, tmp_path / "out")
    assert found.lengths.tolist() == [8, 12]
    assert np.abs(found.episode(1).frames[:, 0, 0, 0].astype(int) - gray(12, 8)[:, 0, 0, 0]).max() <= 3


# what is none of these


def test_what_cannot_be_imported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file or folder. Give a recording"):
        open_recording(str(tmp_path / "none"))
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UsageError, match=r"no recording that can be read \(it holds .txt\). Give .npz"):
        open_recording(str(tmp_path))
