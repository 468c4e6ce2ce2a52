"""The second stage of a run: it trains what it should, and one that is cut off is done again with the same result."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from craik.collect import Plan, collect
from craik.pretrain import Budget, Conduct, Data, Result, pretrain, resume
from craik.pretrain import second_stage as module
from craik.recipes import find
from craik.train.checkpoint import listing, weights
from craik.train.progress import Reporter
from craik.train.run import RunFolder

MICRO = str(Path(__file__).resolve().parents[1] / "micro_compass.py") + ":micro"


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 episodes of 15 frames of 24 px."""
    folder = tmp_path_factory.mktemp("episodes") / "rooms"
    plan = Plan(env="two_rooms", episodes=24, policy="random", steps=14, size=24, seed=0, storage="raw")
    collect(plan, folder, "error", workers=1, advance=lambda *_: None, stop=lambda: False)
    return folder


def quiet() -> Reporter:
    return Reporter(console=Console(file=io.StringIO(), width=200), plain_every_s=0)


def train(data: Path, out: Path, reporter: Reporter | None = None) -> Result:
    method = find(MICRO)
    conduct = Conduct(device="cpu")
    return pretrain(
        method, method.config, out, Data(data=str(data)), Budget(steps=4), conduct, reporter=reporter or quiet()
    )


@pytest.fixture(scope="module")
def told() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(scope="module")
def whole(rooms: Path, told: io.StringIO, tmp_path_factory: pytest.TempPathFactory) -> Result:
    reporter = Reporter(console=Console(file=told, width=200), plain_every_s=0)
    return train(rooms, tmp_path_factory.mktemp("whole") / "run", reporter)


def test_predictor_and_critic_are_trained_and_perception_is_not(whole: Result, told: io.StringIO) -> None:
    used = load_file(whole.folder / "model" / "model.safetensors")
    trained = weights(listing(whole.folder / "checkpoints")[0])
    changed = {name.split(".")[0] for name, tensor in trained.items() if not torch.equal(tensor, used[name])}
    assert changed == {"predictor", "critic"}
    assert not whole.outcome.interrupted
    for line in ("encoding", "predictor 20/20", "metric 20/20"):
        assert f"second stage, {line}" in told.getvalue()


def test_the_model_is_looked_at_once_more(whole: Result) -> None:
    folder = RunFolder(whole.folder)
    assert [row["step"] for row in folder.rows("events") if row["kind"] == module.KIND] == [4]
    scores = [row for row in folder.rows("metrics") if "ahead_1" in row]
    assert [row["step"] for row in scores[-2:]] == [4, 4], "after the last step, and after the second stage"
    assert scores[-1]["ahead_1"] != scores[-2]["ahead_1"]
    assert whole.outcome.scores["ahead_1"] == scores[-1]["ahead_1"]


def test_one_that_is_cut_off_is_done_again(
    rooms: Path, whole: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    class Impatient(module.Watched):
        def __call__(self, what: str, step: int, total: int, loss: float) -> None:
            if what == "metric" and step == 7:
                self.stop.asked = True
            super().__call__(what, step, total, loss)

    monkeypatch.setattr(module, "Watched", Impatient)
    assert train(rooms, out).outcome.interrupted
    assert not [row for row in RunFolder(out).rows("events") if row["kind"] == module.KIND]
    monkeypatch.undo()
    assert not resume(out, reporter=quiet()).outcome.interrupted
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (out, whole.folder))
    assert all(torch.equal(one[name], other[name]) for name in other)
    before = (out / "model" / "model.safetensors").stat().st_mtime_ns
    resume(out, reporter=quiet())
    assert (out / "model" / "model.safetensors").stat().st_mtime_ns == before, "done once is done"
