"""The mistakes that newcomers make, and the message each gets: what was expected, what came, what to do next."""

import builtins
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from craik.api import initialize
from craik.commands.train import finish
from craik.data import workers
from craik.pretrain import Result
from craik.recipes import find
from craik.train import runtime
from craik.train.loop import Outcome
from craik.train.run import RunFolder
from craik.train.step import Stepper
from tests.commands.conftest import Craik
from tests.train.runs import MICRO, same, weights
from tests.weights.networks import entries, jepa, save

TOY = ("--data", "toy:shapes?n=64", "--device", "cpu")


def write_images(folder: Path, count: int, bad: int = 0) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (20, 20), (number * 7 % 255, 90, 200)).save(folder / f"{number:03d}.png")
    for number in range(bad):
        (folder / f"bad{number}.jpg").write_bytes(b"this is no image")
    return folder


# 1 to 5: the data


def test_folder_that_does_not_exist(craik: Craik) -> None:
    Path("photo").mkdir()
    said = craik("train", MICRO, "--data", "photos", "--out", "runs/a")
    assert said.code == 2
    assert "photos: no such file or folder. Did you mean ./photo/ ?" in said.err
    assert not Path("runs").exists()


def test_folder_without_images(craik: Craik) -> None:
    Path("photos").mkdir()
    for name in ("a.heic", "b.heic", "notes.txt"):
        Path("photos", name).write_bytes(b"x")
    said = craik("inspect", "photos")
    assert said.code == 2
    assert "0 images in 3 files (.heic 2, .txt 1). HEIC photos have to be converted first: magick mogrify" in said.err


def test_hidden_folders_are_counted_and_fine(craik: Craik) -> None:
    write_images(Path("photos"), 10)
    Path("photos/.thumbnails").mkdir()
    Path("photos/.thumbnails/a.png").write_bytes(b"")
    said = craik("inspect", "photos")
    assert said.code == 0
    assert "photos/: 10 images (1 hidden item ignored), 20x20, no labels" in said.out


def test_some_broken_files_are_skipped_and_listed(craik: Craik) -> None:
    write_images(Path("photos"), 39, bad=1)
    said = craik("train", MICRO, "--data", "photos", "--out", "runs/a", "--steps", 1, "--device", "cpu")
    assert said.code == 0
    assert "39 images (1 unreadable)" in said.err
    assert "bad0.jpg" in Path("runs/a/skipped.txt").read_text()


def test_many_broken_files_stop_the_command(craik: Craik) -> None:
    write_images(Path("photos"), 10, bad=4)
    said = craik("train", MICRO, "--data", "photos", "--out", "runs/a", "--steps", 1, "--device", "cpu")
    assert said.code == 2
    assert "4 of 14 image files (28.6%) cannot be read, more than 5%: bad0.jpg" in said.err
    assert "bad2.jpg" in said.err
    assert "--max-bad-fraction 0.29" in said.err
    assert not Path("runs").exists()


def test_few_images(craik: Craik) -> None:
    write_images(Path("photos"), 38)
    said = craik("train", MICRO, "--data", "photos", "--out", "runs/a", "--steps", 1, "--device", "cpu")
    assert said.code == 0
    assert "38 images: pretraining from scratch will not generalize. Start from weights (--init" in said.err


def test_few_images_are_no_matter_when_a_model_is_used(craik: Craik, run: Path) -> None:
    write_images(Path("photos"), 3)
    assert "generalize" not in craik("embed", run, "photos", "-o", "a.npz").err


def test_fewer_images_than_a_batch(craik: Craik) -> None:
    write_images(Path("photos"), 5)
    said = craik("train", MICRO, "--data", "photos", "--out", "runs/a")
    assert said.code == 2
    assert "5 images do not fill one batch of 16. Use --batch 5 or less" in said.err


# 6: labels


def test_probe_without_labels(craik: Craik, run: Path) -> None:
    write_images(Path("photos"), 12)
    said = craik("probe", run, "--test", "photos")
    assert said.code == 2
    assert (
        "no labels. Sort the images into class sub-folders, or give --labels FILE.csv (columns path,label" in said.err
    )
    assert "craik probe RUN --test PATH --unsupervised" in said.err
    said = craik("probe", run, "--test", "photos", "--unsupervised", "--json")
    assert said.code == 0
    assert json.loads(said.out)["crop_agreement_chance"] == pytest.approx(1 / 12)


def test_probe_without_images(craik: Craik, run: Path) -> None:
    said = craik("probe", run, "--train", "photos")
    assert said.code == 2
    assert f"craik probe {run} --train photos --test PATH" in said.err


# 7 to 9: sizes


def test_image_size_that_the_patch_does_not_divide(craik: Craik) -> None:
    said = craik("train", "ijepa:tiny", *TOY, "--out", "runs/a", "--image", 100, "--patch", 16)
    assert said.code == 2
    assert "image 100 is not a multiple of patch 16: use 96 or 112" in said.err


def fail_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    plain, calls = Stepper.backward_pieces, iter(range(10_000))

    def short_of_memory(self: Stepper, batch: Any) -> Any:
        if next(calls) == 2:
            raise error
        return plain(self, batch)

    monkeypatch.setattr(Stepper, "backward_pieces", short_of_memory)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_out_of_memory_goes_on_with_half_the_batch(
    craik: Craik, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    new = ("train", MICRO, *TOY, "--steps", 6)
    assert craik(*new, "--out", "plain").code == 0
    fail_once(monkeypatch, error)
    said = craik(*new, "--out", "short")
    assert said.code == 0
    assert "out of memory at batch 16; continuing at 8 x 2 accumulation. Pin with --accumulate 2" in said.err
    assert any("out of memory" in row.get("text", "") for row in RunFolder(Path("short")).rows("events"))
    one, other = weights(Path("plain")), weights(Path("short"))
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
    assert not same(one, other)  # the sums were taken in another order


def test_other_runtime_errors_are_not_taken_for_short_memory() -> None:
    from craik.train.step import out_of_memory

    assert not out_of_memory(RuntimeError("shapes do not match"))


def test_out_of_memory_without_a_way_out(craik: Craik, monkeypatch: pytest.MonkeyPatch) -> None:
    def short_of_memory(self: Stepper, batch: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Stepper, "backward_pieces", short_of_memory)
    said = craik("train", MICRO, *TOY, "--out", "runs/a", "--steps", 3)
    assert said.code == 1
    assert "out of memory at batch 16 in 16 pieces; use a smaller --batch" in said.err


@pytest.mark.parametrize("recipe", [(MICRO, "--sigreg", 0.1), ("lejepa:tiny",)])
def test_batch_too_small_for_batch_statistics(craik: Craik, recipe: tuple[object, ...]) -> None:
    said = craik("train", *recipe, *TOY, "--out", "runs/a", "--steps", 1, "--batch", 8)
    assert said.code == 0
    assert "batch 8: the regularizer's batch statistics are noise below about 64 samples; use --batch 64" in said.err


def test_small_batch_is_fine_without_batch_statistics(craik: Craik) -> None:
    assert "noise" not in craik("train", MICRO, *TOY, "--out", "runs/a", "--steps", 1, "--batch", 8).err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--batch", 0), "--batch 0 does not divide"),
        (("--accumulate", 3), "--batch 16 does not divide into --accumulate 3 equal pieces"),
        (("--accumulate", 0), "--accumulate 0: give at least 1"),
        (("--check-every", 0), "--check-every 0: give at least 1"),
        (("--seed", -1), "--seed -1 is negative"),
        (("--limit", 0), "--limit 0: use at least 1 image"),
        (("--max-bad-fraction", 5), "--max-bad-fraction 5 is no fraction"),
        (("--epochs", 0), "--epochs 0 has to be above 0"),
        (("--steps", 0), "--steps 0 has to be above 0"),
        (("--steps", 5, "--minutes", 1), "--minutes and --steps contradict each other"),
        (("--epochs", 5, "--minutes", 1), "--epochs and --minutes contradict each other"),
        (("--encoder.heads", 5), "width 24 is not a multiple of heads 5"),
        (("--masks.min-keep", 400), "these settings give no batch: "),
        (("--split", "holdout"), "holdout"),
    ],
)
def test_values_that_cannot_be(craik: Craik, option: tuple[object, ...], message: str) -> None:
    said = craik("train", MICRO, *TOY, "--out", "runs/a", *option)
    assert said.code == 2
    assert message in said.err
    assert not Path("runs").exists()


# 10 and 11: failures of training

COLLAPSING = '''
from dataclasses import replace
from craik.core import Regularizer
from craik.train.optim import AdamW
from tests.micro import Config, build as plain, micro

__all__ = ["Config"]


def falls() -> Config:
    """Embeddings of all images are pulled together."""
    fast = AdamW(lr=5e-3, start_lr=5e-3, final_lr=1e-3, warmup_fraction=0, weight_decay=0, final_weight_decay=0)
    return replace(micro(), optim=fast)


def build(config):
    recipe = plain(config)
    recipe.model.regularizers = {"pull": Regularizer(100.0, lambda z, step: z.var(-2).mean())}
    return recipe
'''


def test_collapse(craik: Craik) -> None:
    Path("falling.py").write_text(COLLAPSING)
    new = ("train", "./falling.py:falls", "--data", "toy:shapes?n=64", "--device", "cpu", "--check-every", 10)
    said = craik(*new, "--checkpoint-every", 10, "--steps", 80, "--out", "runs/a", "--fail-on-collapse", "--json")
    assert said.code == 3
    assert "ALARM step" in said.err
    assert "full collapse. embeddings of different images differ by" in said.err
    assert "Last healthy checkpoint: step" in said.err
    assert "Usual cures: lower the learning rate" in said.err
    assert "full collapse" in json.loads(said.out)["alarms"]
    alarm = next(row for row in RunFolder(Path("runs/a")).rows("events") if row["kind"] == "alarm")
    healthy = alarm["last_healthy"]
    before = Path(f"runs/a/checkpoints/step-{healthy:08d}")
    assert f"craik train RECIPE --init {before} --data PATH --out DIR" in said.err
    assert before.is_dir(), "the checkpoint that is named must be there"
    cured = craik(
        "train",
        MICRO,
        "--data",
        "toy:shapes?n=64",
        "--device",
        "cpu",
        "--steps",
        1,
        "--out",
        "runs/b",
        "--init",
        before,
    )
    assert cured.code == 0 and f"init: all weights from {before}" in cured.err
    told = craik("train", "--resume", "runs/a", "--from-step", healthy, "--stop-at", healthy + 1)
    assert told.code == 130
    assert f"resuming runs/a at step {healthy}" in told.err


@pytest.mark.parametrize(
    ("alarm", "code"),
    [("full collapse", 3), ("dimensional collapse", 3), ("position-only targets", 3), ("throughput drop", 0)],
)
def test_exit_code_of_a_collapsed_run(craik: Craik, run: Path, alarm: str, code: int) -> None:
    result = Result(run, Outcome(4, False, (alarm,), {}), 1.0)
    assert finish(result, fail_on_collapse=True, as_json=False) == code
    assert finish(result, fail_on_collapse=False, as_json=False) == 0, "an alarm alone is no failure"


class Broken(nn.Module):
    """A model whose loss is no number at its third step."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.encoder, self.target, self.predictor = model, model.encoder, model.target, model.predictor

    def forward(self, batch: Any, step: int) -> Any:
        loss = self.model(batch, step)
        return type(loss)(loss.total * (float("nan") if step == 2 else 1.0), loss.terms)


def test_loss_that_is_no_number(craik: Craik) -> None:
    Path("nan.py").write_text(
        "from dataclasses import replace\n"
        "from tests.commands.test_mistakes import Broken\n"
        "from tests.micro import Config, build as plain, micro as start\n\n\n"
        "def third() -> Config:\n    return start()\n\n\n"
        "def build(config):\n    recipe = plain(config)\n"
        "    return replace(recipe, model=Broken(recipe.model), latents=None)\n"
    )
    said = craik("train", "./nan.py:third", *TOY, "--out", "runs/a", "--steps", 5)
    assert said.code == 1
    assert "ALARM step 3: non-finite values" in said.err
    assert "first bad tensor" in said.err
    assert "train/0" in said.err, "the images of the batch are named"
    assert "--init runs/a" in said.err, "a resume would fail again, to the bit"
    saved = torch.load("runs/a/non_finite_batch.pt")
    assert saved["x"].shape[0] == 16


# 12 to 14: runs and weights


def test_existing_run_is_not_overwritten(craik: Craik) -> None:
    new = ("train", MICRO, *TOY, "--steps", 2)
    assert craik(*new, "--out", "runs/my run").code == 0
    before = weights(Path("runs/my run"))
    said = craik(*new, "--out", "runs/my run")
    assert said.code == 2
    assert "runs/my run holds a run already (step 2 of 2)" in said.err
    assert "craik train --resume 'runs/my run'" in said.err, "the command can be pasted"
    assert "--overwrite" in said.err
    assert same(before, weights(Path("runs/my run")))
    assert craik(*new, "--out", "runs/my run", "--overwrite", "--seed", 1).code == 0
    assert not same(before, weights(Path("runs/my run")))


@pytest.mark.parametrize("kind", ["file", "full folder", "below a file"])
def test_out_that_cannot_be_a_run(craik: Craik, kind: str) -> None:
    Path("thing").write_text("") if kind != "full folder" else write_images(Path("thing"), 1)
    said = craik("train", MICRO, *TOY, "--out", "thing/run" if kind == "below a file" else "thing", "--steps", 1)
    assert said.code == 2
    assert "--out thing" in said.err
    assert "plan:" not in said.err, "it is refused before any work"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_out_without_permission(craik: Craik) -> None:
    Path("locked").mkdir(mode=0o500)
    said = craik("train", MICRO, *TOY, "--out", "locked/a", "--steps", 1)
    assert said.code == 2
    assert "locked cannot be written" in said.err


def test_resume_with_another_architecture(craik: Craik, run: Path) -> None:
    said = craik("train", MICRO, "--resume", run, "--encoder.depth", 3, "--patch", 8)
    assert said.code == 2
    assert "encoder.depth: 2 -> 3; patch: 4 -> 8" in said.err
    assert "start a new one" in said.err


@pytest.mark.parametrize("option", [("--steps", "9"), ("--data=photos",), ("--out", "b")])
def test_resume_with_what_a_run_keeps(craik: Craik, run: Path, option: tuple[str, ...]) -> None:
    said = craik("train", "--resume", run, *option)
    assert said.code == 2
    assert f"{option[0].split('=')[0]}: a run goes on as it began" in said.err
    assert f"--init {run}" in said.err


def test_resume_without_a_run(craik: Craik, run: Path) -> None:
    said = craik("train", "--resume", "runs/a")
    assert said.code == 2
    assert "runs/a: no such folder. Start one: craik train" in said.err
    said = craik("train", "--resume", run / "model")
    assert said.code == 2
    assert "is a model folder, not a run" in said.err


def test_resume_with_options_that_a_run_keeps(craik: Craik, run: Path) -> None:
    for option in ("--labels", "--limit", "--max-bad-fraction", "--check-every", "--precision", "-o"):
        said = craik("train", "--resume", run, option, 1)
        assert said.code == 2
        assert f"{option}: a run goes on as it began" in said.err
    said = craik("train", "--resume", run, "--workers", 0)
    assert said.code == 2
    assert "--workers 0: give at least 1" in said.err
    said = craik("train", "--resume", run, "--stop-at", 3)
    assert said.code == 2
    assert "--stop-at 3" in said.err and "is at step 4 already" in said.err


def test_from_step_before_every_checkpoint_deletes_nothing(craik: Craik, run: Path) -> None:
    here = shutil.copytree(run, "copy")
    said = craik("train", "--resume", here, "--from-step", 2)
    assert said.code == 2
    assert "no checkpoint of step 2 or before; there are: 4" in said.err
    assert same(weights(Path(here)), weights(run))


def test_init_from_another_release(craik: Craik) -> None:
    save(entries(jepa()), Path("weights.pth.tar"))
    said = craik("train", MICRO, *TOY, "--out", "runs/a", "--init", "weights.pth.tar")
    assert said.code == 2
    assert "weights.pth.tar looks like" in said.err
    assert "you asked for" in said.err
    assert not Path("runs").exists()


def test_init_from_another_run(craik: Craik, run: Path) -> None:
    said = craik("train", MICRO, *TOY, "--out", "runs/a", "--init", run, "--encoder.depth", 1)
    assert said.code == 2
    assert "Unexpected: encoder.trunk.blocks.1" in said.err
    said = craik("train", MICRO, *TOY, "--out", "runs/a", "--init", run, "--steps", 1)
    assert said.code == 0
    assert f"init: all weights from {run}" in said.err


def test_probe_with_few_labels(craik: Craik, run: Path) -> None:
    """Images without a label are in neither part; too few with one are told before anything is measured."""
    write_images(Path("photos"), 60)
    rows = [f"{number:03d}.png,{'ab'[number % 2]}" for number in range(0, 60, 7)]
    Path("few.csv").write_text("\n".join(["path,label", *rows[:4]]))
    said = craik("probe", run, "--test", "photos", "--labels", "few.csv")
    assert said.code == 2
    assert "photos: 4 images with a label cannot be divided" in said.err
    Path("nine.csv").write_text("\n".join(["path,label", *rows]))
    said = craik("probe", run, "--test", "photos", "--labels", "nine.csv", "--json")
    assert said.code == 0
    assert "fitting on 7 of these images, scoring on the other 2" in said.err
    assert json.loads(said.out)["num_test"] == 2


def test_init_from_a_checkpoint(craik: Craik, run: Path) -> None:
    """The weights are those that the run had at that step; a damaged one is refused."""
    here = Path(shutil.copytree(run, "copy"))
    (newest, *_) = sorted((here / "checkpoints").glob("step-*"), reverse=True)
    method = find(MICRO)
    model = method.build(method.config).model
    initialize(model, str(newest), "micro")
    assert same(dict(model.state_dict()), weights(run))
    said = craik("train", MICRO, *TOY, "--out", "runs/a", "--init", newest, "--encoder.depth", 1)
    assert said.code == 2
    assert "Unexpected: encoder.trunk.blocks.1" in said.err
    (newest / "__0_0.distcp").write_bytes(b"x")
    said = craik("train", MICRO, *TOY, "--out", "runs/a", "--init", newest)
    assert said.code == 2
    assert "__0_0.distcp is damaged; take another checkpoint of the run" in said.err


NONSENSE = {
    "--patch 0": "patch 0: give at least 1",
    "--encoder.heads 0": "heads 0: give at least 1",
    "--encoder.depth 0": "depth 0: give at least 1",
    "--masks.num-targets 0": "num_targets 0: give at least 1",
    "--masks.num-contexts 0": "num_contexts 0: give at least 1",
    "--masks.target-scale 0 0": "target_scale 0 0: give two numbers in [0, 1], the smaller one first",
    "--masks.context-scale -1 3": "context_scale -1 3: give two numbers in [0, 1]",
    "--masks.aspect -1 2": "aspect -1 2: give two numbers in",
    "--crop-scale 1 0.5": "crop_scale 1 0.5: give two numbers in [0, 1], the smaller one first",
    "--momentum 2 3": "momentum 2 3: give two numbers in [0, 1]",
    "--flip-prob 7": "flip_prob 7: give a number in [0, 1]",
    "--flip-prob nan": "flip_prob nan: give a number in [0, 1]",
    "--optim.lr nan": "AdamW wants lr > 0",
    "--optim.clip-norm 0": "clip_norm 0: give a number above 0",
}


@pytest.mark.parametrize("option", NONSENSE)
def test_numbers_that_make_no_sense(craik: Craik, option: str) -> None:
    said = craik("train", MICRO, *TOY, "--out", "runs/a", "--steps", 1, *option.split())
    assert said.code == 2
    assert NONSENSE[option] in said.err
    assert not Path("runs").exists()


def test_init_from_nothing(craik: Craik) -> None:
    said = craik("train", MICRO, *TOY, "--out", "runs/a", "--init", "runs/b")
    assert said.code == 2
    assert "--init runs/b: no such run, model folder or checkpoint file" in said.err


def test_published_weights_where_a_model_is_wanted(craik: Craik) -> None:
    save(entries(jepa()), Path("weights.pth.tar"))
    said = craik("embed", "weights.pth.tar", "toy:shapes?n=2", "-o", "a.npz")
    assert said.code == 2
    assert "craik weights load weights.pth.tar -o models/a" in said.err
    assert craik("weights", "load", "weights.pth.tar", "-o", "models/a", "--heads", 4).code == 0
    assert craik("embed", "models/a", "toy:shapes?n=2", "-o", "a.npz").code == 0


def test_damaged_weights(craik: Craik) -> None:
    Path("weights.pth.tar").write_bytes(b"half a download")
    said = craik("weights", "info", "weights.pth.tar")
    assert said.code == 2
    assert "damaged or not a torch checkpoint" in said.err


# 15, 17, 18, 19: network, packages, devices, processes


def test_hub_that_cannot_be_reached(run: Path) -> None:
    """Apart from this process: the hub client reads its settings when it is imported."""
    pytest.importorskip("huggingface_hub")
    code = (
        "import craik, sys\nfrom craik.errors import UsageError\n"
        "model = craik.load(sys.argv[1], device='cpu')\n"
        "for work in (lambda: craik.from_pretrained('nobody/nothing'), lambda: model.push_to_hub('nobody/nothing')):\n"
        "    try:\n        work()\n    except UsageError as error:\n        print(error)\n"
    )
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DOWNLOAD_TIMEOUT": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(run)],
        env={**os.environ, **nowhere, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    loading, pushing = done.stdout.splitlines()
    assert "nobody/nothing: no such folder, and the hub cannot be reached or has no such model" in loading
    assert "HF_HOME" in loading
    assert "nobody/nothing: the upload failed" in pushing


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package look as if it were not installed."""

    def hide(package: str) -> None:
        for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, name)
        plain = builtins.__import__

        def blocked(name: str, *rest: Any, **options: Any) -> Any:
            if name == package or name.startswith(f"{package}."):
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)
            return plain(name, *rest, **options)

        monkeypatch.setattr(builtins, "__import__", blocked)
        monkeypatch.setitem(sys.modules, package, None)  # for importlib.import_module

    return hide


def test_tensorboard_is_missing(craik: Craik, absent: Callable[[str], None]) -> None:
    absent("torch.utils.tensorboard")
    said = craik("train", MICRO, *TOY, "--out", "runs/a", "--tensorboard")
    assert said.code == 2
    assert "--tensorboard needs TensorBoard: pip install 'craik[track]'" in said.err
    assert "images" not in said.err, "it is said before any work"


def test_datasets_is_missing(craik: Craik, absent: Callable[[str], None]) -> None:
    absent("datasets")
    said = craik("inspect", "uoft-cs/cifar10")
    assert said.code == 2
    assert "pip install 'craik[hub]'" in said.err


def test_hub_client_is_missing(absent: Callable[[str], None], run: Path) -> None:
    import craik as package
    from craik.errors import UsageError

    absent("huggingface_hub")
    with pytest.raises(UsageError, match=r"from_pretrained needs .* pip install 'craik\[hub\]'"):
        package.from_pretrained("owner/name")


def test_cuda_is_absent(craik: Craik, monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    monkeypatch.setattr(runtime.torch.cuda, "is_available", lambda: False)
    commands = (
        ("train", MICRO, "--data", "toy:shapes?n=64", "--out", "runs/a", "--device", "cuda"),
        ("embed", run, "toy:shapes?n=2", "-o", "a.npz", "--device", "cuda"),
    )
    for command in commands:
        said = craik(*command)
        assert said.code == 2
        assert "--device cuda: this torch" in said.err
        assert torch.__version__ in said.err
        assert "--device cpu" in said.err
    assert "--device gpu: no such device; use auto, cpu, cuda" in craik(*commands[0][:-1], "gpu").err


def test_worker_processes_that_do_not_start(craik: Craik, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    write_images(Path("photos"), 70)
    monkeypatch.setattr(workers.subprocess, "Popen", refuse)
    said = craik("inspect", "photos")
    assert said.code == 0
    assert said.err.count("decoding in threads: worker processes do not start here (no more processes)") == 1


# misspelt names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian", "ijepa:tiny"), "Did you mean craik train?"),
        (("train", "ijpea:tiny"), "Did you mean ijepa?"),
        (("train", "ijepa:tinny"), "Did you mean tiny?"),
        (("train", "./mien.py:a"), "Did you mean mine.py?"),
        (("train", "ijepa:tiny", "--stpes", "3"), "--steps"),
        (("train", "ijepa:tiny", "--optim.lrr", "3"), "--optim.lr"),
        (("train", "ijepa:tiny", "--steps", "many"), "--steps"),
        (("train", "ijepa:tiny", "photos"), "craik train ijepa:tiny --data photos --out runs/a"),
        (("train", "--data", "photos"), "the recipe comes first"),
        (("train", "ijepa:tiny", "--out", "runs/a"), "--data toy:shapes to try it out"),
        (("train", "ijepa:tiny", "--data", "photos"), "craik train ijepa:tiny --data photos --out runs/a"),
        (("train", "--resume", "runs/a", "--form-step", "3"), "runs/a: no such folder"),
        (("embed", "runs/a", "photos", "-o", "a.npz", "--poool", "mean"), "--pool"),
        (("embed", "runs/a", "photos", "-o", "a.txt"), "end it in one of .npz, .parquet, .safetensors"),
        (("embed", "runs/a", "photos", "-o", "a.npz"), "runs/a: no such folder"),
        (("embed", "runs/a"), "PATH"),
        (("probe", "runs/a", "--tset", "photos"), "--test"),
        (("dedup", "runs/a", "photos", "--threshold", "2"), "--threshold 2.0 is no cosine similarity"),
        (("search", "runs/a", "q.png", "--in", "photos", "-o", "a.gif"), "end it in .png"),
        (("weights", "lod", "a"), "did you mean load?"),
        (("weights",), "craik weights info FILE"),
        (("demo", "wrold"), "craik demo images, craik demo world"),
        (("demo", "world", "--steps", "0"), "--second-steps and --episodes of at least 1"),
        (("demo", "--steps", "0"), "--steps of at least 1"),
        (("inspect", "toy:circles"), "toy:shapes"),
        (("report", "runs/a"), "runs/a: no such folder"),
        (("doctor", "--jsn"), "--json"),
        (("recipes", "--jsn"), "--json"),
    ],
)
def test_misspelt(craik: Craik, arguments: tuple[str, ...], message: str) -> None:
    Path("mine.py").write_text("")
    said = craik(*arguments)
    assert said.code == 2
    assert message in said.err


def test_recipe_without_variant_lists_them(craik: Craik) -> None:
    for arguments in (("train", "ijepa"), ("train", "ijepa", "--data", "photos", "--out", "runs/a")):
        said = craik(*arguments)
        assert said.code == 2
        assert "ijepa:vith14_in1k" in said.err
        assert "For example: craik train ijepa:tiny" in said.err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(:\n", "line 1: "),
        ("import torch\nimport no_such_package\n", "line 2: ModuleNotFoundError: No module named 'no_such_package'"),
        ("x = y\n", "line 1: NameError: name 'y' is not defined"),
        ("x = 1\n", "it has to define a dataclass Config and a function build(config)"),
        (
            "from craik.recipes.ijepa import Config, build\n",
            "define a function without arguments that returns a Config",
        ),
    ],
)
def test_broken_recipe_file(craik: Craik, source: str, message: str) -> None:
    Path("mine.py").write_text(source)
    said = craik("train", "./mine.py:big", *TOY, "--out", "runs/a")
    assert said.code == 2
    assert "mine.py" in said.err
    assert message in said.err


# what stops a run from outside


def test_ctrl_c_while_data_is_read(craik: Craik, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("craik.pretrain.prepare.load_images", interrupted)
    said = craik("train", MICRO, *TOY, "--out", "runs/a")
    assert said.code == 130
    assert "interrupted" in said.err
    assert not Path("runs").exists()


def test_interrupted_run_is_gone_on_with(craik: Craik) -> None:
    """The whole way: a run is stopped, refused, gone on with, reported, embedded."""
    write_images(Path("my photos"), 30)
    new = ("train", MICRO, "--data", "my photos", "--device", "cpu", "--out", "runs/a b", "--steps", 12)
    plain, calls = Stepper.train_step, iter(range(1000))

    def stop_at_fifth(self: Stepper, samples: Any) -> Any:
        if next(calls) == 5:
            import signal

            signal.raise_signal(signal.SIGINT)
        return plain(self, samples)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "train_step", stop_at_fifth)
        said = craik(*new)
    assert said.code == 130
    assert "runs/a b: saved at step 6. Go on: craik train --resume 'runs/a b'" in said.err
    assert craik(*new).code == 2
    assert craik("embed", "runs/a b", "my photos", "-o", "half.npz").code == 0, "a stopped run can be used"
    said = craik("train", "--resume", "runs/a b")
    assert said.code == 0
    assert "resuming runs/a b at step 6 of 12" in said.err
    assert "done, 12 steps" in said.err
    assert craik("embed", "runs/a b", "my photos", "-o", "whole.npz").code == 0
    assert "exists; name another file, or --overwrite" in craik("embed", "runs/a b", "my photos", "-o", "whole.npz").err


def test_full_disk_is_told_without_a_traceback(craik: Craik, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = craik("embed", run, "toy:shapes?n=2", "-o", "a.npz")
    assert said.code == 1
    assert "No space left on device" in said.err
    assert not list(Path().glob("*a.npz*"))
