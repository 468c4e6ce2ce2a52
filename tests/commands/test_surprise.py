"""craik surprise, as a user sees it."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from craik import api
from craik.recipes import find
from tests.commands.conftest import Craik
from tests.data.films import av, write_film, write_sound

MICRO = str(Path(__file__).resolve().parents[1] / "micro_clips.py") + ":micro"
ORDINARY = ("--ordinary", "toy:physics?n=24", "--level", 0.9)


@pytest.fixture
def run(craik: Craik) -> Path:
    """A model of 4 frames at 10 fps, 2 of them seen, as it begins."""
    method = find(MICRO)
    config = method.config
    torch.manual_seed(0)
    recipe = method.build(config)
    api.save_model(Path("run/model"), recipe.model, api.describe(method, config))
    return Path("run")


def test_a_video_from_start_to_end(craik: Craik, run: Path) -> None:
    film = write_film(Path("film.mp4"), 40, fps=20)
    said = craik("surprise", run, film, *ORDINARY)
    assert said.code == 0, said.err
    for text in ("film.mp4: 2.00 s, 20 frames at 10 fps, 9 windows of 4 frames, 2 of them seen", "ordinary ", "event"):
        assert text in said.out, said.out
    assert "ordinary: 24 windows of toy:physics?n=24" in said.err and "Next: craik surprise run --physics" in said.err
    with open("run/surprise/film.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 and [rows[0][k] for k in ("window_s", "predicted_from_s", "predicted_to_s")] == [
        "0.0",
        "0.2",
        "0.4",
    ]
    assert float(rows[-1]["predicted_to_s"]) == 2.0 and all(float(row["surprise"]) > 0 for row in rows)
    with Image.open("run/surprise/film.png") as strip:
        assert strip.width == 1500
    with av.open("run/surprise/film.mp4") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 20 and frames[0].shape[1] > 2 * 256
    again = craik("surprise", run, film, *ORDINARY)
    assert again.out == said.out  # nothing in it is drawn at random


def test_events_as_json(craik: Craik, run: Path) -> None:
    write_film(Path("film.mp4"), 40, fps=20)
    found = json.loads(craik("surprise", run, "film.mp4", "--threshold", 0, "--no-pictures").out)
    assert len(found) == 1 and found[0]["begin_s"] == 0.2 and found[0]["end_s"] == 2.0
    assert found[0]["clip"] == "film.mp4" and 0 < found[0]["x"] < 1 and found[0]["surprise"] > 0
    assert json.loads(craik("surprise", run, "film.mp4", "--threshold", 1e9, "--no-pictures").out) == []
    assert sorted(path.name for path in Path("run/surprise").iterdir()) == ["film.csv"]


def test_everything_as_json(craik: Craik, run: Path) -> None:
    said = craik("surprise", run, "toy:physics?n=2&clips=both", "--json", "--no-pictures", *ORDINARY, "-o", "out")
    first, second = json.loads(said.out)
    assert (first["clip"], first["frames"], first["window"], first["context"]) == ("physics-0", 24, 4, 2)
    assert len(second["windows"]) == 11 and first["ordinary"]["num_windows"] == 24
    assert first["threshold"] == first["ordinary"]["high"]
    assert {path.name for path in Path("out").iterdir()} == {"physics-0.csv", "physics-1.csv"}


def test_short_videos_and_other_rates(craik: Craik, run: Path) -> None:
    write_film(Path("short.mp4"), 6, fps=20)
    said = craik("surprise", run, "short.mp4", "--no-pictures")
    assert said.code == 0 and "3 frames at 10 fps, 1 window of 4 frames" in said.out
    assert "shorter than a window: its last frame was held 1 times" in said.out
    assert "no band" not in said.err and "--ordinary PATH" in said.err
    said = craik("surprise", run, "short.mp4", "--no-pictures", "--fps", 20)
    assert "6 frames at 20 fps, 2 windows" in said.out
    said = craik("surprise", run, "short.mp4", "--no-pictures", "--fps", 6)
    assert said.code == 2 and "short.mp4: 1 frames" in said.err and "more frames per second (--fps)" in said.err


def test_two_videos_of_one_name(craik: Craik, run: Path) -> None:
    films = [write_film(Path(f"{folder}/film.mp4"), 20) for folder in "ab"]
    assert craik("surprise", run, *films, "--no-pictures").code == 0
    assert sorted(path.name for path in Path("run/surprise").iterdir()) == ["film-2.csv", "film.csv"]


def test_without_pyav_a_toy_becomes_a_gif(craik: Craik, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    said = craik("surprise", run, "toy:physics?n=1")
    assert said.code == 0 and "physics-0.gif" in said.out
    with Image.open("run/surprise/physics-0.gif") as moving:
        assert getattr(moving, "n_frames", 1) == 24


def test_mistakes(craik: Craik, run: Path) -> None:
    write_film(Path("films/film.mp4"), 20)
    write_sound(Path("sound.mp4"))
    Image.new("RGB", (8, 8)).save("still.png")
    for arguments, text in (
        ((), "which videos? craik surprise run CLIP.mp4"),
        (("films/film.mp4", "--physics"), "craik surprise run --physics"),
        (("films",), "is a folder: give its files, such as films/*.mp4"),
        (("none.mp4",), "none.mp4: no such file"),
        (("sound.mp4",), "only sound"),
        (("still.png",), "nothing comes next"),
        (("toy:physics",), "say how few, such as toy:physics?n=4"),
        (("films/film.mp4", "--context", 3), "multiple of 2 below 4, such as 2"),
        (("films/film.mp4", "--stride", 0), "stride 0"),
        (("films/film.mp4", "--ordinary", "toy:physics?n=4"), "4 ordinary windows tell no band"),
        (("films/film.mp4", "--ordinary", "nowhere"), "nowhere"),
        (("films/film.mp4", *ORDINARY[:2], "--level", 2), "level 2"),
        (("--physics", "--pairs", 3), "even number"),
    ):
        said = craik("surprise", run, *arguments)
        assert said.code == 2 and text in said.err, (arguments, said.err)


def test_physics(craik: Craik, run: Path) -> None:
    said = craik("surprise", run, "--physics", "--pairs", 2)
    assert said.code == 0, said.err
    for text in ("permanence", "inertia", "trained", "untrained", "pixels, copy", "2 pairs of each property"):
        assert text in said.out, said.out
    kept = json.loads(Path("run/surprise/physics-0.json").read_text(encoding="utf-8"))
    assert [judge["name"] for judge in kept["judges"]][:2] == ["trained", "untrained"] and kept["contexts"] == [2]
    assert 'Next: craik surprise run "toy:physics?n=14&clips=both"' in said.err
