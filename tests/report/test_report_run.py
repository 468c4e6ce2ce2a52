from dataclasses import replace
from pathlib import Path

import pytest
import torch

from craik import api
from craik.codec import encode
from craik.errors import UsageError
from craik.nn.sizes import Size
from craik.recipes import find
from craik.report.features import Basis
from craik.report.record import Record
from craik.report_run import report, still_active

from .runs import CONFIG, alarm_row, check_row, metric_rows, write_run


def make_run(path: Path, spec: str = "ijepa:tiny", data: str = "toy:shapes?n=40", **changes) -> Path:
    """A run folder with a model of fresh weights."""
    torch.manual_seed(0)
    method = find(spec)
    config = replace(method.config, **changes)
    record = {**CONFIG, **api.describe(method, config), "data": {"data": data, "images": 40, "fingerprint": "abc"}}
    assert record["config"] == encode(config)
    write_run(path, config=record)
    api.save_model(path / "model", method.build(config).model, record)
    return path


def small(path: Path, data: str = "toy:shapes?n=40") -> Path:
    return make_run(path, data=data, encoder=Size(24, 2, 3), predictor=Size(12, 1, 3), image=32, patch=4)


def names(run: Path) -> set[str]:
    return {file.stem for file in (run / "media").glob("*.png")}


@pytest.mark.slow
def test_a_masked_vit_gets_every_picture(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    written = report(run, limit=30)
    assert written == run / "report.html"
    every = {"curves", "pca", "masks", "neighbors", "map", "similarity", "attention", "spectrum"}
    assert names(run) == every
    text = written.read_text()
    assert text.count("data:image/png;base64,") == len(every)
    assert "30 images" in text and "This report is not complete" in text  # the toy data is not that of the record
    basis = Basis.read(run / "media" / "pca_basis.npz")
    report(run, limit=30)
    again = Basis.read(run / "media" / "pca_basis.npz")
    assert basis is not None and again is not None and (basis.axes == again.axes).all()


def test_clips_are_drawn_over_time(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", f"{Path(__file__).resolve().parents[1] / 'micro_clips.py'}:micro", "toy:digits?n=12"
    )
    text = report(run).read_text()
    assert names(run) == {"curves", "pca", "masks"}
    assert "not drawn of clips" in text
    assert Basis.read(run / "media" / "pca_basis.npz") is not None


def test_a_convnet_has_no_attention_and_no_masks(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "lejepa:conv32")
    text = report(run, limit=16).read_text()
    assert names(run) == {"curves", "pca", "views", "neighbors", "map", "similarity", "spectrum"}
    assert "no attention" in text


def test_a_masked_convnet_shows_both_crops(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "ijepa_conv:tiny")
    text = report(run, limit=16).read_text()
    assert names(run) == {"curves", "pca", "masks", "neighbors", "map", "similarity", "spectrum"}
    assert "Targets are of another crop" in text


def test_data_that_is_gone_leaves_the_curves_and_says_so(tmp_path: Path) -> None:
    run = small(tmp_path / "run", str(tmp_path / "gone"))
    text = report(run).read_text()
    assert names(run) == {"curves"}
    assert "only curves are drawn" in text and f"craik report {run} --data PATH" in text
    with pytest.raises(UsageError, match="no such file"):
        report(run, data=str(tmp_path / "nowhere"))


@pytest.mark.slow
def test_other_data_can_be_looked_at(tmp_path: Path) -> None:
    run = small(tmp_path / "run", str(tmp_path / "gone"))
    text = report(run, data="toy:shapes?n=20").read_text()
    assert "pca" in names(run) and "Pictures show toy:shapes?n=20" in text


def test_a_model_that_does_not_load_leaves_the_curves(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    (run / "model" / "model.safetensors").write_bytes(b"damaged")
    assert "model cannot be loaded" in report(run).read_text() and names(run) == {"curves"}


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", metrics=[], config=Record.read(small(tmp_path / "other")).config)
    text = report(run).read_text()
    assert names(run) == set()
    assert "No model was saved yet" in text and "No metrics were recorded yet" in text and "Too early to say" in text


def test_alarms_that_are_over_do_not_count_as_active(tmp_path: Path) -> None:
    collapsed = [check_row(step, rank) for step, rank in ((0, 40), (250, 40), (300, 2), (350, 2))]
    events = [alarm_row(350, "dimensional collapse")]
    held = Record.read(write_run(tmp_path / "a", collapsed, events))
    assert still_active(held) == {"dimensional collapse"}
    over = Record.read(write_run(tmp_path / "b", [*collapsed, check_row(400, 40)], events))
    assert still_active(over) == frozenset()
    ended = Record.read(
        write_run(
            tmp_path / "d", collapsed, [*events, {"step": 400, "kind": "alarm_end", "name": "dimensional collapse"}]
        )
    )
    assert [(a.step, a.end) for a in ended.alarms] == [(350, 400)]
    assert "step 350, over at step 400" in report(tmp_path / "d").read_text()
    stopped = Record.read(write_run(tmp_path / "c", metric_rows(), [alarm_row(201, "non-finite values")]))
    assert still_active(stopped) == {"non-finite values"}
