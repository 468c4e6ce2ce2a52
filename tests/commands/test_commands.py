"""Every command as a user sees it: help, results for people and for programs, and what to do next."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors import safe_open

from craik import cli
from tests.commands.conftest import Craik
from tests.train.runs import MICRO, same, weights
from tests.weights.networks import entries, jepa, save


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_first_page(craik: Craik, arguments: tuple[str, ...]) -> None:
    said = craik(*arguments)
    assert said.code == 0
    assert all(f"craik {name}" in said.out for name in cli.COMMANDS)
    assert "Start with: craik demo" in said.out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help(craik: Craik, name: str) -> None:
    for arguments in ((name, "--help"), ("help", name)):
        said = craik(*arguments)
        assert said.code == 0
        assert f"usage: craik {name}" in said.out, "help goes to standard output"
        assert not said.err


def test_every_command_has_a_module_and_no_module_is_lost() -> None:
    folder = Path(cli.__file__).parent / "commands"
    assert {p.stem.rstrip("_") for p in folder.glob("[!_]*.py")} - {"arguments", "data", "demo_world"} == set(
        cli.COMMANDS
    )


def test_version(craik: Craik) -> None:
    assert craik("--version").out == "craik 0.1.0\n"


def test_help_of_a_recipe_documents_its_fields(craik: Craik) -> None:
    said = craik("train", "ijepa:tiny", "--help")
    assert said.code == 0
    for text in ("--momentum FLOAT FLOAT", "Target momentum, linear", "--encoder.depth", "--steps INT", "--optim.lr"):
        assert text in said.out
    assert "{None}" not in said.out.split("--image")[0], "options of the command are plain"
    said = craik("train", "ijepa", "--help")
    assert said.code == 0
    assert "ijepa:tiny" in said.out
    assert "A minute on a laptop" in said.out


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".safetensors"])
def test_embed(craik: Craik, run: Path, photos: Path, suffix: str) -> None:
    said = craik("embed", run, photos, "-o", f"deep/a{suffix}", "--json")
    assert said.code == 0
    row = json.loads(said.out)
    assert row["shape"] == [24, 24]
    assert f"Next: craik search {run} QUERY.jpg --in {photos}" in said.err
    path = Path(row["out"])
    if suffix == ".npz":
        with np.load(path) as found:
            assert found["features"].shape == (24, 24)
            assert found["paths"][0] == "circle/000.png"
            assert found["class_names"][found["labels"][0]] == "circle"
    elif suffix == ".parquet":
        table = pq.read_table(path)
        assert table.column_names == ["path", "embedding", "label"]
        assert len(table["embedding"][0].as_py()) == 24
    else:
        with safe_open(path, "np") as found:
            assert found.get_tensor("features").shape == (24, 24)
            assert json.loads(found.metadata()["paths"])[0] == "circle/000.png"


def test_embed_tokens(craik: Craik, run: Path, photos: Path) -> None:
    said = craik("embed", run, photos / "circle", "-o", "a.npz", "--pool", "tokens", "--limit", 3, "--json")
    assert json.loads(said.out)["shape"] == [3, 16, 24]
    said = craik("embed", run, photos, "-o", "a.parquet", "--pool", "tokens")
    assert said.code == 2
    assert "use -o FILE.npz" in said.err


def test_search(craik: Craik, run: Path, photos: Path) -> None:
    query = photos / "circle" / "000.png"
    said = craik("search", run, query, "--in", photos, "--top", 3, "--json")
    assert said.code == 0
    (row,) = json.loads(said.out)
    assert row["query"] == str(query)
    assert len(row["results"]) == 3
    assert row["results"][0] == {"path": str(query), "score": 1.0}, "an image is nearest to itself"
    assert row["results"][1]["score"] <= 1
    with Image.open("search.png") as sheet:
        assert sheet.width > 1000
    said = craik("search", run, photos / "square", "--in", photos, "--top", 2, "-o", "b.png")
    assert said.code == 0
    assert said.out.count(str(photos / "square")) >= 4
    assert "contact sheet: b.png" in said.err
    assert f"Next: craik dedup {run} {photos}" in said.err


def test_dedup(craik: Craik, run: Path, photos: Path) -> None:
    for name in ("one", "two"):
        Path("twins", name).mkdir(parents=True)
        for path in sorted(photos.rglob("*.png"))[:: 3 if name == "one" else 8]:
            shutil.copy(path, Path("twins", name, f"{path.parent.name}{path.name}"))
    said = craik("dedup", run, "twins", "--threshold", 0.99999, "--json", "-o", "groups.png")
    assert said.code == 0
    groups = json.loads(said.out)
    assert sorted(groups) == [["twins/one/circle000.png", "twins/two/circle000.png"]]
    with Image.open("groups.png") as sheet:
        assert sheet.width > 1000
    assert "groups: 1, images more than needed: 1, at cosine 0.99999" in said.err
    assert "Next:" in said.err


def test_inspect(craik: Craik, photos: Path) -> None:
    said = craik("inspect", photos, "--json")
    row = json.loads(said.out)
    assert row["images"] == 24
    assert row["classes"]["circle"] == 4
    assert row["sizes"] == {"min": [45, 48], "max": [48, 48]}
    said = craik("inspect", photos)
    assert "24 images" in said.out
    assert "4  circle" in said.out
    assert f"Next: craik train ijepa:tiny --data {photos} --out runs/a" in said.err


@pytest.mark.slow
def test_probe(craik: Craik, run: Path) -> None:
    toy = ("--train", "toy:shapes?n=240", "--test", "toy:shapes?n=120", "--test-split", "test")
    said = craik("probe", run, *toy, "--json", "-o", "probe.json")
    assert said.code == 0
    row = json.loads(said.out)
    assert row == json.loads(Path("probe.json").read_text())
    features = {score["features"] for score in row["scores"]}
    assert any("random" in name for name in features)
    assert any("pixels" in name for name in features)
    assert f"Next: craik report {run}" in said.err


def test_weights(craik: Craik) -> None:
    path = save(entries(jepa()), Path("theirs.pth.tar"))
    said = craik("weights", "info", path, "--json")
    assert said.code == 0
    assert json.loads(said.out)["patch"] == [8, 8]
    assert f"Next: craik weights load {path}" in said.err
    said = craik("weights", "info", path)
    assert "target_encoder" in said.out
    said = craik("weights", "load", path, "-o", "models/a", "--heads", 4, "--json")
    assert json.loads(said.out)["model"] == "models/a"
    said = craik("weights", "load", path, "-o", "models/a", "--heads", 4)
    assert said.code == 2
    assert "name a new folder" in said.err
    said = craik("weights", "export", "models/a", "-o", "hf", "--json")
    assert said.code == 0
    assert json.loads(said.out)["encoder"] == "target"
    assert Path("hf/config.json").exists()
    assert "IJepaModel" in said.err
    for own in ("models/a", "models/a/model.safetensors"):
        for verb in (("info", own), ("load", own, "-o", "models/b")):
            said = craik("weights", *verb)
            assert said.code == 2
            assert f"{own} is a model that Craik wrote" in said.err


def test_recipes(craik: Craik) -> None:
    rows = json.loads(craik("recipes", "--json").out)
    assert {"ijepa", "lejepa"} <= {row["name"] for row in rows}
    assert all(purpose for row in rows for _, purpose in row["variants"]), "every variant says what it is for"
    said = craik("recipes")
    assert "ijepa:tiny" in said.out
    assert "Next: craik train" in said.err


def test_doctor(craik: Craik, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("craik.commands.doctor.SECONDS", 0.0)
    said = craik("doctor", "--json")
    assert said.code == 0
    found = json.loads(said.out)
    assert found["self_test"]["ok"]
    assert found["packages"]["torch"]
    assert Path(found["cache"]["folder"]).is_dir()
    assert "Next: craik demo" in said.err


def test_doctor_says_when_the_self_test_fails(craik: Craik, monkeypatch: pytest.MonkeyPatch) -> None:
    from craik.commands import doctor

    monkeypatch.setattr(doctor, "self_test", lambda: doctor.SelfTest(False, 0.0, None))
    said = craik("doctor")
    assert said.code == 1
    assert "self-test: FAILED" in said.out


def test_relative_paths_mean_the_working_folder(
    craik: Craik, monkeypatch: pytest.MonkeyPatch, photos: Path, run: Path
) -> None:
    Path("here").mkdir()
    monkeypatch.chdir("here")
    said = craik("train", MICRO, "--data", "toy:shapes?n=64", "--out", "a", "--steps", 1, "--device", "cpu", "--json")
    assert said.code == 0
    assert json.loads(said.out)["run"] == "a"
    assert Path("a/model/model.safetensors").is_file()
    assert craik("train", MICRO, "--resume", "a").code == 0


def test_a_recipe_file_is_found_again_from_another_folder(craik: Craik, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text(
        "from beside import Config, build, start\n\n\ndef big() -> Config:\n    return start()\n"
    )
    Path("beside.py").write_text("from tests.micro import Config, build, micro as start\n")
    said = craik("train", "./mine.py:big", "--data", "toy:shapes?n=64", "--out", "a", "--steps", 2, "--device", "cpu")
    assert said.code == 0
    before = weights(Path("a"))
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert craik("train", "--resume", "../a").code == 0
    assert craik("embed", "../a", "toy:shapes?n=2", "-o", "a.npz").code == 0
    assert same(before, weights(Path("../a")))


@pytest.mark.slow
def test_demo(craik: Craik) -> None:
    said = craik("demo", "images", "--steps", 20, "--images", 512, "--json")
    assert said.code == 0
    row = json.loads(said.out)
    assert row["run"] == "runs/demo"
    assert Path(row["report"]).is_file()
    assert row["factors"]
    assert "Next, on your own images:" in said.err
    assert craik("report", "runs/demo", "--json").code == 0
