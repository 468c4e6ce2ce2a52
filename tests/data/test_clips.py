"""Data sets of videos: every way to give them, what is skipped, and batches that can be resumed."""

import csv
import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from craik.data import footage
from craik.data.clip import Clip, Rule
from craik.data.clips import ClipPixels, load_clips
from craik.data.images import ImageData, load_images
from craik.data.labels import LabelSpec
from craik.data.loader import ClipLoader, Samples
from craik.data.source import holds_videos
from craik.errors import UsageError
from tests.data.films import numbers_in, write_film
from tests.data.test_video import damaged_files, wipe

CLIP = Clip(4, 10.0)
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """run/ has an mp4, an mkv and a gif, walk/ an avi and a webm: 40 frames at 20 fps."""
    root = tmp_path_factory.mktemp("films") / "films"
    for name in ("run/a.mp4", "run/b.mkv", "run/c.gif", "walk/d.avi", "walk/e.webm"):
        write_film(root / name)
    return root


def load(path: Path | str, clip: Clip = CLIP, **options: object) -> ImageData:
    return load_clips(str(path), clip=clip, view=32, workers=1, progress=False, **options)  # type: ignore[arg-type]


def test_a_folder_of_every_kind(films: Path) -> None:
    (films / "notes.txt").write_text("x")
    data = load(films)
    assert data.paths == ["run/a.mp4", "run/b.mkv", "run/c.gif", "walk/d.avi", "walk/e.webm"]
    assert data.class_names == ("run", "walk") and data.labels is not None and data.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.pixels.shape == (5, 4, 40, 40, 3) and data.side == 40 and data.moving and data.length == 4
    assert (data.sizes == (48, 64)).all()
    clips = data.take(np.arange(5))
    assert clips.dtype == np.uint8
    for clip in clips:  # 17 of 34 places, two frames apart
        assert np.abs(np.array(numbers_in(clip)) - [17, 19, 21, 23]).max() <= 1
    assert (
        data.summary()
        == "films/: 5 videos (1 other file ignored), 64x48, 2.0 s at 20 fps median, 2 classes".replace(
            "films/", f"{films}/"
        )
    )
    np.testing.assert_array_equal(data.subset(np.array([3])).take(np.array([0])), clips[3:4])
    (films / "notes.txt").unlink()


def as_table(films: Path, path: Path, column: pa.Array) -> Path:
    names = ["run/a.mp4", "run/b.mkv", "run/c.gif", "walk/d.avi", "walk/e.webm"]
    pq.write_table(pa.table({"video": column, "label": [name.split("/")[0] for name in names]}), path)
    return path


def test_archives_and_tables_give_what_the_folder_gives(films: Path, tmp_path: Path) -> None:
    wanted = load(films).take(np.arange(5))
    names = [str(path.relative_to(films)) for path in sorted(films.rglob("*.*"))]
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        for name in names:
            archive.write(films / name, f"films/{name}")
    contents = [(films / name).read_bytes() for name in names]
    both = pa.array([{"bytes": content, "path": name} for content, name in zip(contents, names, strict=True)])
    places = pa.array([{"bytes": None, "path": str(films / name)} for name in names])
    shutil.copytree(films, tmp_path / "beside")
    lines = {
        "labels.csv": ["path,label", *(f"{films / n},{n.split('/')[0]}" for n in names)],
        "beside/list.txt": [f"{n} {int(n.startswith('walk'))}" for n in names],  # as published data sets have it
    }
    for name, rows in lines.items():
        (tmp_path / name).write_text("\n".join(rows))
    for path in (
        tmp_path / "films.zip",
        as_table(films, tmp_path / "bytes.parquet", pa.array(contents)),
        as_table(films, tmp_path / "both.parquet", both),
        as_table(films, tmp_path / "places.parquet", places),
        as_table(films, tmp_path / "texts.parquet", pa.array([str(films / name) for name in names])),
        tmp_path / "labels.csv",
        tmp_path / "beside/list.txt",
    ):
        data = load(path)
        np.testing.assert_array_equal(data.take(np.arange(5)), wanted, err_msg=path.name)
        assert data.labels is not None and data.labels.tolist() == [0, 0, 0, 1, 1], path.name
        assert holds_videos(str(path)), path.name


def test_rows_of_a_csv_that_lead_nowhere_are_skipped(films: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"clip,action,split\n{films}/run/a.mp4,go,train\ngone.mp4,go,train\n")
    data = load(tmp_path / "a.csv", labels=LabelSpec(label_column="action"), max_bad_fraction=0.5)
    assert len(data) == 1 and data.class_names == ("go",)
    assert [(s.path, s.reason) for s in data.skipped] == [("gone.mp4", "No such file or directory")]
    with pytest.raises(UsageError, match="no row of split 'val', but train"):
        load(tmp_path / "a.csv", split="val")
    (tmp_path / "b.csv").write_text("name,kind\na,b\n")
    with pytest.raises(UsageError, match="no column 'path' with paths, but name, kind"):
        load(tmp_path / "b.csv")


def test_a_hundred_damaged_files_are_skipped_and_counted(films: Path, tmp_path: Path) -> None:
    reasons = damaged_files(tmp_path / "seed")
    root = tmp_path / "films"
    shutil.copytree(films, root)
    for number in range(100):
        name = list(reasons)[number % len(reasons)]
        shutil.copy(tmp_path / "seed" / name, root / f"run/{number:03d}_{name}")
    write_film(root / "walk/short.mp4", 5)
    with pytest.raises(UsageError, match=r"100 of 106 video files \(94.3%\) cannot be read, more than 5%"):
        load(root)
    data = load(root, max_bad_fraction=0.95)
    assert len(data) == 5 and len(data.skipped) == 101
    short = [s.reason for s in data.skipped if s.path == "walk/short.mp4"]
    assert short == ["too short: 0.25 s, and 4 frames at 10 fps span 0.30 s"]
    assert "1 of 106 videos are shorter than a clip (0.30 s) and left out" in data.notes
    np.testing.assert_array_equal(data.take(np.arange(5)), load(films).take(np.arange(5)))
    assert load(root, Clip(4, 10.0, repeat=True), max_bad_fraction=0.95).skipped[-1].path != "walk/short.mp4"
    with pytest.raises(UsageError, match="none of 100 video files can be read"):
        only = tmp_path / "only"
        (root / "run").rename(only)
        for good in ("a.mp4", "b.mkv", "c.gif"):
            (only / good).unlink()
        load(only)


def test_images_are_clips_that_stand_still(films: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), (0, 90, 200)).save(tmp_path / "a.png")
    data = load(tmp_path / "a.png", Clip(6, 4.0))
    assert data.length == 6 and (data.take(np.array([0])) == (0, 90, 200)).all()
    assert data.notes == ("1 stills: each fills its clip with one image",)
    shutil.copy(films / "run/a.mp4", tmp_path / "b.mp4")
    assert load(tmp_path).paths == ["b.mp4"]  # beside videos, images are covers and the like
    with pytest.raises(UsageError, match="These are videos: train a video model"):
        load_images(str(films / "walk"), size=16)


def test_clips_of_a_file_come_from_its_own_equal_parts(films: Path) -> None:
    data = load(films / "run/a.mp4", Clip(2, 20.0, per_file=3))
    assert len(data) == 3 and data.paths == ["a.mp4"] * 3
    assert [numbers_in(clip)[0] for clip in data.take(np.arange(3))] == [6, 19, 32]
    pixels = data.pixels
    assert isinstance(pixels, ClipPixels)
    firsts: list[set[int]] = [set(), set(), set()]
    for epoch in range(60):
        clips, rows = pixels.draw(np.arange(3), 0, epoch)
        assert rows.tolist() == [0, 1, 2]
        for part, clip in zip(firsts, clips, strict=True):
            part.add(numbers_in(clip)[0])
    assert all(max(part) - min(part) >= 10 for part in firsts)
    assert max(firsts[0]) <= min(firsts[1]) and max(firsts[1]) <= min(firsts[2])


def batches(data: ImageData, count: int, state: dict[str, int] | None = None) -> tuple[list[Samples], dict[str, int]]:
    loader = ClipLoader(data, 2, seed=3)
    if state is not None:
        loader.load_state_dict(state)
    stream = iter(loader)
    found = [next(stream) for _ in range(count)]
    stream.close()
    return found, loader.state_dict()


def test_batches_go_on_where_they_stopped(films: Path) -> None:
    data = load(films)
    whole, _ = batches(data, 7)
    first, state = batches(data, 3)
    second, _ = batches(load(films), 4, state)
    for one, other in zip(whole, [*first, *second], strict=True):
        assert one.x.dtype == torch.uint8 and one.x.shape == (2, 4, 3, 40, 40)
        assert torch.equal(one.x, other.x) and torch.equal(one.index, other.index)
        assert one.label is not None and other.label is not None and torch.equal(one.label, other.label)
    places = {row: set() for row in range(5)}  # type: dict[int, set[int]]
    for batch in whole:
        for clip, row in zip(batch.x, batch.index.tolist(), strict=True):
            places[row].add(numbers_in(clip.permute(0, 2, 3, 1).numpy())[0])
    assert any(len(found) > 1 for found in places.values())


def test_a_video_that_fails_late_is_replaced_and_told(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_film(tmp_path / f"{name}.mp4", 60)
    stamps = load(tmp_path).pixels.footage.track(1).stamps  # type: ignore[union-attr]
    (tmp_path / "b.mp4").write_bytes(wipe(tmp_path / "b.mp4", stamps[2:50]))
    data = load(tmp_path)
    pixels = data.pixels
    assert len(data) == 3 and not data.skipped and isinstance(pixels, ClipPixels)
    for epoch in range(8):
        clips, rows = pixels.draw(np.array([1]), 0, epoch)
        assert clips.any() and rows.shape == (1,)
        again, same = pixels.draw(np.array([1]), 0, epoch)
        np.testing.assert_array_equal(clips, again)
        assert rows == same
    assert list(pixels.late) == [1] and "cannot be decoded" in pixels.late[1]
    with pytest.raises(UsageError, match=r"b.mp4: .* cannot be decoded"):
        data.take(np.array([1]))


def test_processes_decode_as_threads_do_and_time_stamps_are_kept(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = load(films).take(np.arange(5))
    monkeypatch.setattr(footage, "IN_PROCESS", 2)
    monkeypatch.setenv("CRAIK_CACHE", str(tmp_path))
    data = load(films)
    np.testing.assert_array_equal(data.take(np.arange(5)), wanted)
    assert len(list((tmp_path / "videos").glob("*.npz"))) == 1
    data.pixels.footage.close()  # type: ignore[union-attr]
    monkeypatch.setattr(footage, "_survey", lambda *_: pytest.fail("the cache has it"))
    again = load(films)
    assert again.fingerprint == data.fingerprint and again.summary() == data.summary()
    assert load_fingerprint(films, Clip(4, 5.0)) != data.fingerprint


def load_fingerprint(films: Path, clip: Clip) -> str:
    return load(films, clip).fingerprint


def test_workers_load_no_torch() -> None:
    code = "import sys, craik.data.clips, craik.data.toy_video; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_rule_of_v_jepa_holds_the_last_frame_of_short_files(films: Path) -> None:
    data = load(films / "run/a.mp4", Clip(16, 4.0, rule=Rule.VJEPA))
    assert numbers_in(data.take(np.array([0]))[0]) == [0, 5, 11, 17, 22, 28, 34, *[39] * 9]
    assert any("hold their last frame" in note for note in data.notes)


def test_without_pyav_the_extra_is_named(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r"pip install 'craik\[video\]'"):
        load(films)


@pytest.mark.skipif(not (SHARED / "video_ceiling").is_dir(), reason=f"no shared data at {SHARED}")
def test_real_clips(tmp_path: Path) -> None:
    place = SHARED / "video_ceiling/video_ceiling.zip"
    with zipfile.ZipFile(place) as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("video_ceiling/clips.csv"))))
    data = load(place, Clip(16, 12.5), split="test")
    assert len(data) == sum(row["split"] == "test" for row in rows) == 43 - len(data.skipped)
    frames = {row["file"]: int(row["frames"]) for row in rows}
    found = data.pixels.footage.tracks  # type: ignore[union-attr]
    assert [len(found[row]) for row in range(43)] == [
        frames[path.removeprefix("video_ceiling/")] for path in data.paths
    ]
    assert data.take(np.arange(2)).std() > 10
