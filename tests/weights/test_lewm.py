"""LeWorldModel checkpoints: both namings of the encoder, strictly, all or nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from craik.core.latent_world import LatentWorld
from craik.errors import UsageError
from craik.nn.causal import CausalSize
from craik.nn.sizes import Size
from craik.recipes.leworldmodel import Body, build_body
from craik.weights import lewm

BODY = Body(
    image=16,
    patch=8,
    encoder=Size(24, 2, 3),
    embedding=20,
    hidden=28,
    predictor=CausalSize(width=24, depth=2, heads=2, head_width=5, hidden=16),  # not the embedding: mapped in and out
    skip=2,
)


def model(seed: int, body: Body = BODY) -> LatentWorld:
    torch.manual_seed(seed)
    built = build_body(body, {})
    with torch.no_grad():
        for tensor in (*built.parameters(), *built.buffers()):
            if tensor.is_floating_point():
                tensor += 0.2 * torch.rand(tensor.shape)
    return built.eval()


def published(world: LatentWorld, encoder: lewm.KeyMap) -> dict[str, Tensor]:
    """The tensors under their published names and in their shapes, action statistics left out."""
    found: dict[str, Tensor] = {}
    maps = {
        "perception.encoder": encoder,
        "perception.head": lewm.PROJECTOR,
        "predictor": lewm.PREDICTOR,
        "actions": lewm.ACTIONS,
    }
    for name, keys in maps.items():
        for ours, tensor in world.get_submodule(name).state_dict().items():
            group = keys.theirs(ours)
            found |= dict(zip(group, tensor.chunk(len(group)) if tensor.ndim else (tensor,), strict=True))
    projection = "encoder.embeddings.patch_embeddings.projection.weight"
    found[projection] = found[projection].unflatten(1, (3, 8, 8))
    found["action_encoder.patch_embed.weight"] = found["action_encoder.patch_embed.weight"].unsqueeze(-1)
    return {key: tensor.clone() for key, tensor in found.items()}


@pytest.mark.parametrize("naming", [lewm.ENCODER_4, lewm.ENCODER_5], ids=["transformers4", "transformers5"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".entry.pt"])
def test_every_weight_arrives(tmp_path: Path, naming: lewm.KeyMap, suffix: str) -> None:
    source, target, path = model(0), model(1), tmp_path / f"lewm{suffix}"
    tensors = published(source, naming)
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"model": tensors, "epoch": 3} if suffix == ".entry.pt" else tensors, path)
    scale = target.scale.mean.clone()
    said = lewm.load_into(target, path)
    assert "action statistics are not in it" in said
    for name, tensor in target.state_dict().items():
        expected = scale if name == "scale.mean" else source.state_dict()[name]
        assert name == "scale.std" or torch.equal(tensor, expected), name


def damaged(tensors: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    key = "predictor.transformer.layers.1.mlp.net.4.weight"
    if how == "missing":
        del tensors[key]
    elif how == "shape":
        tensors[key] = tensors[key][:, 1:].clone()
    elif how == "more":
        tensors["predictor.transformer.layers.2.mlp.net.4.weight"] = tensors[key].clone()
    else:
        tensors["decoder.weight"] = tensors[key].clone()
    return tensors


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "missing predictor.transformer.layers.1.mlp.net.4.weight"),
        ("shape", r"is \[24, 15\], expected \[24, 16\]"),
        ("more", "unexpected predictor.transformer.layers.2"),
        ("other", "not a LeWorldModel checkpoint.*unexpected: decoder.weight"),
    ],
)
def test_any_difference_is_refused_whole(tmp_path: Path, how: str, message: str) -> None:
    target, path = model(1), tmp_path / "lewm.safetensors"
    save_file(damaged(published(model(0), lewm.ENCODER_5), how), path)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(UsageError, match=message):
        lewm.load_into(target, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lewm.safetensors"
    save_file(published(model(0), lewm.ENCODER_5), path)
    with pytest.raises(UsageError, match="action_encoder"):
        lewm.load_into(model(1, replace(BODY, skip=3)), path)
