"""craik plan, as a user sees it; the model that plans knows the truth."""

import json
import signal
from pathlib import Path

import pytest

from craik.plan_run import report as plan_report
from tests import oracle_world
from tests.commands.conftest import Craik

LINE = f"{Path(__file__).resolve().parents[1] / 'collect' / 'worlds.py'}:Line"
SMALL = ("--horizon", 6, "--samples", 32, "--iterations", 2, "--distance", 10, 30)
PLAN = ("plan", "runs/line", "--env", LINE, "--max-steps", 40, "-n", 6, *SMALL)


@pytest.fixture
def line(craik: Craik) -> Path:
    return oracle_world.save(Path("runs/line"))


def test_success_beside_baselines(craik: Craik, line: Path) -> None:
    said = craik(*PLAN)
    assert said.code == 0
    for text in (
        "goal: picture of a state drawn by the world",
        "distance: 10 to 30",
        "budget 40 steps, frame skip 1, history 1, seed 0, 10 episodes side by side",
        "planning: icem, 32 samples x 2 iterations, horizon 6, execute 4, summed cost",
        "starts that satisfied their goal and were drawn again: 0; outside the range: ",
        "100.0 (61.0-100.0)",
        "planner minus no-op: +100.0 (",
        "only planner reached 6, only no-op 0; p = 0.031",
        "The planner by distance to the goal",
        "Latent distance on a random walk",
    ):
        assert text in said.out, text
    assert "before planning: The latent distance is usable" in said.err
    assert "every episode and all settings: runs/line/planning/worlds-Line-0.json" in said.err
    assert said.err.rstrip().endswith("Next: craik report runs/line")
    row = json.loads(Path("runs/line/planning/worlds-Line-0.json").read_text())
    assert row["settings"]["planning"]["samples"] == 32 and row["settings"]["budget"] == 40
    assert [p["policy"] for p in row["policies"]] == ["random", "no-op", "oracle", "planner"]
    planner = row["policies"][-1]
    assert planner["reached"]["value"] == planner["stayed"]["value"] == 1
    assert len(planner["each"]) == 6 and all(10 <= e["distance"] <= 30 for e in planner["each"])
    assert planner["seconds_per_action"] > 0 and not row["interrupted"] and row["failure"] is None


def test_results_of_other_settings_are_not_overwritten(craik: Craik, line: Path) -> None:
    folder = Path("runs/line/planning")
    few = ("plan", "runs/line", "--env", LINE, "--max-steps", 3, *SMALL)
    assert craik(*few, "-n", 2).code == 0
    assert craik(*few, "-n", 2).code == 0
    assert sorted(p.name for p in folder.iterdir()) == ["worlds-Line-0.json"]
    before = (folder / "worlds-Line-0.json").read_bytes()
    assert craik(*few, "-n", 3).code == 0
    assert sorted(p.name for p in folder.iterdir()) == ["worlds-Line-0-2.json", "worlds-Line-0.json"]
    assert (folder / "worlds-Line-0.json").read_bytes() == before
    Path("mine.json").write_text("no json")
    assert "mine-2.json" in craik(*few, "-n", 2, "-o", "mine.json").err
    assert Path("mine.json").read_text() == "no json"


def test_json_compare_and_vary(craik: Craik, line: Path) -> None:
    oracle_world.save(Path("runs/back"), "backward")
    said = craik(*PLAN, "--compare", "runs/back", "--vary", "distractor", "--json")
    assert said.code == 0
    row = json.loads(said.out)
    by = {p["policy"]: p["reached"]["value"] for p in row["policies"]}
    assert by["planner"] == 1 and by["runs/back"] == 0 and 0 <= by["planner, distractor"] <= 1
    against = next(c["found"] for c in row["compared"] if c["second"] == "runs/back")
    assert against["only_first"] == 6 and against["p_value"] == pytest.approx(2 / 2**6)
    assert row["variations"] == {"planner, distractor": "a distractor that drifts about"}


@pytest.mark.slow
def test_a_critic_learns_first(craik: Craik, line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("craik.plan_run.prepare.EXPERIENCES", 12)
    monkeypatch.setattr("craik.plan_run.prepare.TRAINING_STEPS", 60)
    said = craik(*PLAN, "--cost", "critic", "-n", 2)
    assert said.code == 0
    assert "before planning: Critic on 5000 unseen pairs" in said.err and "critic cost" in said.out
    assert craik("collect", LINE, "-n", 6, "--steps", 20, "-o", "data", "--workers", 1).code == 0
    said = craik(*PLAN, "--cost", "critic", "-n", 2, "--data", "data", "--json")
    assert json.loads(said.out)["settings"]["critic_data"] == "data"
    Path("runs/line/config.json").write_text(json.dumps({"data": {"data": "data"}}))
    assert "imagined states of data" in craik(*PLAN, "--cost", "critic", "-n", 1, "--stay", 0).err, "those of the run"


def test_reachability_is_calibrated(craik: Craik, line: Path) -> None:
    Path("my.py").write_text(WORLD)
    said = craik("plan", "runs/line", "--env", "my.py:Free", "--max-steps", 3, "-n", 2, *SMALL, "--reach", "--json")
    found = json.loads(said.out)["reachability"]
    assert found["calibrated_on"] == 60 and found["rate"] == 0.05
    assert found["false_alarms"]["value"] < 0.15


@pytest.mark.slow
def test_pictures(craik: Craik, line: Path) -> None:
    said = craik("plan", "runs/line", "--env", LINE, "--max-steps", 12, "-n", 2, *SMALL, "--pictures", 1)
    assert said.code == 0
    written = {p.name for p in Path("runs/line/planning").iterdir()}
    assert {"worlds-Line-0-0.gif", "worlds-Line-0-cost.png", "worlds-Line-0-film.png"} <= written
    assert "picture: runs/line/planning/worlds-Line-0-0.gif" in said.err


def test_interrupted(craik: Craik, line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from craik.evaluate.policies import Planner

    plain, calls = Planner.act, []

    def interrupted(self: Planner, state: object) -> object:
        calls.append(len(calls))
        if len(calls) == 12:
            signal.raise_signal(signal.SIGINT)
        return plain(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(Planner, "act", interrupted)
        said = craik(*PLAN, "--together", 2, "--stay", 0)
    assert said.code == 130
    assert (
        "interrupted: episodes that had not ended are left out" in said.err
        and "Again: craik plan runs/line" in said.err
    )
    path = Path("runs/line/planning/worlds-Line-0.json")
    row = json.loads(path.read_text())
    assert row["interrupted"] and row["policies"][-1]["policy"] == "planner"
    assert row["policies"][-1]["episodes"] in (2, 4)
    assert craik(*PLAN, "--together", 2, "--stay", 0).code == 0
    assert json.loads(path.read_text())["policies"][-1]["episodes"] == 6, "the whole result takes its place"
    whole = json.loads(path.read_text())
    assert not plan_report.may_replace(path, {**whole, "interrupted": True})


WORLD = """
from tests.collect.worlds import Line, State

class Free(Line):
    def goal(self, state, rng):
        return State(rng.uniform(0, 100, len(state.place)))

class Hot(Line):
    def step(self, state, action, rng):
        HOT[0] += 1
        if HOT[0] > 150:
            raise RuntimeError("the motor is hot")
        return Line.step(self, state, action, rng)

class Odd(Line):
    def render(self, state):
        frames = Line.render(self, state)
        return frames[:, :4] if len(frames) == 5 else frames

class Wide(Line):
    @property
    def action(self):
        from craik.envs.world import Box
        return Box((-1.0, -1.0), (1.0, 1.0))

HOT = [0]
"""


def test_a_world_that_raises_in_the_middle(craik: Craik, line: Path) -> None:
    Path("my.py").write_text(WORLD)
    said = craik("plan", "runs/line", "--env", "my.py:Hot", "-n", 4, "--max-steps", 40, *SMALL)
    assert said.code == 1
    assert "my.py:Hot raised RuntimeError: the motor is hot (my.py:12) in step, after 150 steps" in said.err
    assert "What had ended is kept. Again: craik plan runs/line --env my.py:Hot" in said.err
    row = json.loads(Path("runs/line/planning/my-Hot-0.json").read_text())
    assert "the motor is hot" in row["failure"] and row["policies"][0]["policy"] == "random"


def test_what_does_not_go_together(craik: Craik, line: Path, run: Path) -> None:
    Path("my.py").write_text(WORLD)
    oracle_world.save(Path("runs/nan"), "broken")
    plan = ("plan", "runs/line", "--env")
    for arguments, message in (
        ((*plan, "my.py:Wide"), "runs/line takes actions of 1 numbers and my.py:Wide has actions of 2"),
        ((*plan, "two_rooms"), "it was trained on another world. Name that with --env"),
        ((*plan, "my.py:Odd", "-n", 5), "expected uint8 [5, 8, 8, 3], frames like those of the episodes"),
        ((*plan, "two_roms"), "Did you mean two_rooms?"),
        ((*plan, LINE, "--vary", "gravity"), "--vary gravity: line can be varied by distractor, noise"),
        ((*plan, LINE, "--distance", 500, 600), "widen --distance"),
        ((*plan, LINE, "--distance", 5, 1), "give least and greatest distance"),
        ((*plan, LINE, "-n", 0), "--episodes 0: give at least 1"),
        ((*plan, LINE, "--seconds", 0), "--seconds 0.0: a budget is more than 0 s"),
        ((*plan, LINE, "--horizon", 3, "--execute", 4), "1 <= execute <= horizon"),
        ((*plan, LINE, "--data", "x"), "give --cost critic too"),
        (("plan", "runs/nan", "--env", LINE), "latents that are not finite, so nothing can be planned"),
        (("plan", "runs/none", "--env", LINE), "runs/none: no such folder"),
        (("plan", run, "--env", "two_rooms"), "was trained on images"),
        (("plan", "runs/line"), "where is it to plan? craik plan runs/line --env two_rooms"),
    ):
        said = craik(*arguments)
        assert said.code == 2, arguments
        assert message in said.err, (arguments, said.err)
    assert not Path("runs/line/planning").exists()


SIZES = """
from dataclasses import dataclass
from tests.collect.worlds import Line

@dataclass(frozen=True)
class Big(Line):
    side: int = 24

class Fixed(Line):
    shape = (12, 12, 3)

    def render(self, state):
        return Line(12).render(state)
"""


def test_frames_of_another_size_are_resized(craik: Craik, line: Path) -> None:
    Path("my.py").write_text(SIZES)
    said = craik("plan", "runs/line", "--env", "my.py:Big", "-n", 2, "--max-steps", 3, *SMALL)
    assert said.code == 0 and "resized" not in said.err, "drawn at the size the model sees"
    said = craik("plan", "runs/line", "--env", "my.py:Fixed", "-n", 2, "--max-steps", 3, *SMALL)
    assert said.code == 0
    assert "my.py:Fixed draws 12 x 12 px; the model sees 8 x 8: frames are resized" in said.err


def test_without_a_simulator(craik: Craik, line: Path) -> None:
    assert craik("collect", LINE, "-n", 6, "--steps", 30, "-o", "data", "--workers", 1).code == 0
    said = craik("plan", "runs/line", "--data", "data")
    assert said.code == 0
    assert "copy last" in said.out and "runs/line/planning/open-loop.json" in said.err
