"""What a path can be, and the message for each mistake."""

import io
import json
import sys
import tarfile
import types
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from craik.data.labels import LabelSpec, number_labels
from craik.data.source import open_source
from craik.errors import UsageError


def png(value: int = 0, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (value, 255 - value, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def fill(root, names, start=0):
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(start + number))


def table(file, **columns):
    pq.write_table(pa.table(columns), file)
    return str(file)


def test_class_is_the_first_folder_and_hidden_things_are_counted(tmp_path):
    fill(tmp_path, ["cat/1.png", "cat/deep/2.PNG", "dog/3.png", ".cache/4.png", "__MACOSX/cat/._1.png", "dog/.5.png"])
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "dog" / "noname").write_bytes(png(9))
    (tmp_path / "dog" / "README").write_bytes(b"words")
    source = open_source(str(tmp_path))
    assert source.paths == ["cat/1.png", "cat/deep/2.PNG", "dog/3.png", "dog/noname"]
    assert source.class_names == ("cat", "dog") and source.labels.tolist() == [0, 0, 1, 1]
    assert source.ignored.hidden == 3 and dict(source.ignored.others) == {".txt": 1, "no suffix": 1}


def test_images_beside_folders_or_in_no_folder_have_no_classes(tmp_path):
    fill(tmp_path, ["a.png", "b.png", "more/c.png"])
    assert open_source(str(tmp_path)).labels is None
    fill(tmp_path / "flat", ["a.png", "b.png"])
    assert open_source(str(tmp_path / "flat")).labels is None
    fill(tmp_path / "wrapped", ["all/x/a.png", "all/x/b.png"])
    assert open_source(str(tmp_path / "wrapped")).labels is None
    fill(tmp_path / "deep", ["all/x/a.png", "all/y/b.png"])
    assert open_source(str(tmp_path / "deep")).class_names == ("x", "y")


def test_folders_named_as_splits(tmp_path):
    fill(tmp_path, [f"{split}/{kind}/{i}.png" for split in ("train", "val") for kind in "ab" for i in range(2)])
    source = open_source(str(tmp_path))
    assert len(source) == 4 and source.class_names == ("a", "b") and "--split val" in source.notes[0]
    other = open_source(str(tmp_path), split="validation")
    assert all(path.startswith("val/") for path in other.paths) and not other.notes
    with pytest.raises(UsageError, match=r"no split 'test' here, but train, val"):
        open_source(str(tmp_path), split="test")


def test_links_that_lead_back_end(tmp_path):
    fill(tmp_path, ["a/1.png", "b/2.png"])
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(tmp_path / "nowhere")
    assert len(open_source(str(tmp_path))) == 2


def test_one_image_is_a_source(tmp_path):
    fill(tmp_path, ["a.png"])
    assert open_source(str(tmp_path / "a.png")).paths == ["a.png"]


def test_archives_never_write_to_the_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["../../evil/1.png", "/abs/2.png", "fine/3.png"]
    with zipfile.ZipFile("a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, png())
    with tarfile.open("a.tar.gz", "w:gz") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(png())
            archive.addfile(info, io.BytesIO(png()))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    for path in ("a.zip", "a.tar.gz"):
        source = open_source(path)
        assert all(source.raw(i) == png() for i in range(len(source)))
        assert not any("link" in name for name in source.paths)
    assert sorted(tmp_path.rglob("*")) == before


def test_damaged_archives_and_members(tmp_path):
    for name in ("a.zip", "a.tar", "a.tar.gz", "a.parquet"):
        (tmp_path / name).write_bytes(b"junk" * 100)
        with pytest.raises(UsageError, match=r"not a readable.*again"):
            open_source(str(tmp_path / name))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.png", png(1))
        archive.writestr("b.png", png(2))
    data = bytearray((tmp_path / "b.zip").read_bytes())
    data[60] ^= 0xFF  # inside the first member: its checksum fails
    (tmp_path / "b.zip").write_bytes(bytes(data))
    source = open_source(str(tmp_path / "b.zip"))
    assert source.raw(0) == b"" and source.raw(1) == png(2)


def test_parquet_conventions(tmp_path):
    images = [{"bytes": png(i), "path": f"{i}.png"} for i in range(3)]
    source = open_source(table(tmp_path / "a.parquet", image=images, label=[2, 0, 2], label_name=["c", "a", "c"]))
    assert source.paths == ["0.png", "1.png", "2.png"] and source.raw(1) == png(1)
    assert source.labels.tolist() == [2, 0, 2] and source.class_names == ("a", "1", "c")
    plain = open_source(table(tmp_path / "b.parquet", jpg=[png(5), None], label=["y", "x"]))
    assert plain.raw(0) == png(5) and plain.raw(1) == b"" and plain.labels.tolist() == [1, 0]
    assert plain.class_names == ("x", "y") and len(set(plain.paths)) == 2
    unlabelled = open_source(table(tmp_path / "c.parquet", image=images, label=[-1, -1, -1]))
    assert unlabelled.labels is None
    with pytest.raises(UsageError, match="no image column, but text"):
        open_source(table(tmp_path / "d.parquet", text=["a"]))
    with pytest.raises(UsageError, match="Did you mean 'breed'"):
        open_source(table(tmp_path / "e.parquet", image=images, breed=[1, 2, 3]), labels=LabelSpec(label_column="bred"))


def test_parquet_class_names_of_the_hub_metadata(tmp_path):
    features = {"info": {"features": {"label": {"names": ["ape", "bee", "cow"], "_type": "ClassLabel"}}}}
    data = pa.table({"image": [{"bytes": png(), "path": "a.png"}], "label": [1]})
    pq.write_table(
        data.replace_schema_metadata({b"huggingface": json.dumps(features).encode()}), tmp_path / "a.parquet"
    )
    assert open_source(str(tmp_path / "a.parquet")).class_names == ("ape", "bee", "cow")


def test_folder_of_parquet_files_and_row_groups(tmp_path):
    for shard in range(2):
        rows = [{"bytes": png(10 * shard + i), "path": None} for i in range(5)]
        data = pa.table({"image": rows, "label": [shard] * 5})
        pq.write_table(data, tmp_path / f"train-0000{shard}-of-00002.parquet", row_group_size=2)
    table(tmp_path / "test-00000-of-00001.parquet", image=[{"bytes": png(99), "path": None}], label=[0])
    source = open_source(str(tmp_path))
    assert len(source) == 10 and source.notes
    assert [source.raw(i) for i in (0, 4, 5, 9, 2)] == [png(i) for i in (0, 4, 10, 14, 2)]
    assert len(open_source(str(tmp_path), split="test")) == 1
    with pytest.raises(UsageError, match="no split 'val'"):
        open_source(str(tmp_path), split="val")


def test_split_column_of_parquet(tmp_path):
    images = [{"bytes": png(i), "path": f"{i}.png"} for i in range(3)]
    path = table(tmp_path / "a.parquet", image=images, label=[0, 1, 0], fold=["x", "y", "y"])
    source = open_source(path, labels=LabelSpec(split_column="fold", split="y"))
    assert source.paths == ["1.png", "2.png"] and source.raw(0) == png(1) and source.labels.tolist() == [1, 0]
    with pytest.raises(UsageError, match="says x, y"):
        open_source(path, labels=LabelSpec(split_column="fold", split="z"))


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolon", "parquet", "json", "jsonl", "mapping"])
def test_labels_from_a_file(tmp_path, kind):
    fill(tmp_path / "photos", ["a/1.png", "b/1.png", "b/2.png"])
    rows = [("a/1.png", "owl"), ("./b/1.png", "fox"), ("somewhere/2.png", "owl"), ("gone.png", "elk")]
    path = tmp_path / {"semicolon": "l.csv", "mapping": "l.json"}.get(kind, f"l.{kind}")
    dicts = [{"path": p, "label": v} for p, v in rows]
    if kind in ("csv", "tsv", "semicolon"):
        mark = {"csv": ",", "tsv": "\t", "semicolon": ";"}[kind]
        path.write_text("".join(f"{p}{mark}{v}\n" for p, v in [("path", "label"), *rows]), encoding="utf-8-sig")
    elif kind == "parquet":
        table(path, path=[p for p, _ in rows], label=[v for _, v in rows])
    else:
        text = {"json": json.dumps(dicts), "mapping": json.dumps(dict(rows))}
        path.write_text(text.get(kind, "\n".join(json.dumps(row) for row in dicts)))
    source = open_source(str(tmp_path / "photos"), labels=LabelSpec(file=str(path)))
    assert [source.class_names[i] for i in source.labels] == ["owl", "fox", "owl"]


def test_labels_file_with_splits_and_gaps(tmp_path):
    fill(tmp_path / "photos", ["1.png", "2.png", "3.png"])
    (tmp_path / "l.csv").write_text("file,kind,part\n1.png,3,train\n2.png,0,test\n")
    names = {"path_column": "file", "label_column": "kind"}
    source = open_source(str(tmp_path / "photos"), labels=LabelSpec(str(tmp_path / "l.csv"), **names))
    assert source.labels.tolist() == [3, 0, -1] and "1 of 3 images have no label" in source.notes[0]
    spec = LabelSpec(str(tmp_path / "l.csv"), **names, split_column="part", split="test")
    assert open_source(str(tmp_path / "photos"), labels=spec).paths == ["2.png"]


def test_mistakes_with_labels_files(tmp_path):
    fill(tmp_path / "photos", ["1.png"])
    (tmp_path / "l.csv").write_text("file,labels\n7.png,3\n")

    def fails(match, **options):
        with pytest.raises(UsageError, match=match):
            open_source(str(tmp_path / "photos"), labels=LabelSpec(**{"file": str(tmp_path / "l.csv"), **options}))

    fails("no such file", file=str(tmp_path / "nope.csv"))
    fails(r"no column 'path', but file, labels.*--path-column")
    fails(r"Did you mean 'labels'\? .*--label-column", path_column="file")
    fails(r"none of its 1 paths.*'7.png'.*'1.png'", path_column="file", label_column="labels")


def test_numbering_of_labels():
    assert number_labels([1, 0, None])[0].tolist() == [1, 0, -1]
    assert number_labels(["2", "0"])[1] == ("0", "1", "2")
    assert number_labels(["007", "12"])[1] == ("007", "12")
    assert number_labels([2.0, 1.0])[0].tolist() == [2, 1]
    labels, names = number_labels([900_000_001, 17])
    assert labels.tolist() == [1, 0] and names == ("17", "900000001")
    assert number_labels([None, ""]) == (None, None)
    missing = float("nan")  # as pandas writes it
    assert number_labels([1.0, missing, 0.0])[0].tolist() == [1, -1, 0]
    labels, names = number_labels(["owl", missing])
    assert labels.tolist() == [0, -1] and names == ("owl",)
    assert number_labels([missing, None]) == (None, None)
    assert number_labels([[1, 2], [3]]) == (None, None)


def test_missing_paths_suggest_what_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path, ["photo/1.png"])
    with pytest.raises(UsageError, match=r"photos/: no such file or folder. Did you mean \./photo/ \?"):
        open_source("photos/")
    with pytest.raises(UsageError, match="toy:shapes"):
        open_source("completely-else")
    with pytest.raises(UsageError, match="photo/dogs"):
        open_source("photo/dogs")
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(UsageError, match="not data that can be read"):
        open_source("model.pt")


def test_no_images_says_what_was_found(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.heic").write_bytes(b"x")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match=r"0 images in 4 files \(\.heic 3, \.txt 1\)\. HEIC .*magick mogrify"):
        open_source(str(tmp_path))


class FakeHub(types.ModuleType):
    """The part of `datasets` that is used, with one data set in it."""

    class Image:
        def __init__(self, decode=True):
            self.decode = decode

    class ClassLabel:
        names = ("ape", "bee")

    def load_dataset(self, name, config, split):
        if name == "down/net":
            raise ConnectionError("HTTPSConnectionPool(host='huggingface.co'): Max retries exceeded")
        if split != "train":
            raise ValueError(f'Unknown split "{split}". Should be one of ["train"].')
        return FakeTable({"picture": FakeHub.Image(), "label": FakeHub.ClassLabel()})


class FakeTable:
    def __init__(self, features):
        self.features = features

    def cast_column(self, column, kind):
        assert not kind.decode
        return FakeTable({**self.features, column: kind})

    def __len__(self):
        return 2

    def __getitem__(self, key):
        return [1, 0] if key == "label" else {"picture": {"bytes": png(key), "path": None}}


def test_hub_data(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", FakeHub("datasets"))
    for path in ("hf:someone/apes", "someone/apes"):
        source = open_source(path)
        assert len(source) == 2 and source.raw(1) == png(1)
        assert source.labels.tolist() == [1, 0] and source.class_names == ("ape", "bee")
    with pytest.raises(UsageError, match=r"hf:someone/apes: no column 'lable', but picture, label. Did you mean"):
        open_source("hf:someone/apes", labels=LabelSpec(label_column="lable"))
    with pytest.raises(UsageError, match=r"unreachable.*HF_HOME"):
        open_source("hf:down/net")
    with pytest.raises(UsageError, match="Unknown split"):
        open_source("hf:someone/apes", split="test")


def test_hub_data_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'craik\[hub\]'"):
        open_source("someone/apes")


def test_content_survives_a_copy_and_identity_does_not(tmp_path):
    fill(tmp_path / "one", ["a/1.png", "b/2.png"])
    fill(tmp_path / "two", ["a/1.png", "b/2.png"])
    one, two = open_source(str(tmp_path / "one")), open_source(str(tmp_path / "two"))
    assert one.content == two.content and one.identity != two.identity
    (tmp_path / "two" / "a" / "1.png").write_bytes(png(7, side=31))
    assert open_source(str(tmp_path / "two")).content != two.content


def test_taking_rows():
    source = open_source("toy:shapes?n=20&size=8").take(np.array([5, 2]))
    assert source.paths == ["train/000005", "train/000002"] and len(source.labels) == 2


def test_parquet_files_that_do_not_belong_together(tmp_path):
    image = [{"bytes": png(i), "path": f"{i}.png"} for i in range(2)]
    for name, other, missing in (
        ("picture", {"picture": [png(3)], "label": [1]}, "image"),
        ("unlabelled", {"image": image}, "label"),
        ("meta", {"id": [1]}, "image"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        table(folder / "a.parquet", image=image, label=[0, 1])
        table(folder / "b.parquet", **other)
        with pytest.raises(UsageError, match=rf"b\.parquet has no column '{missing}'.*Give one file.*a\.parquet"):
            open_source(str(folder))


def test_parquet_without_rows_and_with_a_damaged_group(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    with pytest.raises(UsageError, match="0 images, for it has no rows"):
        open_source(table(tmp_path / "a.parquet", image=pa.array([], kind)))
    path = tmp_path / "b.parquet"
    table(path, image=[png(i) for i in range(40)])
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + bytes(len(whole) // 3) + whole[60 + len(whole) // 3 :])
    source = open_source(str(path))
    with pytest.raises(UsageError, match=r"b\.parquet: damaged parquet file"):
        source.raw(0)


def test_columns_of_what_has_none_are_refused(tmp_path):
    fill(tmp_path / "photos", ["x/1.png", "y/2.png"])
    for spec, column in ((LabelSpec(label_column="kind"), "kind"), (LabelSpec(split_column="fold"), "fold")):
        with pytest.raises(UsageError, match=f"have no column '{column}'. Give the table that has: --labels"):
            open_source(str(tmp_path / "photos"), labels=spec)
    assert open_source(str(tmp_path / "photos"), labels=LabelSpec()).class_names == ("x", "y")


def test_an_empty_path_is_not_the_working_folder(tmp_path, monkeypatch):
    fill(tmp_path, ["1.png"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="the path of the data is empty"):
        open_source("")


def test_rows_that_contradict_each_other_count_as_unlabelled(tmp_path):
    fill(tmp_path / "photos", ["1.png", "2.png", "3.png"])
    (tmp_path / "l.csv").write_text("path,label\n1.png,a\n1.png,b\n2.png,b\n2.png,b\n3.png,a\n1.png,a\n")
    source = open_source(str(tmp_path / "photos"), labels=LabelSpec(str(tmp_path / "l.csv")))
    assert source.labels.tolist() == [-1, 1, 0] and source.class_names == ("a", "b")
    assert "1 paths have rows with different labels, such as '1.png'" in source.notes[0]
