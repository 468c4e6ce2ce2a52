"""The published training steps of V-JEPA 2-AC: losses, gradients and AdamW, with the parts that we train with."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from craik.core.batch import Batch, Part
from craik.core.target import layer_normalize
from craik.nn.action import ActionScale
from craik.nn.frame_predictor import FramePredictor
from craik.nn.motion import PoseMotion
from craik.nn.perception import FrozenPatches
from craik.recipes.vjepa2_ac import ActionConditioned, StableAdamW
from craik.train.optim import build_adamw, set_schedules
from craik.weights import vjepa2_ac
from tests.parity.golden import Fixture, assert_close, assert_relative
from tests.parity.test_vjepa2_ac_model import other
from tests.parity.video import checkpoint, pair

DTYPES = [("", torch.float32), ("_f64", torch.float64)]


def build(fixture: Fixture, folder: Path, dtype: torch.dtype) -> ActionConditioned:
    c = fixture.config
    loaded = vjepa2_ac.load(
        checkpoint(fixture, folder / f"{dtype}.pt"),
        heads=c["encoder"]["num_heads"],
        predictor_heads=c["predictor"]["num_heads"],
        image_size=pair(c["encoder"]["img_size"]),
    )
    sizes = c["predictor"]["action_embed_dim"]
    model = ActionConditioned(
        FrozenPatches(loaded.encoder, layer_normalize),
        ActionScale(sizes),
        ActionScale(sizes),
        PoseMotion(),
        loaded.predictor,
        history=99,
        num_steps=c["train"]["auto_steps"],
    )
    return model.to(dtype).train()


def batch_of(fixture: Fixture, dtype: torch.dtype) -> Batch:
    x = {name: tensor.to(dtype) for name, tensor in fixture.inputs.items()}
    num = x["actions"].shape[1]
    cond = torch.cat([x["actions"], x["states_all"][:, :num]], -1)
    return Batch((Part(x["clips"].transpose(1, 2), cond=cond),))


def published(predictor: FramePredictor, which: Callable[[torch.nn.Parameter], Tensor | None]) -> dict[str, Tensor]:
    """What is asked of each parameter, under its published name."""
    keys = vjepa2_ac.predictor_keys(2)
    found = {keys.theirs(ours)[0]: which(p) for ours, p in predictor.named_parameters()}
    return {name: tensor.detach().clone() for name, tensor in found.items() if tensor is not None}


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("vjepa2_ac")


@pytest.mark.parametrize(("suffix", "dtype"), DTYPES)
def test_losses_and_predictions(fixture: Fixture, tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    model, batch = build(fixture, tmp_path, dtype), batch_of(fixture, dtype)
    loss, out = model(batch), fixture.outputs
    bound = 1e-9 if suffix else 1e-5
    assert_close(loss.terms["energy"].view(1), out[f"loss_teacher_forcing{suffix}"], bound)
    assert_close(loss.terms["rollout"].view(1), out[f"loss_rollout{suffix}"], bound)
    assert torch.equal(loss.total, loss.terms["energy"] + loss.terms["rollout"])
    if not suffix:
        latents, told = model.observe(batch.parts[0])
        forced = model.next(latents[:, :-1], told)
        assert_close(forced.flatten(1, 2), out["z_teacher_forcing"], bound)
        states = fixture.inputs["states_all"][:, :1]
        first = model.rollout(latents[:, :1], told[0][:, :0], told[0][:, :1], states=states)
        assert_close(first.flatten(1, 2), out["z_rollout"].unflatten(1, (2, -1))[:, 0], bound)


@pytest.mark.parametrize(("suffix", "dtype"), DTYPES)
def test_training(fixture: Fixture, tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    """Gradients of the first step; learning rates, losses and parameters of all."""
    model, c = build(fixture, tmp_path, dtype), fixture.config["train"]
    settings, after = c["init_opt"], fixture.json(f"after_steps{suffix}.json")
    steps = settings["iterations_per_epoch"] * settings["num_epochs"]
    settled = StableAdamW(
        lr=settings["ref_lr"],
        start_lr=settings["start_lr"],
        final_lr=settings["final_lr"],
        warmup_fraction=settings["warmup"] * settings["iterations_per_epoch"] / steps,
        anneal_fraction=settings["anneal"] * settings["iterations_per_epoch"] / steps,
        weight_decay=settings["wd"],
        final_weight_decay=settings["final_wd"],
    )
    lr, weight_decay = settled.lr_schedule(steps), settled.weight_decay_schedule(steps)
    optimizer = build_adamw(settled, [model.predictor])
    for step in range(c["n_steps"]):
        set_schedules(optimizer, lr(step + 1), weight_decay(step + 1))
        loss = model(batch_of(fixture, dtype), step)
        optimizer.zero_grad()
        loss.total.backward()
        if step == 0:
            check_gradients(fixture, published(model.predictor, lambda p: p.grad), suffix)
        optimizer.step()
        log = after["log"][step]
        assert lr(step + 1) == pytest.approx(log["lr"], rel=1e-12)
        assert weight_decay(step + 1) == pytest.approx(log["weight_decay"], rel=1e-12)
        assert float(loss.total.detach()) == pytest.approx(log["loss_before_update"], abs=1e-5)
    assert all(p.grad is None for p in model.encoder.parameters())
    check_parameters(after["predictor"], published(model.predictor, lambda p: p), dtype)


def check_gradients(fixture: Fixture, ours: dict[str, Tensor], suffix: str) -> None:
    norms = fixture.json(f"grad_norms{suffix}.json")["predictor"]
    assert sorted(ours) == sorted(name for name, norm in norms.items() if norm is not None)
    for name, gradient in ours.items():
        assert float(gradient.norm()) == pytest.approx(norms[name], rel=1e-4, abs=1e-9), name
        whole = fixture.outputs.get(f"grad.predictor.{name}")
        if whole is not None and not suffix:
            assert_relative(gradient, whole, fixture.config["tolerance"]["grad_rel"], name)


def check_parameters(golden: dict[str, dict[str, float]], ours: dict[str, Tensor], dtype: torch.dtype) -> None:
    assert sorted(ours) == sorted(name for name in golden if name not in vjepa2_ac.UNUSED["predictor"])
    for name, tensor in ours.items():
        if dtype == torch.float32 and name.endswith("attn.qkv.bias"):
            continue  # its key third has no true gradient: Adam divides rounding by rounding
        entry, value = golden[name], tensor.double()
        assert float(value.sum()) == pytest.approx(entry["sum"], abs=1e-4 * entry["abs_sum"], rel=0), name
        assert float(value.abs().sum()) == pytest.approx(entry["abs_sum"], rel=1e-4), name
        assert float(value.norm()) == pytest.approx(entry["l2"], rel=1e-4), name


def test_extrinsics(fixture: Fixture, tmp_path: Path) -> None:
    """A predictor that is told the pose of the camera too: both losses."""
    model = build(fixture, tmp_path, torch.float32)
    model.predictor = other(fixture, "predictor_extrinsics", extrinsics=True)
    latents, told = model.observe(batch_of(fixture, torch.float32).parts[0])
    with torch.no_grad():
        found = model.energies(latents, [*told, fixture.inputs["extrinsics_all"][:, : told[0].shape[1]]])
    assert_close(found[:1], fixture.outputs["extrinsics_loss_teacher_forcing"], 1e-5)
    assert_close(found[1:2], fixture.outputs["extrinsics_loss_rollout"], 1e-5)
