"""craik act: an agent that lives on a model which knows its world, as a user sees it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from craik import api
from craik.act_run import carry_out, open_agent
from craik.act_run.learned import read, write
from craik.agent import CriticTraining
from craik.agent.report import Why
from craik.errors import UsageError
from craik.plan_run.subject import Guarded
from craik.recipes import find
from tests.act_run.plain import Plain, State
from tests.commands.conftest import Craik, craik

__all__ = ["craik"]
HERE = Path(__file__).resolve().parent
ENV = f"{HERE / 'plain.py'}:Plain"
HOT = f"{HERE / 'plain.py'}:Hot"
QUICK = CriticTraining(num_steps=150, batch=128, horizon=3, max_imagined=5000)


def make_run(folder: Path, variant: str = "oracle", speed: float = 1.0) -> Path:
    """A run whose model knows the plain."""
    method = find(f"{HERE / 'oracle.py'}:{variant}")
    config = replace(method.config, speed=speed)
    api.save_model(folder / "model", method.build(config).model, api.describe(method, config))
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = carry_out.learned_parts

    def quickly(*arguments: object) -> object:
        return plain(*arguments[:-1], QUICK)  # type: ignore[arg-type]

    monkeypatch.setattr(carry_out, "learned_parts", quickly)
    monkeypatch.setattr(carry_out, "DISTILL", (60, 300))
    monkeypatch.setattr(carry_out, "NUM", 20)


PLANNING = ("--horizon", 5, "--execute", 2, "--samples", 40, "--iterations", 3)


def act(craik: Craik, *options: object, env: str = ENV, run: str = "run") -> tuple[int, str, str]:
    said = craik("act", run, "--env", env, "-n", 12, "--together", 6, "--device", "cpu", *PLANNING, *options)
    return said.code, said.out, said.err


def result(mode: str = "both", run: str = "run") -> dict[str, dict[str, object]]:
    """Rows by name, of the newest file."""
    newest = max(Path(run, "agent").glob(f"{mode}*.json"), key=lambda path: path.stat().st_mtime_ns)
    report = json.loads(newest.read_text())
    return {row["policy"]: row for row in (*report["modes"], *report["baselines"], *report["rounds"])} | {"": report}


def share(row: dict[str, object]) -> float:
    return row["reached"]["value"]  # type: ignore[index]


def test_it_learns_to_react_and_is_measured_beside_baselines(craik: Craik) -> None:
    make_run(Path("run"))
    code, out, err = act(craik, "--rounds", 2)
    assert code == 0, err
    rows = result()
    assert share(rows["Mode-2 alone"]) >= 0.9 and share(rows["both"]) >= 0.9 and share(rows["oracle"]) == 1
    assert share(rows["Mode-1 alone"]) >= 0.5 > 0.25 >= share(rows["random"]) and share(rows["no-op"]) == 0
    assert rows["Mode-2 alone"]["share_mode_1"] == 0 and rows["Mode-1 alone"]["share_mode_1"] == 1
    assert 0.2 < rows["both"]["share_mode_1"] < 1
    costs = [rows[name]["evaluations_per_decision"] for name in ("Mode-1 alone", "both", "Mode-2 alone")]
    assert costs[0] == 1 and costs == sorted(costs) and costs[2] > 20
    seconds = [rows[name]["seconds_per_decision"] for name in ("Mode-1 alone", "Mode-2 alone")]
    assert min(seconds) > 0, "measured; which is less depends on the machine, evaluations do not"
    assert rows["round 1"]["share_mode_1"] == 0 and rows["round 2"]["share_mode_1"] > 0
    starts = [[one["distance"] for one in rows[name]["each"]] for name in ("Mode-2 alone", "both", "oracle")]
    assert starts[0] == starts[1] == starts[2]
    assert rows["round 1"]["each"][0]["distance"] != starts[0][0], "it is not measured where it learned"
    reach = rows[""]["reachability"]
    assert reach["calibrated_on"] == 20 and reach["rate"] == 0.05
    assert reach["false_alarms"]["value"] <= 0.25 and reach["detected"]["value"] is None
    for text in ("Mode-1 alone", "futures/decision", "cannot reach: calibrated on 20", "both minus Mode-2 alone"):
        assert text in out
    assert "Next: craik act run --env" in err and "off by" in out


def test_what_was_learned_is_found_again_and_goes_on(craik: Craik) -> None:
    make_run(Path("run"))
    assert act(craik, "--rounds", 1, "--mode", "react")[0] == 0
    first = read(Path("run/agent/learned.safetensors"))
    assert first.facts.episodes == 12 and first.facts.taught > 0 and first.facts.reach_rate == 0.05
    reacted = [(one["reached"], one["steps"], one["closest"]) for one in result("react")["Mode-1 alone"]["each"]]
    code, _, err = act(craik, "--rounds", 0, "--mode", "react")
    assert code == 0 and "learned in 12 episodes" in err and "training a critic" not in err
    again = [(one["reached"], one["steps"], one["closest"]) for one in result("react")["Mode-1 alone"]["each"]]
    assert again == reacted and any(reached for reached, *_ in reacted)
    assert Path("run/agent/react-2.json").exists(), "a result of other settings is left as it is"
    same = read(Path("run/agent/learned.safetensors"))
    assert all(torch.equal(first.tensors[name], same.tensors[name]) for name in first.tensors if name != "reach")
    assert act(craik, "--rounds", 1, "--mode", "react")[0] == 0
    more = read(Path("run/agent/learned.safetensors"))
    assert more.facts.episodes == 24 and len(more.tensors["lessons.state"]) > len(first.tensors["lessons.state"])
    Path("elsewhere").mkdir()
    Path("run/agent/learned.safetensors").rename("elsewhere/a.safetensors")
    assert act(craik, "--rounds", 0, "--mode", "react", "--policy", "elsewhere/a.safetensors")[0] == 0
    make_run(Path("other"), speed=0.9)
    code, _, err = act(craik, "--rounds", 0, "--policy", "elsewhere/a.safetensors", run="other")
    assert code == 2 and "learned with another world model" in err
    Path("cut.safetensors").write_bytes(Path("elsewhere/a.safetensors").read_bytes()[:5000])
    code, _, err = act(craik, "--policy", "cut.safetensors")
    assert code == 2 and "cut.safetensors cannot be read" in err
    assert act(craik, "--rounds", 1, "--mode", "react", "--fresh", "--reach-rate", 0)[0] == 0
    assert read(Path("run/agent/learned.safetensors")).facts.episodes == 12


def test_a_control_loop_of_the_user(craik: Craik) -> None:
    make_run(Path("run"), "blocks")
    assert act(craik, "--rounds", 1, "--mode", "react")[0] == 0
    opened = open_agent("run", device="cpu")
    agent, world, rng = opened.agent, Plain(), np.random.default_rng(3)
    state = world.reset(5, rng)
    goal = world.goal(state, rng)
    agent.begin(opened.task(world.render(goal)))
    there = np.zeros(5, dtype=bool)
    for _ in range(world.max_steps):
        state = world.step(state, agent.act(world.render(state)), rng)
        there |= world.reached(state, goal)
    assert there.mean() >= 0.8 and len(agent.answers) == 5 and agent.answers[0].startswith(("No sign", "Cannot"))
    assert agent.report.num_decisions == 5 * 8, "one for two actions"
    with pytest.raises(UsageError, match="no agent has learned anything yet"):
        open_agent("nowhere")


def test_the_recipe_s_critic_held_actions_and_detours_are_the_agent_s(craik: Craik) -> None:
    make_run(Path("run"), "guided")
    code, out, err = act(craik, "--rounds", 2, "--reach-rate", 0)
    assert code == 0, err
    assert (
        "the run's own, trained in its second stage" in out and "actions held" in out and "training a critic" not in err
    )
    rows = result()
    assert share(rows["Mode-2 alone"]) >= 0.9 and share(rows["both"]) >= 0.9 and rows["both"]["share_mode_1"] > 0
    assert rows[""]["settings"]["planning"]["detour"] == 0.5
    learned = read(Path("run/agent/learned.safetensors"))
    assert not [name for name in learned.tensors if name.startswith("critic.")], "it lies in the run"
    assert learned.tensors["lessons.action"].shape[1] == learned.num_chosen == 2
    code, out, err = act(craik, "--rounds", 0, "--mode", "plan", "--reach-rate", 0)
    assert code == 0 and "the run's own" in out
    opened = open_agent("run", device="cpu")
    world, rng = Plain(), np.random.default_rng(3)
    state = world.reset(5, rng)
    goal = world.goal(state, rng)
    here, there = (opened.agent.perception.encode(world.render(s)) for s in (state, goal))
    told = opened.agent.cost.steps_to_go(here, there, otherwise=0)
    assert np.allclose(2 * 4 * told.numpy(), world.distance(state, goal), atol=1), "steps of the model, each two of 4"
    opened.agent.begin(opened.task(world.render(goal)))
    for _ in range(4):
        first, second = (opened.agent.act(world.render(state)) for _ in range(2))
        assert np.array_equal(first, second)
        assert opened.agent.last.actions.shape == (5, 4)
        state = world.step(world.step(state, first, rng), second, rng)
    facts = replace(learned.facts, planning=replace(learned.facts.planning, hold=False))
    write(Path("free.safetensors"), opened.agent, facts)
    with pytest.raises(UsageError, match="chooses 2 numbers for a step of the model, and the recipe now plans with 4"):
        open_agent("run", "free.safetensors", device="cpu")


def test_a_plan_is_followed_until_something_surprises(craik: Craik) -> None:
    make_run(Path("run"))
    assert act(craik, "--rounds", 0, "--mode", "plan", "--execute", 4, "--reach-rate", 0)[0] == 0
    rows = result("plan")
    each = rows["Mode-2 alone"]["each"]
    assert sum(one["followed"] for one in each) > 2 * sum(one["planned"] for one in each)
    assert share(rows["Mode-2 alone"]) >= 0.9
    opened = open_agent("run", device="cpu")
    world, rng = Plain(), np.random.default_rng(0)
    state = State(np.full((4, 2), 50.0))
    opened.agent.begin(opened.task(world.render(State(np.full((4, 2), 75.0))), "plan"))
    reasons = []
    for step in range(4):
        action = opened.agent.act(world.render(state))
        reasons.append(opened.agent.last.reasons)
        moved = np.where(np.array([0, 1, 1, 1])[:, None] | (step < 1), action, -action)  # the first goes astray
        state = world.step(state, moved, rng)
        if step == 1:
            opened.agent.retire(np.array([False, False, False, True]))
    assert reasons[0] == (Why.TOLD,) * 4 and reasons[1] == (Why.FOLLOWS,) * 4
    assert reasons[2] == (Why.TOLD, Why.FOLLOWS, Why.FOLLOWS, Why.OVER)
    assert reasons[3][0] is Why.TOLD and reasons[3][3] is Why.OVER
    assert len(opened.agent.memory) == 4 + 4 + 3 + 3


def test_an_environment_that_raises_keeps_what_is_finished(craik: Craik) -> None:
    make_run(Path("run"))
    Path("steps-left").write_text("139")  # walks before it learns take 2 x 63, the first 6 of the 12 episodes about 8
    code, _, err = act(craik, "--rounds", 2, env=HOT)
    assert code == 1
    assert "raised RuntimeError: the motor is hot (plain.py:" in err and "Mend the environment" in err
    assert "What it learned in" in err and "is kept in run/agent" in err
    kept = read(Path("run/agent/learned.safetensors")).facts
    assert kept.episodes == 6 and kept.taught > 0
    report = result()[""]
    assert "the motor is hot" in report["failure"] and not report["modes"]
    Path("steps-left").unlink()
    code, _, err = act(craik, "--rounds", 1, env=HOT)
    assert code == 0 and f"learned in {kept.episodes} episodes" in err


def test_an_environment_that_raises_before_anything(craik: Craik) -> None:
    make_run(Path("run"))
    Path("steps-left").write_text("5")
    code, _, err = act(craik, env=HOT)
    assert code == 1 and "the motor is hot" in err and "after 5 steps" in err
    assert not Path("run/agent").exists()


def test_interrupted_it_keeps_what_is_finished(craik: Craik, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    make_run(Path("run"))
    plain, calls = Plain.step, []

    def interrupting(self: Plain, *arguments: object) -> State:
        calls.append(1)
        if len(calls) == 139:
            signal.raise_signal(signal.SIGINT)
        return plain(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Guarded, "__getattr__", lambda self, name: interrupted(self, name, interrupting))
        code, _, err = act(craik, "--rounds", 2, "--fresh")
    assert code == 130, err
    assert "interrupted: episodes that had not ended are left out" in err and "Go on: craik act run" in err
    assert "--fresh" not in err.rpartition("Go on:")[2]
    assert read(Path("run/agent/learned.safetensors")).facts.episodes == 6
    assert result()[""]["interrupted"] is True


def interrupted(guarded: Guarded, name: str, step: object) -> object:
    inside = object.__getattribute__(guarded, "inside")
    return (lambda *a: step(inside, *a)) if name == "step" else getattr(inside, name)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "env", "message"),
    [
        (("--mode", "react", "--rounds", 0), "Plain", "nothing was learned yet that Mode-1 could react by"),
        (("--rounds", -1), "Plain", "--rounds -1: give 0 or more"),
        (("--reach-rate", 2), "Plain", "are shares between 0 and 1"),
        (("--fresh", "--policy", "x"), "Plain", "contradict each other"),
        (("--policy", "x"), "Plain", "--policy x: no such file"),
        ((), "Wide", "takes actions of 2 numbers and"),
        ((), "Flat", "expected uint8 [2, 8, 8, 3], frames like those of the episodes"),
        ((), "Plian", "Did you mean Plain?"),
    ],
)
def test_mistakes(craik: Craik, options: tuple[object, ...], env: str, message: str) -> None:
    make_run(Path("run"))
    code, _, err = act(craik, *options, env=f"{HERE / 'plain.py'}:{env}")
    assert code == 2 and message in err, err


def test_frames_and_actions_that_do_not_fit_the_model(craik: Craik) -> None:
    make_run(Path("run"))
    code, _, err = act(craik, env=f"{HERE / 'plain.py'}:Blind")
    assert code == 2 and "drawn as float64 [2, 8, 8, 3]; expected uint8" in err, err
    model = api.load("run", device="cpu")
    frames = np.full((1, 1, 8, 8, 3), 0.5, dtype=np.float32)
    latents = model.encode(frames)
    assert model.rollout(latents, torch.zeros(1, 0, 2), torch.zeros(1, 4, 2)).shape == (1, 4, 2)
    for past, actions in ((torch.zeros(1, 0, 2), torch.zeros(1, 4, 3)), (torch.zeros(1, 1, 3), torch.zeros(1, 4, 2))):
        with pytest.raises(UsageError, match="and the model takes 2"):
            model.rollout(latents, past, actions)
    frames[0, 0, 3, 3] = np.nan
    with pytest.raises(UsageError, match="frames hold numbers that are not finite"):
        model.encode(frames)


def test_what_an_opened_agent_cannot_see(craik: Craik) -> None:
    make_run(Path("run"))
    assert act(craik, "--mode", "plan", "--reach-rate", 0, "-n", 2)[0] == 0
    opened = open_agent("run", device="cpu")
    frames = Plain().render(State(np.full((2, 2), 50.0)))
    for goal, message in (
        (frames[0], r"the goal of the task: expected frames \[B, height, width, 1 or 3\]"),
        (frames.astype(np.float32), r"the goal of the task: expected .* got torch.float32 .*, 0 to 125"),
        (
            np.full((2, 8, 8, 3), np.nan),
            "the goal of the task: the observation of environment 0 has numbers that are not",
        ),
        (np.zeros((2, 8, 8, 4), np.uint8), r"got torch.uint8 \[2, 8, 8, 4\]"),
    ):
        with pytest.raises(UsageError, match=message):
            opened.agent.begin(opened.task(goal, "plan"))
    opened.agent.begin(opened.task(np.concatenate([frames, frames[:1]]), "plan"))
    with pytest.raises(UsageError, match="the task has 3 goals and there are 2 environments"):
        opened.agent.act(frames)
    with pytest.raises(UsageError, match="nothing to react by"):
        opened.agent.begin(opened.task(frames, "react"))
    Path("run/agent/learned.safetensors").rename("run/agent/other.safetensors")
    make_run(Path("run"), speed=0.5)
    with pytest.raises(UsageError, match="learned with another world model"):
        open_agent("run", "run/agent/other.safetensors", device="cpu")
