"""What a run knew of its health is known again when it goes on."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from craik.pretrain import Conduct, resume
from craik.train.health import Failure
from craik.train.loop import Run
from craik.train.progress import Reporter, Status
from craik.train.recall import recall
from craik.train.run import RunFolder
from tests.train.runs import resume_micro, run_micro


@dataclass(slots=True)
class Watch(Reporter):
    """Keeps what the progress line was to show."""

    console: Console = field(default_factory=lambda: Console(file=io.StringIO()))
    shown: list[Status] = field(default_factory=list)

    def show(self, status: Status) -> None:
        self.shown.append(status)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Every run that is carried out."""
    found: list[Run] = []
    plain = Run.fit
    monkeypatch.setattr(Run, "fit", lambda self: (found.append(self), plain(self))[1])
    return found


def test_rows_tell_all_that_a_run_knew(runs: list[Run], tmp_path: Path) -> None:
    run_micro(tmp_path / "a", steps=20)
    (run,) = runs
    memory = recall(RunFolder(tmp_path / "a").rows("metrics"), run.sentinel.grace, (10, 15, 20))
    assert memory.sentinel == run.sentinel
    assert memory.seen == run.seen
    assert memory.scores == run.scores
    assert run.sentinel.last_healthy == 20 and run.sentinel.peak_rank > 1
    assert run.scores.keys() == {"knn", "knn_random"}


def test_a_resumed_run_remembers(runs: list[Run], tmp_path: Path) -> None:
    conduct = Conduct(device="cpu", check_every=5, checkpoint_every=5)
    run_micro(tmp_path / "a", steps=15, conduct=conduct)
    rows = {row["step"]: row for row in RunFolder(tmp_path / "a").rows("metrics") if "effective_rank" in row}
    watch = Watch()
    resume(tmp_path / "a", from_step=10, reporter=watch)
    assert watch.shown[0].step == 11
    assert watch.shown[0].rank == rows[10]["effective_rank"]
    assert watch.shown[0].probe.startswith("kNN")
    whole, parts = (run.sentinel for run in runs)
    assert parts.first == whole.first
    assert parts.peak_rank == whole.peak_rank == max(row["effective_rank"] for row in rows.values())


def test_an_alarm_still_holds_after_a_resume(tmp_path: Path) -> None:
    """A target that never moves: the alarm is raised once, and a finished run that is resumed still ends with it."""
    result = run_micro(tmp_path / "a", steps=20, momentum=(1.0, 1.0))
    assert Failure.dead_target in result.outcome.alarms
    result = resume_micro(tmp_path / "a", from_step=15)
    assert Failure.dead_target in result.outcome.alarms
    assert Failure.dead_target in resume_micro(tmp_path / "a").outcome.alarms
    events = [row for row in RunFolder(tmp_path / "a").rows("events") if row.get("name") == "dead target"]
    assert [row["kind"] for row in events] == ["alarm"]
    assert events[0]["last_healthy"] == 5


def test_the_last_healthy_checkpoint_is_one_that_is_there() -> None:
    usual = {"loss": 1.0, "grad_norm": 1.0, "rate": 100.0, "wait_share": 0.0}
    rows = [{**usual, "step": step} for step in range(10)]
    rows += [{**usual, "step": step, "wait_share": 0.9} for step in range(10, 20)]
    assert recall(rows, 0, (4, 8, 15, 18)).sentinel.last_healthy == 8
    assert recall(rows, 0, (15,)).sentinel.last_healthy is None
    assert recall(rows, 0).sentinel.active == {Failure.data_starvation}
