"""Commands on videos: inspect, train, embed, search, probe."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.conftest import Craik
from tests.data.films import write_film
from tests.data.test_video import damaged_files

MICRO = str(Path(__file__).resolve().parents[1] / "micro_clips.py") + ":micro"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos in two folders, one of them with a variable frame rate, and six files that are none."""
    root = tmp_path_factory.mktemp("data") / "films"
    damaged_files(root / "dark")
    for number in range(11):
        write_film(root / f"{('dark', 'light')[number % 2]}/{number:02d}.mp4", 20, offset=100 * (number % 2))
    times = [int(1000 * t**1.5) for t in np.linspace(0, 1, 20)]
    write_film(root / "light/wild.mkv", 20, times_ms=times, offset=100)
    return root


def test_inspect_tells_what_videos_there_are_and_which_are_damaged(craik: Craik, films: Path) -> None:
    said = craik("inspect", films, "-o", "sheet.png")
    assert said.code == 0
    for text in (
        "12 videos (6 unreadable), 64x48",
        "unreadable: dark/empty.mp4: empty file",
        "unreadable: dark/sound.mp4: no video stream, only sound",
        "length: 1.00 to ",
        "12  h264",
        "1 with a variable frame rate",
        "6  light",
    ):
        assert text in said.out, (text, said.out)
    assert "craik train" in said.err
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 500
    row = json.loads(craik("inspect", films, "--json").out)
    assert row["videos"] == 12 and row["classes"] == {"dark": 6, "light": 6} and len(row["skipped"]) == 6
    assert row["codecs"] == [["h264", 12]] and row["fps"][1] == pytest.approx(20)
    toy = craik("inspect", "toy:digits?n=20")
    assert "20 videos" in toy.out and "20  drawn" in toy.out


def test_videos_from_training_to_search(craik: Craik, films: Path) -> None:
    said = craik("train", MICRO, "--data", films, "--out", "run", "--steps", 2, "--max-bad-fraction", 0.5, "--batch", 4)
    assert said.code == 0 and "unreadable" in said.err + said.out
    for name in ("dark", "light"):
        (Path("clean") / name).mkdir(parents=True)
        for path in sorted((films / name).glob("[01]*.mp4")):
            (Path("clean") / name / path.name).write_bytes(path.read_bytes())
    assert craik("embed", "run", "clean", "-o", "a.npz").code == 0
    features = np.load("a.npz")
    assert features["features"].shape == (11, 24) and features["labels"].sum() == 5
    found = json.loads(craik("search", "run", "clean/dark/00.mp4", "--in", "clean", "--json", "--top", 2).out)
    assert found[0]["query"] == "clean/dark/00.mp4" and found[0]["results"][0]["score"] == pytest.approx(1, abs=1e-3)
    with Image.open("search.png") as sheet:
        assert sheet.width > 100
    report = json.loads(craik("probe", "run", "--test", "clean", "--json").out)
    assert report["num_test"] >= 2
    said = craik("search", "run", films / "dark/sound.mp4", "--in", "clean")
    assert said.code == 2 and "only sound" in said.err
