"""The run folder: whole files, nothing overwritten, and records that survive a kill."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from craik.codec import decode
from craik.data.images import load_images
from craik.data.loader import read_samples
from craik.errors import UsageError
from craik.masking.block import MultiBlock
from craik.pretrain import Conduct
from craik.recipes import find
from craik.train.run import RunFolder, environment, finite, write_atomic
from craik.train.runtime import Precision, step_rng
from tests.train.runs import MICRO, resume_micro, run_micro, same, weights

CONFIG = {"recipe": "ijepa", "variant": "tiny", "config": {}, "steps": 10, "data": {}, "conduct": {}}


def test_a_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "a.json"
    write_atomic(path, "first")
    assert path.read_text() == "first"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "second")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["a.json"], "no scraps"


def test_a_file_is_flushed_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    plain_replace, plain_fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: (order.append("fsync"), plain_fsync(d)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), plain_replace(a, b)))
    write_atomic(tmp_path / "a", b"x")
    assert order == ["fsync", "rename"]


def test_create(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs" / "a", CONFIG)
    assert run.config == CONFIG
    assert json.loads((run.path / "env.json").read_text())["torch"] == environment()["torch"]
    assert RunFolder.open(run.path).config == CONFIG


def test_an_existing_run_is_refused_and_can_be_overwritten(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a", CONFIG)
    run.record("metrics", {"step": 4})
    (run.path / "mine.txt").write_text("notes")
    (run.model).mkdir()
    (run.model / "model.safetensors").write_text("old")
    with pytest.raises(UsageError, match=r"holds a run already \(step 4 of 10\).*--resume.*--overwrite"):
        RunFolder.create(tmp_path / "a", CONFIG)
    assert list(run.rows("metrics")) == [{"step": 4}]
    again = RunFolder.create(tmp_path / "a", CONFIG, overwrite=True)
    assert list(again.rows("metrics")) == []
    assert not again.model.exists()
    assert (run.path / "mine.txt").read_text() == "notes", "what is not the run's stays"


def test_a_folder_with_other_files_is_refused_even_with_overwrite(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear to somebody")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is not empty and holds no run"):
            RunFolder.create(tmp_path, CONFIG, overwrite=overwrite)
    with pytest.raises(UsageError, match="is a file"):
        RunFolder.create(tmp_path / "thesis.tex", CONFIG)
    with pytest.raises(UsageError, match=r"thesis\.tex is no folder"):
        RunFolder.create(tmp_path / "thesis.tex" / "run", CONFIG)
    assert (tmp_path / "thesis.tex").read_text() == "dear to somebody"


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path, CONFIG).config == CONFIG


def test_claiming_writes_nothing(tmp_path: Path) -> None:
    RunFolder.claim(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


def test_open_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        RunFolder.open(tmp_path / "a")
    with pytest.raises(UsageError, match=r"holds no run \(config\.json is missing\)"):
        RunFolder.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"config\.json cannot be read"):
        RunFolder.open(tmp_path)


def test_records_and_a_last_line_that_was_cut_short(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a", CONFIG)
    for step in range(1, 6):
        run.record("metrics", {"step": step, "loss": 1.0 / step})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "lo')
    assert [row["step"] for row in run.rows("metrics")] == [1, 2, 3, 4, 5]
    assert run.progress() == "step 5 of 10"
    run.rewind(3)
    assert [row["step"] for row in run.rows("metrics")] == [1, 2, 3]
    run.record("metrics", {"step": 4})
    assert [row["step"] for row in run.rows("metrics")] == [1, 2, 3, 4], "the half line is gone"
    assert not list(run.rows("events"))
    run.rewind(0)
    assert not (run.path / "events.jsonl").exists(), "nothing is made up"


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    assert finite({"a": math.nan, "b": [math.inf, 1.0], "c": (2, "x")}) == {"a": None, "b": [None, 1.0], "c": [2, "x"]}
    run = RunFolder.create(tmp_path / "a", CONFIG)
    run.record("metrics", {"loss": math.nan})
    assert (run.path / "metrics.jsonl").read_text() == '{"loss": null}\n'


def test_leftovers_of_a_killed_write_are_swept(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a", CONFIG)
    run.model.mkdir()
    for leftover in (run.path / ".config.json.123.tmp", run.model / ".model.safetensors.9.tmp"):
        leftover.write_text("half")
    run.sweep()
    assert not list(run.path.rglob("*.tmp"))
    assert run.config == CONFIG


def test_going_back_and_on_is_the_run_that_never_went_back(tmp_path: Path) -> None:
    run_micro(tmp_path / "a", steps=15)
    before = weights(tmp_path / "a")
    (tmp_path / "a" / "model" / ".model.safetensors.9.tmp").write_text("half")
    result = resume_micro(tmp_path / "a", from_step=12)
    assert result.outcome.step == 15
    assert same(weights(tmp_path / "a"), before)
    assert not list((tmp_path / "a").rglob(".*.tmp"))
    steps = [row["step"] for row in RunFolder(tmp_path / "a").rows("metrics") if "loss" in row]
    assert steps == sorted(set(steps))
    events = [row for row in RunFolder(tmp_path / "a").rows("events") if row["kind"] == "resume"]
    assert [row["step"] for row in events] == [10]


def test_several_contexts_of_an_image(tmp_path: Path) -> None:
    """Each context is a mask of its own, with the same targets; and they train."""
    masks = MultiBlock(num_contexts=2, context_scale=(0.5, 0.7), min_keep=2)
    method = find(MICRO)
    recipe = method.build(replace(method.config, masks=masks))
    samples = read_samples(load_images("toy:shapes?n=8", size=16), np.arange(8))
    (part,) = recipe.prepare(samples, step_rng(0, 0)).parts
    assert [len(mask.context) for mask in part.masks] == [8, 8]
    assert not torch.equal(part.masks[0].context, part.masks[1].context)
    assert torch.equal(part.masks[0].target, part.masks[1].target)
    run_micro(tmp_path / "a", steps=2, masks=masks)
    assert all(math.isfinite(row["loss"]) for row in RunFolder(tmp_path / "a").rows("metrics") if "loss" in row)
    assert RunFolder(tmp_path / "a").config["config"]["masks"]["num_contexts"] == 2


def test_resume_on_another_device_keeps_the_arithmetic(tmp_path: Path) -> None:
    run_micro(tmp_path / "a", steps=2, conduct=Conduct(device="cpu", precision=Precision.bf16))
    stored = decode(Conduct, RunFolder(tmp_path / "a").config["conduct"])
    assert stored.precision is Precision.bf16


def test_a_damaged_record_is_refused_or_left_out(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a", CONFIG)
    (run.path / "metrics.jsonl").write_text('{"step": 1}\nnull\n[1]\n"x"\n{"step"\n{"step": 2}\n')
    assert list(run.rows("metrics")) == [{"step": 1}, {"step": 2}]
    run.rewind(1)
    assert list(run.rows("metrics")) == [{"step": 1}]
    for content, message in (
        ("[]", "holds no JSON object"),
        ("{", "cannot be read"),
        (json.dumps({**CONFIG, "steps": "ten"}), "steps cannot be what Craik wrote"),
        (json.dumps({**CONFIG, "data": []}), "data cannot be what Craik wrote"),
    ):
        run.config_path.write_text(content)
        with pytest.raises(UsageError, match=message):
            RunFolder.open(run.path)
