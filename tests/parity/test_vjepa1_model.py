"""Forward passes of the published V-JEPA 1: encoder, predictor, targets, other clip sizes, images."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from craik.core import EMA, Grid
from craik.nn.encoder import Encoder
from craik.nn.position import Table, sincos
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.weights import ijepa
from craik.weights.keys import take_over
from tests.parity.golden import Fixture, assert_close, assert_output
from tests.parity.video import open_networks, pair, part_of, solve, stacked, states, weights_of


def image_encoder(fixture: Fixture) -> Encoder:
    """The extra image-mode model of the fixture: patches of two axes, row first."""
    c = fixture.config["image_encoder"]
    size = Size(c["embed_dim"], c["depth"], c["num_heads"], c["mlp_ratio"])
    tokenizer = Patchify(c["in_chans"], pair(c["patch_size"]), size.width, ("h", "w"))
    encoder = Encoder(tokenizer, size, position=Table(tokenizer.grid(pair(c["img_size"])), size.width))
    weights = weights_of(fixture, "image_encoder")
    encoder.load_state_dict(take_over(weights, encoder.state_dict(), ijepa.ENCODER, "image_encoder"))
    return encoder.eval()


@torch.no_grad()
def compute(fixture: Fixture, folder: Path) -> dict[str, Tensor]:
    """All outputs of the fixture, computed with our parts."""
    loaded, inputs = open_networks(fixture, folder, "vjepa"), fixture.inputs
    encoder, clips = loaded.encoder, inputs["clips"]
    contexts, targets = fixture.listed("masks_enc"), fixture.listed("masks_pred")
    ours = {"encoder_full": encoder(clips).x}
    ours |= {f"encoder_full.block{i}": state for i, state in enumerate(states(encoder, clips))}
    part = part_of(clips, contexts, targets, range(len(targets)))
    for k, (context, pred) in enumerate(solve(loaded, part)):
        ours |= {f"encoder_masked.{k}": context, f"predictor.{k}": pred}
        ours[f"targets.{k}"] = EMA(loaded.target_encoder).eval()(encoder, clips, targets[k]).x
    ours["encoder_list_of_masks"] = stacked(encoder, clips, [contexts[0], contexts[0].flip(1)])
    for k, other in enumerate(fixture.listed("clips_other_size")):
        ours[f"encoder_other_size.{k}"] = encoder(other).x
    ours["pos_embed"], ours["predictor_pos_embed"] = encoder.position.table[None], loaded.predictor.position.table[None]
    still = image_encoder(fixture)
    ours["image_encoder"] = still(inputs["images"]).x
    ours["image_encoder_other_size"] = still(inputs["images_other_size"]).x
    ours["image_encoder_masked"] = still(inputs["images"], keep=inputs["image_mask"]).x
    for network in (loaded.encoder, loaded.predictor):
        network.double()
    ours["encoder_full_f64"] = encoder(clips.double()).x
    for k, (_, pred) in enumerate(solve(loaded, part_of(clips.double(), contexts, targets, range(len(targets))))):
        ours[f"predictor_f64.{k}"] = pred
    return ours


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("vjepa1_model")


@pytest.fixture(scope="module")
def ours(fixture: Fixture, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return compute(fixture, tmp_path_factory.mktemp("vjepa1"))


def test_every_output_is_compared(fixture: Fixture, ours: dict[str, Tensor]) -> None:
    assert sorted(ours) == sorted(fixture.outputs)


def test_outputs(fixture: Fixture, ours: dict[str, Tensor]) -> None:
    for name, golden in fixture.outputs.items():
        if golden.dtype == torch.float64:
            assert ours[name].dtype == torch.float64
            assert_close(ours[name], golden, 1e-9, name)
        else:
            assert_output(ours[name], golden, fixture.config["tolerance"]["abs"], name)


def test_position_tables_are_the_published_ones(fixture: Fixture, tmp_path: Path) -> None:
    """Ours, computed, equal to the checkpoint's to rounding: time, row, column, the last share cut."""
    loaded = open_networks(fixture, tmp_path, "vjepa")
    for network in (loaded.encoder, loaded.predictor):
        table: Table = network.position
        assert isinstance(table.grid, Grid) and table.grid.axes == ("t", "h", "w")
        assert_close(sincos(table.grid.coords(), table.table.shape[1]).float(), table.table, 1e-6, "table")
