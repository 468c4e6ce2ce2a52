"""A run that was stopped and gone on with is the run that was never stopped, to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import craik
from craik.codec import encode
from craik.errors import UsageError
from craik.pretrain import Budget, Conduct, Data, Init, pretrain
from craik.pretrain.options import absolute
from craik.recipes import find
from craik.train import checkpoint
from craik.train.run import RunFolder
from tests.photos import write_photos
from tests.report.runs import probe_json
from tests.train.runs import DATA, MICRO, quiet, resume_micro, run_micro, same, weights


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    run_micro(out)
    return out


def interrupted(out: Path) -> Path:
    """A run of 20 steps that was asked to stop after 7."""
    method = find(MICRO)
    conduct = Conduct(device="cpu", check_every=5, checkpoint_every=100)
    result = pretrain(method, method.config, out, DATA, Budget(steps=20), conduct, reporter=quiet(), stop_at=7)
    assert result.outcome.interrupted
    assert result.outcome.step == 7
    return out


def test_two_halves_equal_the_whole(whole: Path, tmp_path: Path) -> None:
    out = interrupted(tmp_path / "run")
    assert not same(weights(out), weights(whole))
    result = resume_micro(out)
    assert result.outcome.step == 20
    assert same(weights(out), weights(whole))
    steps = [row["step"] for row in RunFolder(out).rows("metrics") if "loss" in row]
    assert steps == sorted(set(steps)), "a resumed run must not repeat rows"


def test_resume_of_a_finished_run_changes_nothing(whole: Path) -> None:
    before = weights(whole)
    assert resume_micro(whole).outcome.step == 20
    assert same(before, weights(whole))


def test_damaged_checkpoint_falls_back_to_the_one_before(whole: Path, tmp_path: Path) -> None:
    out = interrupted(tmp_path / "run")
    resume_micro(out, stop_at=12)
    newest, previous = checkpoint.listing(RunFolder(out).checkpoints)[:2]
    file = max(newest.path.iterdir(), key=lambda p: p.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    assert newest.damage() == f"{file.name} is damaged"
    assert previous.damage() is None
    resume_micro(out)
    assert same(weights(out), weights(whole))


def test_all_checkpoints_damaged_is_said(tmp_path: Path) -> None:
    out = interrupted(tmp_path / "run")
    for found in checkpoint.listing(RunFolder(out).checkpoints):
        (found.path / checkpoint.MANIFEST).write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        resume_micro(out)


def test_other_config_is_refused_and_named(whole: Path) -> None:
    config = RunFolder(whole).config["config"]
    changed = json.loads(json.dumps(config))
    changed["encoder"]["depth"] = 3
    with pytest.raises(UsageError, match=r"encoder\.depth: 2 -> 3"):
        resume_micro(whole, overrides=changed)
    resume_micro(whole, overrides=config)


def test_a_run_of_an_older_version_loads_and_goes_on(tmp_path: Path) -> None:
    """Its config has none of the fields that came since; those that nobody knows are still refused."""
    out = run_micro(tmp_path / "a", steps=6, conduct=Conduct(device="cpu", checkpoint_every=3)).folder
    expected = weights(out)
    for path in (out / "config.json", out / "model" / "config.json"):
        record = json.loads(path.read_text())
        del record["config"]["masks"]["num_contexts"], record["config"]["masks"]["allow_overlap"]
        del record["config"]["together"]
        path.write_text(json.dumps(record))
    assert craik.load(out).recipe.model.encoder.width == 24
    config = find(MICRO).config
    assert resume_micro(out, from_step=3, overrides=encode(config)).outcome.step == 6
    assert same(weights(out), expected)
    record = json.loads((out / "config.json").read_text())
    record["config"]["masks"]["num_context"] = 2
    (out / "config.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=r"config\.masks: unknown num_context; known are .*num_contexts"):
        resume_micro(out)


def test_probes_of_the_weights_before_do_not_outlive_them(tmp_path: Path) -> None:
    out = run_micro(tmp_path / "a", steps=6, conduct=Conduct(device="cpu", checkpoint_every=3)).folder
    (out / "probe.json").write_text(json.dumps(probe_json()))
    resume_micro(out)
    assert (out / "probe.json").exists(), "a finished run stays as it is"
    resume_micro(out, from_step=3)
    assert not (out / "probe.json").exists()


def test_other_data_is_refused(whole: Path, tmp_path: Path) -> None:
    out = interrupted(tmp_path / "run")
    record = RunFolder(out).config
    record["data"]["data"] = "toy:shapes?n=64"
    RunFolder(out).config_path.write_text(json.dumps(record))
    with pytest.raises(UsageError, match="not the data"):
        resume_micro(out)


def test_relative_paths_hold_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = write_photos(tmp_path / "here" / "photos")
    labels = tmp_path / "here" / "labels.csv"
    labels.write_text(
        "path,label\n" + "".join(f"{p.relative_to(photos)},{p.parent.name}\n" for p in photos.rglob("*.png"))
    )
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    first = run_micro(Path("first"), steps=1)
    data = Data(data="photos", labels="labels.csv")
    method = find(MICRO)
    run = pretrain(
        method,
        method.config,
        Path("run"),
        data,
        Budget(steps=3),
        Conduct(device="cpu"),
        init=Init(str(first.folder)),
        stop_at=2,
        reporter=quiet(),
    )
    record = RunFolder(run.folder).config
    assert (record["data"]["data"], record["data"]["labels"]) == (str(photos), str(labels))
    assert record["init"] == str(tmp_path / "here" / "first")
    monkeypatch.chdir(tmp_path / "there")
    assert resume_micro(Path("../here/run")).outcome.step == 3


def test_what_is_no_path_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy:shapes").mkdir()
    for place in ("toy:shapes", "hf:cifar10", "uoft-cs/cifar10"):
        assert absolute(place) == place


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "craik.cli", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_sigterm_saves_and_exits_130(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = [
        "train",
        MICRO,
        "--data",
        "toy:shapes?n=128",
        "--out",
        str(out),
        "--steps",
        "100000",
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(command(*arguments), env=environment(), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (out / "metrics.jsonl").exists() and len((out / "metrics.jsonl").read_text()) > 500)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"craik train --resume {out}" in told
    found = checkpoint.listing(RunFolder(out).checkpoints)
    assert found
    assert found[0].damage() is None


def wait_for(condition: object, seconds: float = 90) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the run did not get that far"
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_ten_times_equals_uninterrupted(tmp_path: Path) -> None:
    """kill -9 at ten random moments; the final weights are those of a run that was left in peace."""
    steps = "400"
    shared = ["--data", "toy:shapes?n=128", "--steps", steps, "--device", "cpu", "--checkpoint-every", "7"]
    peace, storm = tmp_path / "peace", tmp_path / "storm"
    subprocess.run(command("train", MICRO, *shared, "--out", str(peace)), env=environment(), check=True)
    chance = random.Random(0)
    arguments, kills = command("train", MICRO, *shared, "--out", str(storm)), 0
    while kills < 10:
        process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True)
        before = newest_step(storm)
        wait_for(lambda: newest_step(storm) > before or process.poll() is not None)  # noqa: B023
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        process.communicate()
        kills += 1
        arguments = command("train", "--resume", str(storm))
    subprocess.run(arguments, env=environment(), check=True)
    assert same(weights(peace), weights(storm))


def newest_step(out: Path) -> int:
    return max((c.step for c in checkpoint.listing(out / "checkpoints")), default=0)
