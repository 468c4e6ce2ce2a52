"""Loading whole sets: the same however they are packed, from the cache as the first time, whatever is broken."""

import io
import random
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from craik.data import cache, workers
from craik.data.decode import UnreadableImage, decode
from craik.data.images import Rows, load_images
from craik.data.toy import shapes
from craik.errors import UsageError

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"


def encode(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_folder(root: Path, count: int = 24, side: int = 20) -> Path:
    pixels, factors = shapes(count, side, seed=0)
    for number in range(count):
        path = root / f"class{factors['shape'][number]}" / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if number % 2 else "JPEG"
        path.write_bytes(encode(pixels[number, : side - number % 3], kind))
    return root


def load(path, tmp_path, **options):
    options = {"size": 16, "cache_dir": str(tmp_path / "cache"), "progress": False, "workers": 1, **options}
    return load_images(str(path), **options)


def same(one, two) -> None:
    assert len(one) == len(two)
    everything = np.arange(len(one))
    np.testing.assert_array_equal(one.take(everything), two.take(everything))
    np.testing.assert_array_equal(one.sizes, two.sizes)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.class_names == two.class_names


def test_folder_zip_tar_and_parquet_give_the_same(tmp_path):
    root = write_folder(tmp_path / "photos")
    files = sorted(path for path in root.rglob("*") if path.is_file())
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in reversed(files):
            archive.write(path, path.relative_to(tmp_path))
    for name, mode in [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")]:
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(root, "photos")
    rows = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
    pq.write_table(pa.table({"image": rows, "label": [p.parent.name for p in files]}), tmp_path / "a.parquet")
    folder = load(root, tmp_path)
    assert len(folder) == 24 and folder.num_classes == 6 and folder.side == 16
    for name in ("a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.parquet"):
        same(folder, load(tmp_path / name, tmp_path))


def test_a_large_enough_set_goes_through_processes_and_the_cache(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "photos", count=90)
    (root / "class0" / "zz.jpg").write_bytes(b"broken")
    first = load(root, tmp_path)
    assert len(first) == 90 and [s.path for s in first.skipped] == ["class0/zz.jpg"]
    assert len(list((tmp_path / "cache" / "images").glob("*.npy"))) == 1
    assert not list((tmp_path / "cache" / "images").glob(".partial*"))
    monkeypatch.setattr(cache, "_decode_all", None)  # a second decoding would fail
    second = load(root, tmp_path)
    same(first, second)
    assert second.skipped == first.skipped and second.fingerprint == first.fingerprint
    assert not isinstance(second.pixels, np.ndarray) and isinstance(second.pixels.base, np.memmap)


def test_the_cache_notices_changed_files_and_damage(tmp_path):
    root = write_folder(tmp_path / "photos", count=90)
    first = load(root, tmp_path)
    stored = next((tmp_path / "cache" / "images").glob("*.npy"))
    half = stored.read_bytes()[:1000]
    stored.unlink()  # the first data still reads the old file
    stored.write_bytes(half)
    same(first, load(root, tmp_path))
    changed = sorted(root.rglob("*.jpg"))[0]
    changed.write_bytes(encode(np.full((20, 20, 3), 200, np.uint8), "PNG"))
    third = load(root, tmp_path)
    assert (third.take([0]) == 200).all() and third.fingerprint != first.fingerprint
    assert load(root, tmp_path, size=12).take([0]).shape == (1, 12, 12, 3)


def test_pixels_are_the_squashed_originals(tmp_path):
    root = write_folder(tmp_path / "photos", count=90)
    data = load(root, tmp_path)
    for row in (0, 31, 89):
        image = decode(root / data.paths[row])
        assert data.sizes[row].tolist() == [image.height, image.width]
        squashed = image.resize((16, 16), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(data.take([row])[0], np.asarray(squashed))


def test_sets_too_large_to_keep_are_decoded_on_demand(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "photos", count=90)
    (root / "class0" / "zz.jpg").write_bytes(encode(np.zeros((20, 20, 3), np.uint8), "JPEG")[:-30])
    kept = load(root, tmp_path)
    monkeypatch.setattr(cache, "MAX_CACHE", 1000)
    lazy = load(root, tmp_path / "other")
    assert isinstance(lazy.pixels.base, cache.LazyPixels) and [s.reason for s in lazy.skipped] == ["truncated file"]
    same(kept, lazy)
    np.testing.assert_array_equal(kept.take([80, 3, 3]), lazy.take([80, 3, 3]))
    again = load(root, tmp_path / "other")  # sizes and reasons come from the cache
    same(kept, again)
    (root / again.paths[5]).unlink()
    with pytest.raises(UsageError, match=r"could be read before and cannot now \(No such file"):
        again.take([5])
    for data in (lazy, again):
        data.pixels.base.close()


def damaged_files(count: int) -> list[tuple[bytes, bool]]:
    """Image files, and whether each can still be read for certain (True) or not (False); None is left open."""
    rng = random.Random(0)
    pixels, _ = shapes(40, 24, seed=7)
    files = []
    for number in range(count):
        kind = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")[number % 7]
        data = bytearray(encode(pixels[number % 40], kind))
        damage = ("none", "flips", "cut", "junk", "empty", "head", "splice")[(number // 7) % 7]
        sound = {"none": True, "junk": False, "empty": False}.get(damage)
        if damage == "flips":
            for _ in range(rng.randint(1, 30)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif damage == "cut":
            data = data[: rng.randrange(4, len(data) - 20)]
            sound = False if kind in ("JPEG", "PNG", "BMP", "PPM") else None
        elif damage == "junk":
            data = bytearray(rng.randbytes(rng.randint(20, 3000)))
        elif damage == "empty":
            data = bytearray()
        elif damage == "head":
            at = rng.randrange(0, min(64, len(data) - 8))
            data[at : at + 8] = rng.randbytes(8)
        elif damage == "splice":
            data[len(data) // 2 :] = rng.randbytes(len(data) // 2)
        files.append((bytes(data), sound))
    return files


def test_hundreds_of_damaged_files_are_counted_right_and_crash_nothing(tmp_path, recwarn):
    files = damaged_files(392)
    (tmp_path / "photos").mkdir()
    for number, (data, _) in enumerate(files):
        (tmp_path / "photos" / f"{number:04d}.jpg").write_bytes(data)
    readable = []
    for data, sound in files:
        try:
            decode(data)
            readable.append(True)
        except UnreadableImage:
            readable.append(False)
        assert sound is None or readable[-1] == sound
    data = load(tmp_path / "photos", tmp_path, max_bad_fraction=1.0)
    assert len(data) == sum(readable) and len(data.skipped) == 392 - sum(readable)
    good = [f"{number:04d}.jpg" for number, fine in enumerate(readable) if fine]
    assert list(data.paths) == good
    assert all(skipped.reason and "\n" not in skipped.reason for skipped in data.skipped)
    for row, path in enumerate(data.paths):
        number = int(path[:4])
        if files[number][1]:
            image = decode(files[number][0]).resize((16, 16), Image.Resampling.BICUBIC)
            np.testing.assert_array_equal(data.take([row])[0], np.asarray(image))
    assert not recwarn.list


def test_too_many_bad_files_stop_with_the_first_three(tmp_path):
    root = write_folder(tmp_path / "photos", count=40)
    for number in range(4):
        (root / "class0" / f"bad{number}.jpg").write_bytes(b"" if number else b"words")
    with pytest.raises(UsageError) as caught:
        load(root, tmp_path)
    message = str(caught.value)
    assert "4 of 44 image files (9.1%)" in message and "--max-bad-fraction 0.1" in message
    assert "bad0.jpg (not an image); class0/bad1.jpg (empty file); class0/bad2.jpg" in message
    assert "bad3" not in message
    assert len(load(root, tmp_path, max_bad_fraction=0.1).skipped) == 4


def test_nothing_readable_is_an_error_whatever_is_allowed(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match=r"none of 1 image files can be read: a\.jpg \(empty file\)"):
        load(tmp_path / "photos", tmp_path, max_bad_fraction=1.0)


def test_missing_labels_are_told(tmp_path):
    root = write_folder(tmp_path / "photos")
    assert not load(root, tmp_path).notes
    assert not load_images("toy:shapes?n=200", size=16).notes
    for path in root.rglob("*.jpg"):
        path.rename(root / path.name)
    with pytest.raises(UsageError, match=r"no labels.*--labels FILE\.csv"):
        load(root, tmp_path, labels_required=True)


def test_summary_line(tmp_path):
    root = write_folder(tmp_path / "photos", count=40)
    (root / "class0" / "zz.jpg").write_bytes(b"")
    (root / ".hidden").mkdir()
    line = load(root, tmp_path).summary()
    assert line.endswith("photos/: 40 images (1 unreadable; 1 hidden item ignored), 20x19 median, 6 classes")


def test_limit_spreads_over_the_data(tmp_path):
    root = write_folder(tmp_path / "photos", count=90)
    data = load(root, tmp_path, limit=40)
    assert len(data) == 40 and len(np.unique(data.labels)) == 6
    assert list(load(root, tmp_path, limit=40).paths) == list(data.paths)
    assert len(load_images("toy:shapes?n=200", size=8, limit=50)) == 50


def test_subset_and_split():
    data = load_images("toy:shapes?n=1000", size=8)
    part = data.subset(np.array([9, 4])).subset(np.array([1]))
    np.testing.assert_array_equal(part.take([0]), data.take([4]))
    assert part.paths == [data.paths[4]] and part.factors["x"][0] == data.factors["x"][4]
    assert isinstance(part.pixels, Rows) and isinstance(part.pixels.base, np.ndarray)
    assert part.fingerprint != data.fingerprint
    for fraction in (0.9, 0.25, 1 / 3):
        one, two = data.split(fraction, seed=3)
        assert sorted([*one.paths, *two.paths]) == list(data.paths)
        assert abs(len(one) - fraction * 1000) <= 1
        counts = np.bincount(data.labels) * fraction
        assert np.abs(np.bincount(one.labels, minlength=6) - counts).max() <= 1
    assert data.split(0.5, 3)[0].paths == data.split(0.5, 3)[0].paths != data.split(0.5, 4)[0].paths


def test_threads_do_the_work_where_processes_cannot_start(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "photos", count=90)
    wanted = load(root, tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    data = load(root, tmp_path / "other")
    same(wanted, data)
    assert sum("decoding in threads" in note for note in data.notes) == 1


def test_an_image_that_kills_its_worker_is_skipped_and_the_others_are_not(monkeypatch):
    good = encode(np.full((8, 8, 3), 9, np.uint8), "PNG")
    jobs = [workers.Job((0, 1, 2), (good, b"kill", good), 8, want_pixels=True)]
    real = workers._Process.run

    def run(self, job):
        if b"kill" in job.raws:
            self.child.kill()
            self.child.wait()
        return real(self, job)

    monkeypatch.setattr(workers._Process, "run", run)
    with workers.DecodeWorkers(1) as pool:
        done = next(iter(pool.map(jobs)))
    assert done.reasons == ("", workers.CRASHED, "")
    assert done.pixels.shape == (3, 8, 8, 3) and (done.pixels[[0, 2]] == 9).all()


def test_workers_end_with_the_pool_and_load_no_torch():
    pool = workers.DecodeWorkers(2)
    children = [process.child for process in pool._all]
    assert len(children) == 2 and all(child.poll() is None for child in children)
    pool.close()
    assert all(child.poll() == 0 for child in children)
    code = "import sys, craik.data.images, craik.data.workers; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unwritable_cache_is_an_error_when_asked_for_and_no_obstacle_otherwise(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "photos", count=90)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cache folder"):
        load(root, tmp_path, cache_dir=str(tmp_path / "file"))
    monkeypatch.setenv("CRAIK_CACHE", str(tmp_path / "file"))
    same(load(root, tmp_path, cache_dir=None), load(root, tmp_path))


@pytest.mark.skipif(not (SHARED / "images_large").is_dir(), reason=f"no shared data at {SHARED}")
def test_real_photographs_and_tables(tmp_path):
    photos = load(SHARED / "images_large/images_large.zip", tmp_path, size=64, limit=60)
    assert len(photos) == 60 and photos.labels is None and not photos.skipped
    clothes = load(SHARED / "clothing/test.parquet", tmp_path, size=64, limit=60)
    assert len(clothes) == 60 and clothes.num_classes == 10 and clothes.sizes.min() >= 400
    digits = load(SHARED / "mnist/test.parquet", tmp_path, size=28, limit=60)
    assert len(digits) == 60 and digits.class_names[3] == "3"
    tiny = load(SHARED / "tinyimagenet/val.parquet", tmp_path, size=64, limit=60)
    assert len(tiny) == 60 and tiny.num_classes == 50 and (tiny.sizes == 64).all()


def test_a_limit_below_one_is_refused(tmp_path):
    folder = write_folder(tmp_path / "photos", count=4)
    for limit in (0, -3):
        with pytest.raises(UsageError, match=f"--limit {limit}: use at least 1 image"):
            load(folder, tmp_path, limit=limit)


def test_classes_that_occur_are_counted(tmp_path):
    """Numbers from a file may begin at 1, or leave some out."""
    images = load(write_folder(tmp_path / "photos", count=8), tmp_path)
    numbered = replace(images, labels=np.array([1, 3] * 4), class_names=("0", "1", "2", "3"))
    assert numbered.summary().endswith("2 classes") and numbered.num_classes == 4
    assert numbered.class_of(0) == "1" and replace(numbered, labels=np.full(8, -1)).class_of(0) is None
