"""A world model from collected episodes: trained, stopped, gone on with, loaded, and made to imagine."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import craik
from craik.api import Model
from craik.collect import Plan, collect
from craik.core.batch import Batch
from craik.data.episode import Episodes
from craik.data.episode_writer import Writer
from craik.data.windows import Windows
from craik.errors import UsageError
from craik.pretrain import Budget, Conduct, Data, Result, pretrain, resume
from craik.pretrain.on_episodes import Recorded
from craik.recipes import find
from craik.train import checkpoint
from craik.train.loop import probe_text
from craik.train.progress import Reporter
from craik.train.run import RunFolder
from tests.data.episodes import make, write
from tests.train.runs import DATA, run_micro, same, weights

MICRO = str(Path(__file__).resolve().parents[1] / "micro_world.py") + ":micro"
STEPS = 6


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 episodes of 15 frames of 24 px."""
    folder = tmp_path_factory.mktemp("episodes") / "rooms"
    plan = Plan(env="two_rooms", episodes=12, policy="random", steps=14, size=24, seed=0, storage="raw")
    collect(plan, folder, "error", workers=1, advance=lambda *_: None, stop=lambda: False)
    return folder


def train(data: Path, out: Path, *, check_every: int = 3, stop_at: int | None = None, **options: Any) -> Result:
    method = find(options.pop("spec", MICRO))
    conduct = Conduct(device="cpu", check_every=check_every, checkpoint_every=check_every)
    given = Data(data=str(data), **options)
    return pretrain(method, method.config, out, given, Budget(steps=STEPS), conduct, stop_at=stop_at, reporter=quiet())


def quiet() -> Reporter:
    return Reporter(console=Console(file=io.StringIO(), width=200))


@pytest.fixture(scope="module")
def run(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(rooms, tmp_path_factory.mktemp("whole") / "run").folder


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return craik.load(run, device="cpu")


def test_what_only_the_data_tells_is_in_the_config_and_the_model(rooms: Path, run: Path, model: Model) -> None:
    record = RunFolder(run).config
    moments = Recorded.open(Data(data=str(rooms))).train.action_moments()
    body = record["config"]["body"]
    assert body["action_size"] == 2 and body["action_mean"] == list(moments.mean)
    assert record["asked"]["body"]["action_mean"] is None
    world: Any = model.recipe.model
    torch.testing.assert_close(world.scale.std, torch.tensor(moments.std))
    assert record["data"]["windows"] == len(Recorded.open(Data(data=str(rooms))).train) * (15 - 6)


def test_scores_stand_beside_their_baselines(run: Path) -> None:
    rows = [row for row in RunFolder(run).rows("metrics") if "effective_rank" in row]
    assert [row["step"] for row in rows] == [0, 3, 6]
    for name in ("ahead_1", "ahead_1_copy", "ahead_6", "ahead_6_copy", "state_r2", "state_r2_random", "error_context"):
        assert all(np.isfinite(row[name]) for row in rows), name
    assert rows[0]["state_r2_random"] == rows[-1]["state_r2_random"]
    assert 0 < rows[-1]["ahead_1_copy"] < rows[-1]["ahead_6_copy"]
    told = probe_text({"ahead_1": 0.5, "ahead_1_copy": 0.25, "state_r2": 0.9, "state_r2_random": 0.1})
    assert told == "1 ahead 50.0% (copy 25.0%)  state R2 90.0% (random 10.0%)"
    assert "model.rollout(" in (run / "README.md").read_text()


def test_two_halves_equal_the_whole_whatever_was_looked_at(rooms: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(rooms, out, check_every=100, stop_at=4).outcome.interrupted
    assert not same(weights(out), weights(run))
    assert resume(out, reporter=quiet()).outcome.step == STEPS
    assert same(weights(out), weights(run))


def energy(model: Any, batch: Batch, training: bool) -> float:
    model.train(training)
    with torch.no_grad():
        return float(model(batch, 0).terms["energy"])


def test_the_saved_model_does_in_use_what_it_learned(rooms: Path, run: Path, model: Model) -> None:
    """Statistics of the checkpoint still remember the first steps; those of the saved model are of the last weights."""
    recipe = model.recipe
    world: Any = recipe.model
    (window,) = [recipe.window]
    assert window is not None
    clips = Windows(Recorded.open(Data(data=str(rooms))).train, window.frames, window.skip).read(np.arange(64))
    batch = recipe.prepare(clips, torch.Generator())
    for module in world.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    statistics = {name: tensor.clone() for name, tensor in world.state_dict().items()}
    in_training, in_use = energy(world, batch, True), None
    world.load_state_dict(statistics)
    in_use = energy(world, batch, False)
    assert in_use == pytest.approx(in_training, rel=0.3)
    newest = checkpoint.listing(RunFolder(run).checkpoints)[0]
    state = {"model": {name: tensor.clone() for name, tensor in world.state_dict().items()}}
    checkpoint.load(newest, state)
    name = "perception.head.1.running_mean"
    assert not torch.equal(state["model"][name], statistics[name])


def test_encodes_and_imagines(rooms: Path, model: Model) -> None:
    episode = Episodes.open(rooms).episode(0)
    frames = episode.frames[None, :3]  # uint8 [1, 3, H, W, C]
    z = model.encode(frames)
    assert z.shape == (1, 3, 8) and not z.requires_grad
    as_tensor = torch.from_numpy(frames).movedim(-1, 2)
    torch.testing.assert_close(model.encode(as_tensor.float() / 255), z)
    actions = torch.randn(1, 4, 4, requires_grad=True)
    future = model.rollout(z, torch.zeros(1, 2, 4), actions)
    assert future.shape == (1, 4, 8)
    future[:, 0].sum().backward()
    assert actions.grad is not None
    assert actions.grad[:, 0].abs().max() > 0 and actions.grad[:, 1:].abs().max() == 0  # nothing sees the future
    assert model.embed(episode.frames[0]).shape == (1, 8), "the latent, not what the encoder is before its head"
    with pytest.raises(UsageError, match=r"frames are \[3, 24, 24, 3\]; expected"):
        model.encode(frames[0])


def test_a_model_of_images_cannot_imagine(tmp_path: Path) -> None:
    images = craik.load(run_micro(tmp_path / "run", steps=1).folder, device="cpu")
    with pytest.raises(UsageError, match="was trained on images"):
        images.encode(np.zeros((1, 1, 16, 16, 3), dtype=np.uint8))


def test_data_of_the_other_kind_is_refused(rooms: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a world model and trains on episodes.*craik collect"):
        train(Path(DATA.data), tmp_path / "run")
    with pytest.raises(UsageError, match=r"ijepa:tiny trains on images.*craik train leworldmodel:tiny --data"):
        train(rooms, tmp_path / "run", spec="ijepa:tiny")
    with pytest.raises(UsageError, match="no labels and splits"):
        train(rooms, tmp_path / "run", split="train")
    with pytest.raises(UsageError, match="DINO-WM stands on a pretrained encoder"):
        train(rooms, tmp_path / "run", spec="dino_wm:tiny")
    assert not (tmp_path / "run").exists()


def test_episodes_without_actions_are_refused(tmp_path: Path) -> None:
    with Writer(tmp_path / "data") as writer:
        for number in range(3):
            writer.add(replace(make(number, 12), actions=None))
    with pytest.raises(UsageError, match="no actions"):
        train(tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_episodes_at_resume_are_refused(rooms: Path, run: Path, tmp_path: Path) -> None:
    record = RunFolder(run).config
    for name, message in (("discrete", "actions of 1 numbers, but the model takes 2"), ("other", "not the data")):
        data, out = tmp_path / name, tmp_path / f"run_{name}"
        out.mkdir()
        with Writer(data) as writer:
            for number in range(3):
                made = make(number, 12)
                assert made.actions is not None
                writer.add(replace(made, actions=made.actions[:, :1]) if name == "discrete" else made)
        text = json.dumps({**record, "data": {**record["data"], "data": str(data)}})
        (out / "config.json").write_text(text)
        with pytest.raises(UsageError, match=message):
            resume(out, reporter=quiet())


def test_the_recipe_may_be_repeated_at_resume(run: Path) -> None:
    asked = RunFolder(run).config["asked"]
    before = load_file(run / "model" / "model.safetensors")
    assert resume(run, overrides=asked, reporter=quiet()).outcome.step == STEPS
    assert same(weights(run), before)
    asked["body"]["history"] = 1
    with pytest.raises(UsageError, match=r"body\.history: 2 -> 1"):
        resume(run, overrides=asked, reporter=quiet())


def test_a_single_short_episode_trains_without_scores(tmp_path: Path) -> None:
    write(tmp_path / "data", (40,))
    out = train(tmp_path / "data", tmp_path / "run").folder
    rows = [row for row in RunFolder(out).rows("metrics") if "effective_rank" in row]
    assert rows and not any("ahead_1" in row for row in rows)
