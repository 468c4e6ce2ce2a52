"""The report of a world model: everything that can be measured is drawn, what cannot is said."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from craik import api
from craik.collect import Plan, collect
from craik.data.episode import Episodes
from craik.errors import UsageError
from craik.plan.recorded import Decision, Recorded
from craik.recipes import find
from craik.report.curves import curves
from craik.report.measures import verdict
from craik.report.record import Record
from craik.report_run import report, world_scene
from craik.report_run.planned import draw_planning
from tests.data.episodes import write

from .runs import CONFIG, check_row, write_run

EVERY = {"curves", "film", "open_loop", "landscape", "latents", "usability", "surprise"}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Little is looked at, whatever the machine can afford."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world_scene, "NUM_LOOKED_AT", 10**9)
        yield


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Episodes:
    folder = tmp_path_factory.mktemp("rooms")
    collect(Plan(env="two_rooms", episodes=24, policy="walk", steps=24, size=16), folder / "data")
    return Episodes.open(folder / "data")


def make_run(path: Path, data: Episodes) -> Path:
    """A run folder with a world model of fresh weights."""
    torch.manual_seed(0)
    method = find(f"{Path(__file__).parents[1] / 'micro_world.py'}:micro")
    config = method.module.fit(method.config, data)
    stored = {"data": str(data.folder), "windows": 100, "fingerprint": data.fingerprint}
    record = {**CONFIG, **api.describe(method, config), "data": stored}
    write_run(path, config=record)
    api.save_model(path / "model", method.build(config).model, record)
    return path


@pytest.fixture
def run(tmp_path: Path, rooms: Episodes) -> Path:
    return make_run(tmp_path / "run", rooms)


def pictures(run: Path) -> set[str]:
    return {file.stem for file in (run / "media").glob("*.png")}


@pytest.mark.slow
def test_everything_is_drawn_and_its_figures_are_kept(run: Path) -> None:
    text = report(run).read_text()
    assert pictures(run) == EVERY and text.count("data:image/png;base64,") == len(EVERY)
    assert "raw pixels, MLP" in text and "wall_x" in text and "model.rollout(latents" in text
    assert "Not probed yet" not in text and "of the usual number" in text
    figures = json.loads((run / "media" / "world.json").read_text())
    assert set(figures) == {"open_loop", "state_probe", "usability", "surprise"}
    assert figures["surprise"]["world"] == "two_rooms" and len(figures["surprise"]["models"]) == 3


def test_what_cannot_be_measured_is_said(run: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", (12,) * 6)  # not from a simulator
    text = report(run, data=str(other.folder)).read_text()
    assert "Left out: the surprise test, for the episodes were imported" in text and "surprise" not in pictures(run)
    assert "All of it counts as held out" in text and "open_loop" in pictures(run)


def test_data_that_is_gone_leaves_the_curves(run: Path, tmp_path: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["data"]["data"] = str(tmp_path / "gone")
    (run / "config.json").write_text(json.dumps(config))
    text = report(run).read_text()
    assert pictures(run) == {"curves"} and "--data EPISODES" in text
    with pytest.raises(UsageError, match="no such folder"):
        report(run, data=str(tmp_path / "nowhere"))


def test_code_of_users_is_not_run_for_a_report(rooms: Episodes) -> None:
    assert world_scene.source_of(rooms) == ("two_rooms", "walk")
    for source in ("gym:Reacher-v5", "/home/me/my.py:Mine"):
        origins = (replace(rooms.layout.origins[0], source=source),)
        with pytest.raises(UsageError, match="worlds of Craik"):
            world_scene.source_of(replace(rooms, layout=replace(rooms.layout, origins=origins)))


def planning_json() -> dict:
    share = {"value": 0.9, "low": 0.8, "high": 0.95}
    row = {"episodes": 50, "reached": share, "stayed": share, "median_steps": None, "seconds_per_episode": 0.5}
    settings = {"env": "two_rooms", "seed": 3, "budget": 200, "success": "Near.", "goal": "A picture."}
    return {"settings": settings, "policies": [{"policy": "planner", **row}, {"policy": "random", **row}]}


def recorded(rooms: Episodes, model: api.Model) -> Recorded:
    one = rooms.episode(0)
    latents = model.encode(one.frames[None])[0]
    plans = tuple(
        Decision(
            t, latents[t : t + 1], torch.zeros(0, 4), torch.zeros(4, 4), latents[t + 2 : t + 10 : 2], torch.rand(5), 0.5
        )
        for t in (0, 2, 4)
    )
    states = one.states.astype(np.float64)
    return Recorded(3, one.frames, one.frames[-1], latents[-1], one.actions[:-1], states, states[-1], 20, 2, plans)


def test_planning_has_its_tables_and_pictures(run: Path, rooms: Episodes) -> None:
    model = api.load(run, device="cpu")
    files = draw_planning(model, [recorded(rooms, model)], run / "planning", "two_rooms-3")
    assert [file.name for file in files] == ["two_rooms-3-3.gif", "two_rooms-3-cost.png", "two_rooms-3-film.png"]
    (run / "planning" / "two_rooms-3.json").write_text(json.dumps(planning_json()))
    (run / "planning" / "broken.json").write_text('{"policies": 3}')
    (run / "model" / "model.safetensors").write_bytes(b"damaged")  # tables need no model
    text = report(run).read_text()
    assert "90.0 (80.0-95.0)" in text and "Planning in two_rooms" in text and "budget 200 steps" in text
    assert text.count("data:image/gif;base64,") == 1 and "Plans and what came of them" in text
    assert "broken.json cannot be read" in text


def world_rows(last: dict[str, float]) -> list[dict]:
    """Checks of a world model before the first step and after the last."""
    first = {"ahead_1": 2.0, "ahead_1_copy": 0.1, "ahead_8": 3.0, "ahead_8_copy": 0.4, "state_r2": 0.1}
    rows = [check_row(step, 20) for step in (0, 100)]
    for row, found in zip(rows, (first, {**first, **last}), strict=True):
        del row["knn"], row["knn_random"]
        row.update(found, state_r2_random=0.2)
    return rows


def test_curves_and_verdict_know_worlds(tmp_path: Path) -> None:
    good = Record.read(write_run(tmp_path / "a", world_rows({"ahead_1": 0.05, "ahead_8": 0.3, "state_r2": 0.9})))
    assert good.ahead == [1, 8]
    axes = {a.get_title(loc="left"): a for a in curves(good, 96).axes}
    ahead = axes["Error of imagined latents, open loop"]
    np.testing.assert_allclose(ahead.lines[0].get_ydata(), [2.0, 0.05])
    np.testing.assert_allclose(ahead.lines[3].get_ydata(), [0.4, 0.4])
    state = axes["True state, read from the latents"]
    np.testing.assert_allclose(state.lines[0].get_ydata(), [10, 90])
    found = verdict(good)
    assert found.level == "good" and "90.0%" in found.text and "8 steps ahead is 0.3" in found.text
    for last in ({"ahead_8": 0.5, "state_r2": 0.9}, {"ahead_8": 0.3, "state_r2": 0.21}):
        poor = verdict(Record.read(write_run(tmp_path / "b", world_rows(last))))
        assert poor.level == "unclear" and "no clear gain" in poor.title
    early = verdict(Record.read(write_run(tmp_path / "c", world_rows({})[:1])))
    assert early.title == "Too early to say"
