"""Training on videos: from files to a model that is stopped, gone on with, loaded and used."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import craik
from craik.data import footage
from craik.data.images import load_images
from craik.errors import UsageError
from craik.pretrain import Budget, Conduct, Data, Result, pretrain, resume
from craik.probe_run import Source, read, run_probe
from craik.recipes import find
from craik.train.run import RunFolder
from tests.data.films import write_film
from tests.data.test_video import damaged_files, wipe
from tests.train.runs import MICRO, quiet, same, weights

CLIPS = str(Path(__file__).resolve().parents[1] / "micro_clips.py")
STEPS = 6


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 videos of two classes, bright ones and dark ones, and six files that are none."""
    root = tmp_path_factory.mktemp("films") / "films"
    damaged_files(root / "dark")
    for number in range(24):
        name = ("dark", "light")[number % 2]
        write_film(root / f"{name}/{number:02d}.mp4", 20, offset=5 * number % 60 + 100 * (number % 2))
    return root


def train(data: Path | str, out: Path, spec: str = f"{CLIPS}:micro", **options: object) -> Result:
    method = find(spec)
    stop_at = options.pop("stop_at", None)
    given = Data(data=str(data), max_bad_fraction=0.5, **options)  # type: ignore[arg-type]
    conduct = Conduct(device="cpu", check_every=3, checkpoint_every=2, workers=1)
    return pretrain(
        method,
        method.config,
        out,
        given,
        Budget(steps=STEPS),
        conduct,
        stop_at=stop_at,
        reporter=quiet(),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def run(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(films, tmp_path_factory.mktemp("whole") / "run").folder


def test_a_run_counts_what_it_left_out_and_measures_what_it_learned(run: Path) -> None:
    record = RunFolder(run).config
    assert record["data"]["clips"] == 24
    skipped = (run / "skipped.txt").read_text().splitlines()
    assert len(skipped) == 6 and "dark/sound.mp4\tno video stream, only sound" in skipped
    rows = list(RunFolder(run).rows("metrics"))
    assert all(np.isfinite(row["loss"]) for row in rows if "loss" in row)
    scores = [row for row in rows if "agreement" in row or "knn" in row]
    assert scores and "effective_rank" in scores[-1]
    assert "24 videos" in (run / "README.md").read_text()


def test_two_halves_equal_the_whole(films: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when processes decode in the second half, and another epoch has begun: 3 batches are one."""
    assert train(films, tmp_path / "run", stop_at=4).outcome.interrupted
    assert not same(weights(tmp_path / "run"), weights(run))
    monkeypatch.setattr(footage, "IN_PROCESS", 4)
    monkeypatch.setenv("CRAIK_CACHE", str(tmp_path / "cache"))
    assert resume(tmp_path / "run", reporter=quiet()).outcome.step == STEPS
    assert same(weights(tmp_path / "run"), weights(run))


def test_a_run_does_not_go_on_with_other_videos(films: Path, tmp_path: Path) -> None:
    root = tmp_path / "films"
    for number in range(9):
        write_film(root / f"{number}.mp4", 20)
    out = train(root, tmp_path / "run", stop_at=2).folder
    write_film(root / "more.mp4", 20)
    with pytest.raises(UsageError, match="10 clips now, 9 then"):
        resume(out, reporter=quiet())


def test_a_video_that_fails_while_training_does_not_end_the_run(tmp_path: Path) -> None:
    root = tmp_path / "films"
    stamps = footage.survey(write_film(root / "00.mp4", 60)).stamps
    for number in range(1, 9):
        write_film(root / f"{number:02d}.mp4", 20)
    (root / "00.mp4").write_bytes(wipe(root / "00.mp4", stamps[2:50]))
    done = train(root, tmp_path / "run", spec=f"{CLIPS}:slow")
    assert done.outcome.step == STEPS
    assert (tmp_path / "run/skipped.txt").read_text().startswith("00.mp4\t4 of 4 frames cannot be decoded")


def test_models_of_videos_embed_files_arrays_and_images(films: Path, run: Path, tmp_path: Path) -> None:
    model = craik.load(run, device="cpu")
    Image.new("RGB", (40, 30), (200, 30, 60)).save(tmp_path / "a.png")
    still = np.asarray(Image.open(tmp_path / "a.png"))
    found = model.embed(
        [films / "dark/00.mp4", films / "light/01.mp4", tmp_path / "a.png", still, np.stack([still] * 4)]
    )
    assert found.shape == (5, 24) and np.isfinite(found).all()
    np.testing.assert_allclose(found[2], found[3], atol=1e-5)
    np.testing.assert_allclose(found[3], found[4], atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    clips = read(Source(path=str(films), max_bad_fraction=0.5), 16, model.recipe.clip)
    assert model.embed(clips, pool="tokens").shape == (24, 32, 24)
    for given, text in ((np.stack([still] * 3), "takes clips of 4"), (films / "dark/sound.mp4", "only sound")):
        with pytest.raises(UsageError, match=text):
            model.embed(given)


def test_videos_are_probed_as_images_are(films: Path, run: Path) -> None:
    model = craik.load(run, device="cpu")
    clips = read(Source(path=str(films), max_bad_fraction=0.5), 16, model.recipe.clip, labels_required=True)
    train_clips, test_clips = clips.split(0.5, seed=0)
    report = run_probe(model, train_clips, test_clips, progress=False)
    scores = {(score.features, score.method): score.accuracy.value for score in report.scores}
    raw = [value for (name, _), value in scores.items() if "raw" in name.lower()]
    assert raw and max(raw) == 1.0  # light and dark


def test_recipes_take_the_data_they_are_made_for(films: Path, tmp_path: Path) -> None:
    for spec, data, text in (
        (MICRO, films / "light", "These are videos: train a video model"),
        (MICRO, "toy:digits", "these are videos"),
        (f"{CLIPS}:micro", "toy:shape", "no such toy video"),
    ):
        with pytest.raises(UsageError, match=text):
            train(data, tmp_path / "run", spec=spec)


def test_toys_train_and_images_too(tmp_path: Path) -> None:
    digits = train("toy:digits?n=40", tmp_path / "digits")
    assert digits.outcome.step == STEPS and "knn" not in digits.outcome.scores
    assert json.loads((digits.folder / "config.json").read_text())["config"]["clip"]["rule"] == "time"
    pixels, root = load_images("toy:shapes?n=8", size=24).take(np.arange(8)), tmp_path / "images"
    root.mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(root / f"{number}.png")
    assert train(root, tmp_path / "stills").outcome.step == STEPS
    assert craik.load(tmp_path / "stills", device="cpu").embed(root / "0.png").shape == (1, 24)
