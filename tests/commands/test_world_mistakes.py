"""craik plan where a world, its goals or the data do not fit the model; `tests/act_run` has the same for craik act."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from craik.data.episode_writer import Writer
from tests.act_run.test_act import HERE, HOT, make_run
from tests.commands.conftest import Craik
from tests.data.episodes import make

QUICK = ("-n", 12, "--together", 6, "--max-steps", 16, "--horizon", 4, "--samples", 20, "--iterations", 2)


def test_another_size_of_actions(craik: Craik) -> None:
    make_run(Path("run"))
    said = craik("plan", "run", "--env", f"{HERE / 'plain.py'}:Wide", *QUICK)
    assert said.code == 2 and "run takes actions of 2 numbers and" in said.err and "has actions of 3" in said.err


def test_goals_of_another_shape(craik: Craik) -> None:
    make_run(Path("run"))
    said = craik("plan", "run", "--env", f"{HERE / 'plain.py'}:Flat", *QUICK)
    assert said.code == 2 and "expected uint8 [6, 8, 8, 3], frames like those of the episodes" in said.err


def test_frames_that_are_not_finite(craik: Craik) -> None:
    make_run(Path("run"))
    said = craik("plan", "run", "--env", f"{HERE / 'plain.py'}:Blind", *QUICK)
    assert said.code == 2 and "frames hold numbers that are not finite" in said.err


@pytest.mark.parametrize("command", ["plan", "act"])
def test_data_of_another_action_size(craik: Craik, command: str) -> None:
    make_run(Path("run"))
    write_narrow(Path("narrow"))
    said = craik(command, "run", "--env", f"{HERE / 'plain.py'}:Plain", *QUICK, "--cost", "critic", "--data", "narrow")
    assert said.code == 2 and "actions of 1 numbers and run takes 2" in said.err, said.err


def write_narrow(folder: Path) -> None:
    """Episodes whose actions are one number."""
    with Writer(folder) as writer:
        for number in range(3):
            made = make(number, 9)
            assert made.actions is not None
            writer.add(replace(made, actions=made.actions[:, :1]))


def test_a_world_that_raises_keeps_the_episodes_that_ended(craik: Craik) -> None:
    make_run(Path("run"))
    Path("steps-left").write_text(str(47 + 20))  # the check of the distance, and more than six random episodes
    said = craik("plan", "run", "--env", HOT, *QUICK)
    assert said.code == 1, said.err
    assert "raised RuntimeError: the motor is hot (plain.py:" in said.err and "Again: craik plan run" in said.err
    (kept,) = Path("run/planning").glob("*.json")
    report = json.loads(kept.read_text())
    assert "the motor is hot" in report["failure"]
    assert [(row["policy"], row["episodes"]) for row in report["policies"]] == [("random", 6)]
    Path("steps-left").unlink()
    assert craik("plan", "run", "--env", HOT, *QUICK).code == 0
    (kept,) = Path("run/planning").glob("*.json")
    report = json.loads(kept.read_text())
    assert report["failure"] is None and "planner" in [row["policy"] for row in report["policies"]]
