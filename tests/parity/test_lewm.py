"""LeWorldModel: encoding, predictor, rollout, training loss, gradients and running statistics."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from craik.core.batch import Batch, Part
from craik.core.latent_world import LatentWorld, Term, Trajectory
from craik.core.regularize import SIGReg
from craik.nn.action import ActionEncoder
from craik.nn.adaln import MODULATED_EPS
from craik.nn.causal import CausalSize
from craik.nn.projector import shallow_projector
from craik.nn.sizes import Size
from craik.recipes.leworldmodel import Body, build_body
from craik.weights import lewm
from tests.parity.golden import Fixture, assert_output, assert_relative


def build(fixture: Fixture, folder: Path) -> LatentWorld:
    """Our model in the sizes of the config, with the weights of the fixture as a checkpoint file."""
    config = fixture.config
    vit, predictor, actions = config["encoder"], config["predictor"], config["action_encoder"]
    width, frames = actions["emb_dim"], config["train"]["history_size"]
    assert predictor["num_frames"] == frames and predictor["input_dim"] == predictor["output_dim"] == width
    assert predictor["dropout"] == predictor["emb_dropout"] == 0
    assert config["projector"]["hidden_dim"] != config["pred_proj"]["hidden_dim"]
    body = Body(
        image=vit["image_size"],
        patch=vit["patch_size"],
        encoder=Size(
            vit["hidden_size"],
            vit["num_hidden_layers"],
            vit["num_attention_heads"],
            vit["intermediate_size"] / vit["hidden_size"],
        ),
        embedding=width,
        hidden=config["projector"]["hidden_dim"],
        predictor=CausalSize(
            predictor["hidden_dim"],
            predictor["depth"],
            predictor["heads"],
            predictor["dim_head"],
            predictor["mlp_dim"],
        ),
        dropout_prob=predictor["dropout"],
        history=frames,
        skip=1,
        action_size=actions["input_dim"],
        num_steps=config["train"]["num_preds"],
    )
    settings = config["train"]["sigreg"]
    sigreg, raw = SIGReg(settings["num_proj"], num_nodes=settings["knots"]), fixture.inputs["raw_directions"]

    def penalty(trajectory: Trajectory, step: int) -> Tensor:
        return sigreg.statistic(trajectory.latents.transpose(0, 1) @ (raw / raw.norm(dim=0))).mean()

    model = build_body(body, {"sigreg": Term(config["train"]["sigreg_weight"], penalty)})
    model.predictor.head = shallow_projector(width, config["pred_proj"]["hidden_dim"], width)
    model.actions = ActionEncoder(actions["input_dim"], width, actions["smoothed_dim"], actions["mlp_scale"])
    lewm.load_into(model, fixture.checkpoint(folder / "lewm.pt"))
    return model


@torch.no_grad()
def in_evaluation(fixture: Fixture, model: LatentWorld) -> dict[str, Tensor]:
    """The outputs in evaluation mode."""
    model.eval()
    inputs, history = fixture.inputs, fixture.config["train"]["history_size"]
    ours = {"emb": model.encode(inputs["pixels"]), "act_emb": model.actions(model.scale(inputs["actions"]))}
    ours["predict"] = model.predictor(ours["emb"][:, :history], ours["act_emb"][:, :history])
    x, c = inputs["predictor_x"], inputs["predictor_c"]
    ours["predictor_only"] = model.predictor.hidden(x, c)
    for i, state in enumerate(model.predictor.trunk.states(*model.predictor.placed(x, c))):
        ours[f"predictor.block{i}"] = state
    short = fixture.outputs["predictor_short"].shape[1]
    ours["predictor_short"] = model.predictor.hidden(x[:, :short], c[:, :short])
    ours["rollout"] = rollout(fixture, model)
    longest, model.history = model.history, 2
    ours["rollout_history_2"] = rollout(fixture, model)
    model.history = longest
    ours["predictor_only_f64"] = model.predictor.double().hidden(x.double(), c.double())
    model.float()
    return ours


def rollout(fixture: Fixture, model: LatentWorld) -> Tensor:
    """Context, then what is imagined, for every candidate: [B, S, T + H, D]."""
    past, candidates = fixture.inputs["action_history"], fixture.inputs["candidates"]
    seen = model.encode(fixture.inputs["rollout_pixels"]).repeat_interleave(candidates.shape[1], 0)
    imagined = model.rollout(seen, past.flatten(0, 1), candidates.flatten(0, 1))
    return torch.cat([seen, imagined], 1).unflatten(0, candidates.shape[:2])


def in_training(fixture: Fixture, model: LatentWorld) -> dict[str, Tensor]:
    """Loss of one pass with batch statistics; gradients and running statistics stay in the model."""
    model.train()
    frames, actions = fixture.inputs["pixels"], fixture.inputs["actions"]
    captured: dict[str, Tensor] = {}
    handles = [
        model.predictor.register_forward_hook(lambda module, args, out: captured.update(pred=out)),
        model.perception.register_forward_hook(lambda module, args, out: captured.update(emb=out)),
    ]
    loss = model(Batch((Part(frames, cond=actions),)), step=0)
    for handle in handles:
        handle.remove()
    loss.total.backward()
    ours = {
        "train.loss": loss.total,
        "train.pred_loss": loss.terms["energy"],
        "train.sigreg_loss": loss.terms["sigreg"],
    }
    ours |= {"train.pred": captured["pred"], "train.emb": captured["emb"].unflatten(0, frames.shape[:2])}
    for name, module in (("projector", model.perception.head), ("pred_proj", model.predictor.head)):
        for statistic in ("running_mean", "running_var"):
            ours[f"train.after.{name}.net.1.{statistic}"] = module[1].get_buffer(statistic)
    return ours


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("lewm")


@pytest.fixture(scope="module")
def trained(fixture: Fixture, tmp_path_factory: pytest.TempPathFactory) -> tuple[LatentWorld, dict[str, Tensor]]:
    model = build(fixture, tmp_path_factory.mktemp("lewm"))
    return model, in_training(fixture, model)


def test_outputs(fixture: Fixture, trained: tuple[LatentWorld, dict[str, Tensor]], tmp_path: Path) -> None:
    ours = in_evaluation(fixture, build(fixture, tmp_path)) | trained[1]
    assert sorted(ours) == sorted(fixture.outputs)
    for name, golden in fixture.outputs.items():
        tolerance = 1e-9 if name.endswith("_f64") else fixture.config["tolerance"]["abs"]
        assert_output(ours[name].reshape(golden.shape) if golden.numel() == 1 else ours[name], golden, tolerance, name)


def test_gradients(fixture: Fixture, trained: tuple[LatentWorld, dict[str, Tensor]]) -> None:
    """Norm of every gradient, relative to the largest: some are true zeros."""
    theirs = fixture.json("grad_norms.json")
    largest, compared = max(theirs.values()), set()
    for name, grads in gradients(trained[0]).items():
        gap = abs(grads.double().norm().item() - theirs[name])
        assert gap <= fixture.config["tolerance"]["grad_rel"] * largest, f"{name}: {gap:.1e}"
        compared.add(name)
    assert compared == set(theirs)


def gradients(model: LatentWorld) -> dict[str, Tensor]:
    """Our gradients under the published names; the fused q, k, v of the encoder in three."""
    maps = {
        "perception.encoder": lewm.ENCODER_5,
        "perception.head": lewm.PROJECTOR,
        "predictor": lewm.PREDICTOR,
        "actions": lewm.ACTIONS,
    }
    found: dict[str, Tensor] = {}
    for name, keys in maps.items():
        for ours, parameter in model.get_submodule(name).named_parameters():
            assert parameter.grad is not None, ours
            group = keys.theirs(ours)
            found |= dict(zip(group, parameter.grad.chunk(len(group)), strict=True))
    return found


def test_norms(fixture: Fixture, trained: tuple[LatentWorld, dict[str, Tensor]]) -> None:
    """The eps of each kind of norm: too small to be seen in outputs of order one."""
    model = trained[0]
    assert {m.eps for m in model.perception.encoder.modules() if isinstance(m, nn.LayerNorm)} == {1e-12}
    assert {m.eps for m in model.predictor.modules() if isinstance(m, nn.LayerNorm)} == {1e-5}
    assert MODULATED_EPS == 1e-6


def test_scale_undoes_the_units_of_actions(fixture: Fixture, tmp_path: Path) -> None:
    """Actions in other units, with their statistics in the model, give the same rollout."""
    model = build(fixture, tmp_path).eval()
    size = fixture.config["action_encoder"]["input_dim"]
    mean, std = torch.linspace(-1, 1, size), torch.linspace(0.5, 2, size)
    with torch.no_grad():
        expected = rollout(fixture, model)
        model.scale.set(mean, std)
        past, candidates = (fixture.inputs[name] * std + mean for name in ("action_history", "candidates"))
        seen = model.encode(fixture.inputs["rollout_pixels"]).repeat_interleave(candidates.shape[1], 0)
        ours = model.rollout(seen, past.flatten(0, 1), candidates.flatten(0, 1))
    golden = fixture.outputs["rollout"][:, :, seen.shape[1] :].flatten(0, 1)
    assert_output(ours, golden, fixture.config["tolerance"]["abs"])
    assert_relative(ours, expected[:, :, seen.shape[1] :].flatten(0, 1), 1e-5)
