"""Forward passes of the published V-JEPA 2: rotary encoder and predictor, other sizes, and the variants of the encoder.

Left out is `anticipation`, the optional wrapper around encoder and predictor.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from craik.core.tokens import take
from craik.nn.encoder import Encoder
from craik.nn.position import Rotary, Table, rotate
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.weights import LoadedWeights, vjepa
from craik.weights.keys import KeyMap, take_over
from craik.weights.video import video_rotary
from tests.parity.golden import Fixture, assert_close, assert_output
from tests.parity.video import open_networks, pair, part_of, solve, stacked, states, weights_of


def variant(fixture: Fixture, name: str) -> Encoder:
    """An encoder of the fixture that stands in no official file. One for images has tubelets of a single frame."""
    c = fixture.config[name]
    size = Size(c["embed_dim"], c["depth"], c["num_heads"], c["mlp_ratio"])
    if c.get("use_silu"):
        wide = int(2 * size.hidden / 3)
        hidden = -(-wide // 8) * 8 if c["wide_silu"] else size.hidden
        size = replace(size, mlp_ratio=hidden / size.width, gated=True)
    tubelet = 1 if c["num_frames"] == 1 else c["tubelet_size"]
    tokenizer = Patchify(c["in_chans"], (tubelet, *pair(c["patch_size"])), size.width, ("t", "h", "w"))
    grid = tokenizer.grid((c["num_frames"], *pair(c["img_size"])))
    position = None if c["use_rope"] else Table(grid, size.width, keeps_pace=True)
    encoder = Encoder(tokenizer, size, position, video_rotary(size) if c["use_rope"] else None)
    keys = vjepa.encoder_keys(c["use_rope"])
    parts = {**keys.parts, "mlp.fc3": ("mlp.fc3",)}
    theirs = take_over(weights_of(fixture, name), encoder.state_dict(), KeyMap(keys.plain, keys.block, parts), name)
    encoder.load_state_dict(theirs)
    return encoder.eval()


def all_tokens(loaded: LoadedWeights, clips: Tensor, masks: tuple[Tensor, Tensor], drop: int) -> Tensor:
    """Outputs at context and target tokens in the order of their positions, the last few never there, [B, K, D]."""
    predictor = loaded.predictor
    where = loaded.encoder.grid(tuple(clips.shape[2:])).coords()[masks[1]].unsqueeze(1)
    x, at = predictor.task(loaded.encoder(clips, keep=masks[0]), where, 0, None)
    order = torch.cat(masks, 1).argsort(1)[:, :-drop]
    out: Tensor = predictor.proj(predictor.trunk(take(x, order), take(at, order)))
    return out


@torch.no_grad()
def compute(fixture: Fixture, folder: Path) -> dict[str, Tensor]:
    """All outputs of the fixture but the optional ones, computed with our parts."""
    loaded, inputs, c = open_networks(fixture, folder, "vjepa2"), fixture.inputs, fixture.config
    encoder, clips = loaded.encoder, inputs["clips"]
    contexts, targets = fixture.listed("masks_enc"), fixture.listed("masks_pred")
    ours = {"encoder_full": encoder(clips).x, "encoder_low_amplitude": encoder(clips * 0.002).x}
    ours |= {f"encoder_full.block{i}": state for i, state in enumerate(states(encoder, clips))}
    for k, (context, pred) in enumerate(solve(loaded, part_of(clips, contexts, targets, range(len(targets))))):
        ours |= {f"encoder_masked.{k}": context, f"predictor.{k}": pred}
    ours["encoder_list_of_masks"] = stacked(encoder, clips, [contexts[0], contexts[0].flip(1)])
    others = fixture.listed("clips_other_size")
    for k, other in enumerate(others):
        ours[f"encoder_other_size.{k}"] = encoder(other).x
    ours["encoder_other_size_masked"] = encoder(others[1], keep=inputs["other_size_mask"]).x
    ours["encoder_image_as_clip"] = encoder(inputs["images"]).x  # stands still for one tubelet
    chopped = c["predictor_all_tokens"]["chop_last_n_tokens"]
    ours["predictor_return_all_tokens"] = all_tokens(loaded, clips, (contexts[0], targets[0]), chopped)
    ours |= variants(fixture, clips, others)
    probe = Rotary(inputs["rope_probe"].shape[-1], 1, tiled=True)
    ours["rope_probe_rotated"] = rotate(inputs["rope_probe"], probe(inputs["rope_probe_positions"][None, :, None]))
    for network in (loaded.encoder, loaded.predictor):
        network.double()
    ours["encoder_full_f64"] = encoder(clips.double()).x
    for k, (_, pred) in enumerate(solve(loaded, part_of(clips.double(), contexts, targets, range(len(targets))))):
        ours[f"predictor_f64.{k}"] = pred
    return {name: tensor for name, tensor in ours.items() if name in fixture.outputs}


def variants(fixture: Fixture, clips: Tensor, others: list[Tensor]) -> dict[str, Tensor]:
    """Encoders of images, with a gated MLP, and with tables instead of rotary positions."""
    inputs, still = fixture.inputs, variant(fixture, "image_encoder")
    ours = {
        "image_encoder": still(inputs["images"]).x,
        "image_encoder_other_size": still(inputs["images_other_size"]).x,
    }
    ours["image_encoder_masked"] = still(inputs["images"], keep=inputs["image_mask"]).x
    ours["silu_encoder"] = variant(fixture, "silu_encoder")(clips).x
    tables = variant(fixture, "sincos_encoder")
    ours["sincos_encoder"] = tables(clips).x
    num = fixture.outputs["sincos_encoder_fewer_frames"].shape[1] * clips.shape[2] // ours["sincos_encoder"].shape[1]
    ours["sincos_encoder_fewer_frames"] = tables(clips[:, :, :num]).x
    by_tokens = {tables.grid(tuple(other.shape[2:])).num_tokens: other for other in others}
    ours["sincos_encoder_other_size"] = tables(by_tokens[fixture.outputs["sincos_encoder_other_size"].shape[1]]).x
    return ours


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("vjepa2_model")


@pytest.fixture(scope="module")
def ours(fixture: Fixture, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return compute(fixture, tmp_path_factory.mktemp("vjepa2"))


def test_every_output_is_compared(fixture: Fixture, ours: dict[str, Tensor]) -> None:
    assert sorted(ours) == sorted(set(fixture.outputs) - {"anticipation"})


def test_outputs(fixture: Fixture, ours: dict[str, Tensor]) -> None:
    for name, mine in ours.items():
        golden = fixture.outputs[name]
        if golden.dtype == torch.float64:
            assert mine.dtype == torch.float64
            assert_close(mine, golden, 1e-9, name)
        else:
            assert_output(mine, golden, fixture.config["tolerance"]["abs"], name)


@torch.no_grad()
def test_the_correct_rotation_is_another_one(fixture: Fixture, tmp_path: Path) -> None:
    """The weights want the published slip: without it outputs are far off."""
    loaded = open_networks(fixture, tmp_path, "vjepa2")
    rotary = loaded.encoder.trunk.rotary
    assert rotary is not None and rotary.tiled
    rotary.tiled = False
    gap = (loaded.encoder(fixture.inputs["clips"]).x - fixture.outputs["encoder_full"]).abs().max()
    assert float(gap) > 1e-2
