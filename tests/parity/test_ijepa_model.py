"""Forward passes of the published I-JEPA: encoder, predictor, targets, attention."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from craik.core import EMA, Tokens
from craik.nn.encoder import Encoder
from craik.nn.predictor import Predictor
from craik.weights import LoadedWeights, ijepa
from tests.parity.golden import Fixture, assert_close, assert_output


def open_networks(fixture: Fixture, folder: Path, which: str) -> LoadedWeights:
    """The networks of a fixture, by way of an official checkpoint file."""
    config = fixture.config
    images = next(tensor for name, tensor in fixture.inputs.items() if name.startswith("images"))
    loaded = ijepa.load(
        fixture.checkpoint(folder / "weights.pth.tar"),
        which,
        heads=config["encoder"]["num_heads"],
        predictor_heads=config["predictor"]["num_heads"],
        image_size=tuple(images.shape[-2:]),
    )
    for network in (loaded.encoder, loaded.target_encoder, loaded.predictor):
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                assert module.eps == config["norm_eps"]
    return loaded


def published_order(sets: list[Tensor]) -> Tensor:
    """One [B, T, K, D] per context, to [T * contexts * B, K, D]: target set major, then context, then sample."""
    return torch.stack(sets).permute(2, 0, 1, 3, 4).flatten(0, 2)


def contexts(encoder: Encoder, images: Tensor, masks: list[Tensor]) -> list[Tokens]:
    return [encoder(images, keep=mask) for mask in masks]


def stacked_context(seen: list[Tokens]) -> Tensor:
    return torch.cat([tokens.x for tokens in seen])


def predictions(
    encoder: Encoder, predictor: Predictor, seen: list[Tokens], images: Tensor, masks: list[Tensor]
) -> Tensor:
    where = coordinates(encoder, images, masks)
    return published_order([predictor(tokens, where) for tokens in seen])


def coordinates(encoder: Encoder, images: Tensor, masks: list[Tensor]) -> Tensor:
    """Coordinates [B, T, K, 2] of target masks."""
    return encoder.grid(tuple(images.shape[2:])).coords()[torch.stack(masks, 1)]


def predictor_states(encoder: Encoder, predictor: Predictor, seen: list[Tokens], images: Tensor, masks: list[Tensor]):
    """Residual stream after each block of the predictor, context and mask tokens, in the published order."""
    where = coordinates(encoder, images, masks)
    streams: list[list[Tensor]] = []
    inputs: list[tuple[Tensor, Tensor]] = []
    handle = predictor.trunk.register_forward_pre_hook(lambda module, args: inputs.append(args[:2]))
    for tokens in seen:
        predictor(tokens, where)
        states = predictor.trunk.states(*inputs.pop())
        streams.append([state.unflatten(0, where.shape[:2]) for state in states])  # [B, T, Kc + K, Dp]
    handle.remove()
    return [published_order(list(per_context)) for per_context in zip(*streams, strict=True)]


@torch.no_grad()
def compute(fixture: Fixture, folder: Path) -> dict[str, Tensor]:
    """All outputs of the fixture, computed with our parts."""
    online, slow = open_networks(fixture, folder, "encoder"), open_networks(fixture, folder, "target_encoder")
    encoder, predictor, images = online.encoder, online.predictor, fixture.inputs["images"]
    masks_enc, masks_pred = fixture.listed("masks_enc"), fixture.listed("masks_pred")
    mc_enc, mc_pred = fixture.listed("mc_masks_enc"), fixture.listed("mc_masks_pred")
    tokens = encoder.embed(images)
    ours = {"encoder_full": encoder(images).x, "target_encoder_full": slow.encoder(images).x}
    for i, state in enumerate(encoder.trunk.states(tokens.x, tokens.at)):
        ours[f"encoder_full.block{i}"] = state
    block = encoder.trunk.blocks[0]
    ours["attention_block0"] = block.attn.map(block.norm1(tokens.x))

    seen = contexts(encoder, images, masks_enc)
    ours["encoder_masked"] = stacked_context(seen)
    ours["predictor"] = predictions(encoder, predictor, seen, images, masks_pred)
    for i, state in enumerate(predictor_states(encoder, predictor, seen, images, masks_pred)):
        ours[f"predictor.block{i}"] = state

    seen = contexts(encoder, images, mc_enc)
    ours["mc_encoder_masked"] = stacked_context(seen)
    ours["mc_predictor"] = predictions(encoder, predictor, seen, images, mc_pred)
    goals = EMA(slow.encoder).eval()(encoder, images, torch.cat(mc_pred, 1))
    sets = goals.x.unflatten(1, (len(mc_pred), -1))
    ours["mc_targets"] = published_order([sets] * len(mc_enc))

    encoder, predictor, images = encoder.double(), predictor.double(), images.double()
    ours["encoder_full_f64"] = encoder(images).x
    seen = contexts(encoder, images, mc_enc)
    ours["mc_predictor_f64"] = predictions(encoder, predictor, seen, images, mc_pred)
    return ours


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("ijepa_model")


@pytest.fixture(scope="module")
def ours(fixture: Fixture, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return compute(fixture, tmp_path_factory.mktemp("ijepa"))


def test_every_output_is_compared(fixture: Fixture, ours: dict[str, Tensor]) -> None:
    assert sorted(ours) == sorted(fixture.outputs)


def test_float32_outputs(fixture: Fixture, ours: dict[str, Tensor]) -> None:
    for name, golden in fixture.outputs.items():
        if golden.dtype == torch.float32:
            assert_output(ours[name], golden, fixture.config["tolerance"]["abs"], name)


def test_float64_outputs(fixture: Fixture, ours: dict[str, Tensor]) -> None:
    for name, golden in fixture.outputs.items():
        if golden.dtype == torch.float64:
            assert ours[name].dtype == torch.float64
            assert_close(ours[name], golden, 1e-9, name)


def test_position_tables_are_the_published_ones(fixture: Fixture, tmp_path: Path) -> None:
    """Ours, computed, equal to the checkpoint's to rounding (square grids: the published table has no other)."""
    from craik.nn.position import sincos

    loaded = open_networks(fixture, tmp_path, "encoder")
    for network in (loaded.encoder, loaded.predictor):
        table = network.position
        if table.grid.shape[0] != table.grid.shape[1]:
            pytest.skip("the published table is for square grids")
        assert_close(sincos(table.grid.coords(), table.table.shape[1], (1, 0)).float(), table.table, 1e-6, "table")
