"""The published I-JEPA training step: loss, gradients, and AdamW + EMA steps, with the parts that we train with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from craik.core import EMA, JEPA, Batch, Mask, Part
from craik.core.energy import smooth_l1
from craik.core.jepa import Latents
from craik.train.optim import AdamW, build_adamw, set_schedules
from craik.train.schedule import cosine, linear, warmup_cosine
from craik.weights import ijepa
from tests.parity.golden import Fixture, assert_close, assert_relative
from tests.parity.test_ijepa_model import open_networks, published_order

KEY_MAPS = {"encoder": ijepa.ENCODER, "predictor": ijepa.PREDICTOR, "target_encoder": ijepa.ENCODER}


@dataclass
class Outcome:
    """Everything the fixture records, under the names of the published code."""

    predictions: Tensor
    targets: Tensor
    loss: Tensor
    grads: dict[str, Tensor | None]
    log: list[dict[str, float]] = field(default_factory=list)
    after: dict[str, Tensor] = field(default_factory=dict)


def networks(model: JEPA) -> dict[str, nn.Module]:
    return {"encoder": model.encoder, "predictor": model.predictor, "target_encoder": model.target.encoder}


def published_names(network: str, module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters under their published names, in the order in which they are published or not at all."""
    names = {}
    for ours, parameter in module.named_parameters():
        (theirs,) = KEY_MAPS[network].theirs(ours)
        names[f"{network}.{theirs}"] = parameter
    return names


def build_model(fixture: Fixture, folder: Path, dtype: torch.dtype) -> JEPA:
    loaded = open_networks(fixture, folder, "encoder")
    target = EMA(loaded.encoder)
    target.encoder.load_state_dict(loaded.target_encoder.state_dict())
    return JEPA(loaded.encoder, target, loaded.predictor, smooth_l1).to(dtype).train()


def batch_of(fixture: Fixture, images: Tensor) -> Batch:
    target = torch.stack(fixture.listed("masks_pred"), 1)
    return Batch((Part(images, tuple(Mask(context, target) for context in fixture.listed("masks_enc"))),))


def run_training(fixture: Fixture, folder: Path, dtype: torch.dtype) -> Outcome:
    """All steps of the fixture."""
    model = build_model(fixture, folder, dtype)
    images = fixture.inputs["images_per_step"].to(dtype)
    seen = Latents()
    with torch.no_grad():
        model.energies(batch_of(fixture, images[0]).parts[0], seen)
    goals = [goal.x.unflatten(1, pred.shape[1:3]) for goal, pred in zip(seen.goal, seen.pred, strict=True)]
    outcome = Outcome(published_order(seen.pred), published_order(goals), torch.empty(()), {})

    settings = fixture.config["train"]["init_opt"]
    steps = settings["iterations_per_epoch"] * settings["num_epochs"] * settings["ipe_scale"]
    warmup = int(settings["warmup"] * settings["iterations_per_epoch"])
    lr = warmup_cosine(settings["start_lr"], settings["ref_lr"], settings["final_lr"], warmup, int(steps))
    weight_decay = cosine(settings["wd"], settings["final_wd"], int(steps))
    momentum = linear(*fixture.config["train"]["ema"], steps)
    optimizer = build_adamw(AdamW(lr=settings["ref_lr"]), [model.encoder, model.predictor])
    for step, x in enumerate(images):
        set_schedules(optimizer, lr(step + 1), weight_decay(step + 1))
        loss = model(batch_of(fixture, x), step).total
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            outcome.loss = loss.detach()
            for network in ("encoder", "predictor"):
                named = published_names(network, networks(model)[network])
                outcome.grads |= {name: None if p.grad is None else p.grad.clone() for name, p in named.items()}
        optimizer.step()
        model.target.update(model.encoder, momentum(step))
        record = {"step": step + 1, "lr": lr(step + 1), "weight_decay": weight_decay(step + 1)}
        outcome.log.append(record | {"ema_momentum": momentum(step), "loss_before_update": float(loss.detach())})
    for network, module in networks(model).items():
        outcome.after |= {name: p.detach() for name, p in published_names(network, module).items()}
    return outcome


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("ijepa_train")


@pytest.fixture(scope="module")
def outcomes(fixture: Fixture, tmp_path_factory: pytest.TempPathFactory) -> dict[torch.dtype, Outcome]:
    folder = tmp_path_factory.mktemp("ijepa_train")
    return {dtype: run_training(fixture, folder, dtype) for dtype in (torch.float32, torch.float64)}


def test_every_output_is_compared(fixture: Fixture) -> None:
    known = ("predictions", "targets", "loss", "loss_f64", "grad.", "after_steps_f64.", "grad_f64.", "after_steps.")
    assert [name for name in fixture.outputs if not name.startswith(known)] == []


def test_predictions_targets_and_loss(fixture: Fixture, outcomes: dict[torch.dtype, Outcome]) -> None:
    ours, wide = outcomes[torch.float32], outcomes[torch.float64]
    bound = fixture.config["tolerance"]["loss_abs"]
    assert_close(ours.predictions, fixture.outputs["predictions"], 1e-5, "predictions")
    assert_close(ours.targets, fixture.outputs["targets"], 1e-5, "targets")
    assert_close(ours.loss.reshape(1), fixture.outputs["loss"], bound, "loss")
    assert_close(wide.loss.reshape(1), fixture.outputs["loss_f64"], 1e-9, "loss_f64")


def test_gradients(fixture: Fixture, outcomes: dict[torch.dtype, Outcome]) -> None:
    bound = fixture.config["tolerance"]["grad_rel"]
    compared = [name.removeprefix("grad.") for name in fixture.outputs if name.startswith("grad.")]
    assert compared
    for name in compared:
        golden = fixture.outputs[f"grad.{name}"]
        assert_relative(outcomes[torch.float32].grads[name].view_as(golden), golden, bound, name)


@pytest.mark.parametrize(
    ("file", "dtype"), [("grad_norms.json", torch.float32), ("grad_norms_f64.json", torch.float64)]
)
def test_gradient_norms(fixture: Fixture, outcomes: dict[torch.dtype, Outcome], file: str, dtype: torch.dtype) -> None:
    """Every parameter is there, those without gradient have none, and norms agree."""
    golden = {f"{network}.{name}": norm for network, name, norm in rows(fixture.json(file))}
    ours = outcomes[dtype].grads
    assert sorted(ours) == sorted(golden)
    for name, norm in golden.items():
        if norm is None:
            assert ours[name] is None, name
        else:
            assert float(ours[name].norm()) == pytest.approx(norm, rel=1e-4, abs=1e-9), name


def rows(table: dict[str, Any]) -> list[tuple[str, str, Any]]:
    return [(net, name, entry) for net, part in table.items() if net in KEY_MAPS for name, entry in part.items()]


@pytest.mark.parametrize(
    ("file", "dtype"), [("after_steps.json", torch.float32), ("after_steps_f64.json", torch.float64)]
)
def test_log(fixture: Fixture, outcomes: dict[torch.dtype, Outcome], file: str, dtype: torch.dtype) -> None:
    golden, ours = fixture.json(file)["log"], outcomes[dtype].log
    assert len(ours) == len(golden) == fixture.config["train"]["n_steps"]
    for mine, theirs in zip(ours, golden, strict=True):
        assert mine.keys() == theirs.keys()
        for key, value in theirs.items():
            close = {"abs": 1e-5, "rel": 0} if key == "loss_before_update" else {"rel": 1e-12}
            assert mine[key] == pytest.approx(value, **close), key


@pytest.mark.parametrize(
    ("file", "dtype"), [("after_steps.json", torch.float32), ("after_steps_f64.json", torch.float64)]
)
def test_parameters_after_steps(
    fixture: Fixture, outcomes: dict[torch.dtype, Outcome], file: str, dtype: torch.dtype
) -> None:
    """Sums and norms of every parameter of encoder, predictor and target encoder.

    The key third of qkv.bias has no true gradient, so in float32 Adam divides rounding by rounding there: these
    biases are left to `test_query_and_value_bias_in_float32`.
    """
    golden = {f"{network}.{name}": entry for network, name, entry in rows(fixture.json(file))}
    ours = outcomes[dtype].after
    assert sorted(ours) == sorted(golden)
    for name, entry in golden.items():
        if dtype == torch.float32 and name.endswith("attn.qkv.bias"):
            continue
        value = ours[name].double()
        bound = 1e-4 * entry["abs_sum"]
        assert float(value.sum()) == pytest.approx(entry["sum"], abs=bound, rel=0), name
        assert float(value.abs().sum()) == pytest.approx(entry["abs_sum"], abs=bound, rel=0), name
        assert float(value.norm()) == pytest.approx(entry["l2"], rel=1e-4), name


def test_tensors_after_steps_in_float64(fixture: Fixture, outcomes: dict[torch.dtype, Outcome]) -> None:
    compared = [name for name in fixture.outputs if name.startswith("after_steps_f64.")]
    assert compared
    for name in compared:
        golden = fixture.outputs[name]
        ours = outcomes[torch.float64].after[name.removeprefix("after_steps_f64.")]
        assert_relative(ours.view_as(golden), golden, 1e-6, name)


def test_query_and_value_bias_in_float32(outcomes: dict[torch.dtype, Outcome]) -> None:
    """The thirds with a true gradient agree with float64; the key third is noise in float32."""
    for name, wide in outcomes[torch.float64].after.items():
        if name.endswith("attn.qkv.bias"):
            query, _, value = outcomes[torch.float32].after[name].chunk(3)
            wide_query, _, wide_value = wide.chunk(3)
            assert_relative(torch.cat([query, value]), torch.cat([wide_query, wide_value]), 1e-3, name)
