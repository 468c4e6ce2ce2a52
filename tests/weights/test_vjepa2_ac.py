"""The official layout of V-JEPA 2-AC: strict both ways, and what real files carry beside the model is named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from craik.core import Grid
from craik.errors import UsageError
from craik.nn.encoder import Encoder
from craik.nn.frame_predictor import FramePredictor
from craik.nn.sizes import Size
from craik.recipes import vjepa2_ac as recipe
from craik.weights import info, load, vjepa, vjepa2_ac
from craik.weights.published import load_into
from craik.weights.video import video_rotary
from tests.weights.networks import noisy
from tests.weights.video import SIZE, encoder, jepa

NARROW = Size(96, 2, 16)
HEADS = {"heads": SIZE.heads, "predictor_heads": NARROW.heads}
KNOWN_EXTRA = {"opt": {}, "scaler": None, "epoch": 314, "loss": 0.1, "batch_size": 8, "world_size": 32, "lr": 0.0}
CONFIG = recipe.Config(image=32, encoder=SIZE, patch=8, predictor=NARROW, num_frames=4)


def networks(told: tuple[int, ...] = (7, 7)) -> tuple[Encoder, FramePredictor]:
    torch.manual_seed(0)
    predictor = FramePredictor(SIZE.width, NARROW, told, Grid(("h", "w"), (4, 4)), video_rotary(NARROW))
    return encoder(rotary=True), noisy(predictor, 1)


def write(path: Path, **entries: object) -> Path:
    vjepa2_ac.export(path, *networks())
    torch.save(torch.load(path, weights_only=True) | entries, path)
    return path


def edit(path: Path, network: str, key: str, tensor: Tensor | None) -> Path:
    content = torch.load(path, weights_only=True)
    if tensor is None:
        del content[network][vjepa2_ac.PREFIX + key]
    else:
        content[network][vjepa2_ac.PREFIX + key] = tensor
    torch.save(content, path)
    return path


def as_released(path: Path) -> Path:
    """With everything that real files carry beside the model."""
    write(path, **KNOWN_EXTRA)
    edit(path, "encoder", "pos_embed", torch.randn(1, 128, SIZE.width))
    edit(path, "predictor", "extrinsics_encoder.weight", torch.randn(NARROW.width, 6))
    return edit(path, "predictor", "extrinsics_encoder.bias", torch.randn(NARROW.width))


@torch.no_grad()
def test_both_networks_come_back(tmp_path: Path) -> None:
    mine = networks()
    loaded = vjepa2_ac.load(as_released(tmp_path / "a.pt"), **HEADS, image_size=(32, 32))
    frames, told = torch.randn(2, 3, 32, 32), [torch.randn(2, 3, 7), torch.randn(2, 3, 7)]
    assert torch.equal(loaded.encoder(frames).x, mine[0](frames).x)
    latents = torch.randn(2, 3, 16, SIZE.width)
    assert torch.equal(loaded.predictor(latents, told), mine[1](latents, told))
    again = vjepa2_ac.export(tmp_path / "b.pt", loaded.encoder, loaded.predictor)
    first, second = (torch.load(file, weights_only=True) for file in (write(tmp_path / "c.pt"), again))
    for network in ("encoder", "predictor"):
        assert first[network].keys() == second[network].keys()
        assert all(torch.equal(first[network][key], second[network][key]) for key in first[network])


def test_what_is_left_is_named(tmp_path: Path) -> None:
    path = as_released(tmp_path / "a.pt")
    found = info(path)
    assert found.layout == "V-JEPA 2-AC checkpoint"
    assert set(found.extra) == {*KNOWN_EXTRA, "pos_embed", "extrinsics_encoder.weight", "extrinsics_encoder.bias"}
    assert load(path, heads=SIZE.heads, image_size=(32, 32)).name.startswith("V-JEPA 2-AC")
    camera = vjepa2_ac.load(path, **HEADS, image_size=(32, 32), extrinsics=True)
    assert len(camera.predictor.conditions) == 3 and "extrinsics_encoder.weight" not in camera.extra


@pytest.mark.parametrize("key", ["action_encoder.bias", "state_encoder.weight", "predictor_blocks.1.attn.qkv.weight"])
def test_a_missing_tensor_is_named(tmp_path: Path, key: str) -> None:
    path = edit(write(tmp_path / "a.pt"), "predictor", key, None)
    with pytest.raises(UsageError, match=key.replace(".", r"\.")):
        vjepa2_ac.load(path, **HEADS, image_size=(32, 32))


@pytest.mark.parametrize(("network", "key"), [("predictor", "mask_tokens.0"), ("encoder", "cls_token")])
def test_an_unexpected_tensor_is_named(tmp_path: Path, network: str, key: str) -> None:
    path = edit(write(tmp_path / "a.pt"), network, key, torch.zeros(1, 1, 24))
    with pytest.raises(UsageError, match=f"unexpected {key}"):
        vjepa2_ac.load(path, **HEADS, image_size=(32, 32))


def test_an_unknown_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unexpected: decoder"):
        vjepa2_ac.load(write(tmp_path / "a.pt", decoder={}), **HEADS)


@torch.no_grad()
def test_init_of_a_recipe(tmp_path: Path) -> None:
    """Both networks of an official file; of a V-JEPA 2 file, the target encoder alone."""
    model = recipe.world(CONFIG)
    assert "encoder and predictor" in load_into(model, as_released(tmp_path / "a.pt"))
    mine = networks()
    for ours, theirs in ((model.encoder, mine[0]), (model.predictor, mine[1])):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    video = jepa(True, 10)
    path = vjepa.export(tmp_path / "b.pt", video.encoder, video.target.encoder, video.predictor)
    torch.save({k: t for k, t in torch.load(path, weights_only=True).items() if k != "predictor"}, path)
    other = recipe.world(CONFIG)
    assert "predictor starts from random weights" in load_into(other, path)
    for ours, theirs in zip(other.encoder.parameters(), video.target.encoder.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_init_refuses_what_means_something_else(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt")
    untiled = recipe.world(replace(CONFIG, tiled=False))
    with pytest.raises(UsageError, match="tiled"):
        load_into(untiled, path)
    scaled = recipe.world(replace(CONFIG, action_mean=(0.5,) * 7, action_std=(1.0,) * 7))
    with pytest.raises(UsageError, match="raw units"):
        load_into(scaled, path)
    with pytest.raises(UsageError, match="another size"):
        load_into(recipe.world(replace(CONFIG, action_size=4, poses=False)), path)
