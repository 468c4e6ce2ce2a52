import json
from pathlib import Path

import numpy as np
import pytest

from craik.errors import UsageError
from craik.report.card import code, model_card, probe_table
from craik.report.measures import Level, verdict
from craik.report.record import Record, flatten

from .runs import alarm_row, check_row, metric_rows, probe_json, write_run


def test_series_keeps_order_and_marks_what_was_not_finite(tmp_path: Path) -> None:
    rows = [{"step": 0, "loss": 2.0}, {"step": 5, "loss": None}, {"step": 5, "knn": 0.1}, {"step": 9, "loss": 1.0}]
    series = Record.read(write_run(tmp_path, rows)).series("loss")
    assert series.steps.tolist() == [0, 5, 9]
    np.testing.assert_array_equal(series.values, [2.0, np.nan, 1.0])


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path, [{"step": 3, "loss": 1.0}])
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')
    assert Record.read(run).step == 3


def test_training_time_adds_the_parts_of_a_resumed_run(tmp_path: Path) -> None:
    clock = [10.0, 60.0, 5.0, 30.0]
    rows = [{"step": i, "seconds": s} for i, s in enumerate(clock)]
    assert Record.read(write_run(tmp_path, rows)).seconds == 90.0


def test_no_run_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such folder.*craik train"):
        Record.read(tmp_path / "nowhere")


def test_card_holds_the_right_numbers(tmp_path: Path) -> None:
    card = model_card(write_run(tmp_path / "a"), "toy:shapes: 4,000 images, 32x32, 6 classes")
    assert "# ijepa:tiny" in card and "`toy:shapes: 4,000 images, 32x32, 6 classes`" in card
    assert "| Steps | 200 of 200 (4.0 epochs) |" in card
    assert "| Training time | 100 s |" in card and "| Seed | 7 |" in card
    assert "| kNN accuracy | 20.0% | 41.0% |" in card
    assert "| Effective rank | 10 | 40 |" in card
    assert "| Predictor error ratio | 0.8 | 0.8 |" in card
    assert "not a quality signal" in card and "**Healthy.**" in card
    assert f"craik.load({str(tmp_path / 'a')!r})" in card
    assert "No probe was run" in card


def test_card_shows_probes_with_baselines(tmp_path: Path) -> None:
    card = model_card(write_run(tmp_path, probe=probe_json()), "data")
    assert "| features | kNN | linear |" in card
    assert "| target encoder, mean | 61.2 (60.2-62.2) | 70.3 (69.3-71.3) |" in card
    assert "| random encoder | 29.7 (28.7-30.7) | - |" in card
    assert "1,000 test images of 10 classes" in card and "- kNN: k 20" in card
    assert "No probe was run" not in card


def test_card_of_a_stopped_run_says_so_and_names_alarms(tmp_path: Path) -> None:
    events = [alarm_row(90, "dimensional collapse", "lower | the rate")]
    card = model_card(write_run(tmp_path, metric_rows(100), events), "data")
    assert "Stopped at step 100 of 200" in card
    assert "Alarm at step 90: **dimensional collapse**" in card and "Alarm: dimensional collapse" in card


def test_names_cannot_break_out_of_the_card(tmp_path: Path) -> None:
    card = model_card(write_run(tmp_path), "evil`|\n# heading`` | x")
    assert "\n# heading" not in card
    row = next(line for line in card.splitlines() if line.startswith("| Data"))
    assert row == "| Data | ``` evil`\\| # heading`` \\| x ``` |"
    assert code("a`b") == "`` a`b ``"


def test_verdicts(tmp_path: Path) -> None:
    def found(name: str, metrics: list[dict], events: list[dict] | None = None, active: frozenset[str] | None = None):
        return verdict(Record.read(write_run(tmp_path / name, metrics, events)), active)

    assert found("a", metric_rows()).level is Level.good
    close, below = found("b", metric_rows(knn=0.21)), found("g", metric_rows(knn=0.1))
    assert "no clear gain" in close.title and "within noise" in close.text and "That is below" in below.text
    assert found("c", []).title == "Too early to say"
    alarms = [alarm_row(90, "dimensional collapse"), alarm_row(95, "data starvation")]
    bad = found("d", metric_rows(), alarms)
    assert bad.level is Level.bad and bad.title == "Alarm: dimensional collapse" and "step 90" in bad.text
    over = found("e", metric_rows(), alarms, active=frozenset({"data starvation"}))
    assert over.level is Level.good
    assert "over by the last check: dimensional collapse (step 90)" in over.text
    assert "The machine, not the model: data starvation" in over.text
    untrained = found("f", [check_row(0, 10)])
    assert untrained.title == "Too early to say" and "before the first step" in untrained.text


def test_probe_table_keeps_order_and_marks_gaps() -> None:
    methods, rows = probe_table(probe_json())
    assert methods == ["kNN", "linear"]
    assert rows[1] == ("random encoder", ["29.7 (28.7-30.7)", "-"])


def test_flatten_names_nested_values() -> None:
    assert flatten(json.loads('{"a": {"b": [1, 0.5], "c": null}, "d": true}')) == [
        ("a.b", "1, 0.5"),
        ("a.c", "none"),
        ("d", "yes"),
    ]


def test_a_probe_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """As `craik probe --unsupervised -o RUN/probe.json` leaves one."""
    run = write_run(tmp_path / "a", metric_rows())
    (run / "probe.json").write_text('{"effective_rank": 3.0}')
    with pytest.raises(UsageError, match=r"probe\.json: no result of craik probe \(num_classes, num_test"):
        Record.read(run)


def test_a_model_folder_has_nothing_to_report(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [])
    (run / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="is a model folder, not a run"):
        Record.read(run)
