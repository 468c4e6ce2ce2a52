"""The Hugging Face layout, in both namings, in and out; transformers is the judge."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from craik.errors import UsageError
from craik.nn.conv import ConvEncoder
from craik.weights import export_hf, info, load
from craik.weights.hf_ijepa import KEYS_5
from craik.weights.keys import hand_over
from tests.weights.networks import encoder


@pytest.fixture(scope="module")
def transformers():
    os.environ["HF_HUB_OFFLINE"] = "1"
    return pytest.importorskip("transformers")


def features(transformers, folder: Path, x: torch.Tensor, **options) -> torch.Tensor:
    model = transformers.IJepaModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(pixel_values=x, **options).last_hidden_state


@pytest.mark.slow
def test_export_gives_transformers_the_same_features(transformers, tmp_path: Path) -> None:
    ours, x = encoder(), torch.randn(2, 3, 32, 32)
    folder = export_hf(ours, tmp_path / "out")
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    theirs = features(transformers, folder, x)
    assert (theirs - ours(x).x).abs().max() < 1e-5
    wide = torch.randn(1, 3, 24, 48)
    theirs = features(transformers, folder, wide, interpolate_pos_encoding=True)
    assert (theirs - ours(wide).x).abs().max() < 1e-5


@pytest.mark.slow
def test_export_for_another_image_size(transformers, tmp_path: Path) -> None:
    ours, x = encoder(), torch.randn(2, 3, 48, 48)
    folder = export_hf(ours, tmp_path / "out", 48)
    assert (features(transformers, folder, x) - ours(x).x).abs().max() < 1e-5
    assert load(folder).image_size == (48, 48)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)
    assert (processor.size["height"], processor.size["width"]) == (48, 48)


def test_export_and_load_are_inverse(tmp_path: Path) -> None:
    ours = encoder()
    folder = export_hf(ours, tmp_path / "out", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    loaded = load(folder)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(loaded.encoder.state_dict()[name], tensor), name
    assert (loaded.mean, loaded.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert loaded.predictor is None and loaded.target_encoder is None and loaded.classifier is None
    assert info(folder).layout == "Hugging Face I-JEPA (2024 names)"
    assert info(folder).size.heads == 4


@pytest.mark.slow
@pytest.mark.parametrize("eps", [1e-12, 1e-6])
def test_any_model_that_transformers_writes(transformers, tmp_path: Path, eps: float) -> None:
    """Other sizes, and the norm's eps from config.json: tokens of tiny amplitude make it matter."""
    torch.manual_seed(0)
    config = transformers.IJepaConfig(
        hidden_size=40,
        num_hidden_layers=3,
        num_attention_heads=5,
        intermediate_size=88,
        image_size=20,
        patch_size=4,
        layer_norm_eps=eps,
    )
    model = transformers.IJepaModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        model.embeddings.patch_embeddings.projection.weight *= 1e-4
        model.embeddings.patch_embeddings.projection.bias.zero_()
        model.embeddings.position_embeddings *= 1e-3
    model.save_pretrained(tmp_path / "out")
    x = torch.randn(2, 3, 20, 20)
    with torch.no_grad():
        assert (load(tmp_path / "out").encoder(x).x - model(x).last_hidden_state).abs().max() < 1e-5


def rename_to_5(folder: Path, prefix: str) -> None:
    """Write the tensors of an exported folder under the names of transformers 5."""
    ours = load(folder).encoder
    tensors = hand_over(ours.state_dict(), KEYS_5, 3, ours.tokenizer.patch)
    save_file({prefix + key: tensor for key, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("prefix", ["", "ijepa."])
def test_names_of_transformers_5(tmp_path: Path, prefix: str) -> None:
    ours, x = encoder(), torch.randn(2, 3, 32, 32)
    folder = export_hf(ours, tmp_path / "out")
    rename_to_5(folder, prefix)
    assert f"{prefix}layers.0.attention.q_proj.weight" in load_file(folder / "model.safetensors")
    assert torch.equal(load(folder).encoder(x).x, ours(x).x)
    assert info(folder).layout == "Hugging Face I-JEPA (transformers 5 names)"


@pytest.mark.slow
def test_names_of_transformers_5_are_those_of_its_modules(transformers) -> None:
    config = transformers.IJepaConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, image_size=32, patch_size=8
    )
    theirs = transformers.IJepaModel(config, add_pooling_layer=False).state_dict()
    ours = encoder()
    mine = hand_over(ours.state_dict(), KEYS_5, 3, ours.tokenizer.patch)
    assert {key: tensor.shape for key, tensor in mine.items()} == {key: t.shape for key, t in theirs.items()}


def test_shards(tmp_path: Path) -> None:
    ours = encoder()
    folder = export_hf(ours, tmp_path / "out")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {key: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, key in enumerate(tensors)}
    for name in set(where.values()):
        save_file({key: tensors[key] for key in where if where[key] == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(load(folder).encoder(x).x, ours(x).x)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../secret"}}))
    with pytest.raises(UsageError, match="weight_map"):
        load(folder)


def test_a_lone_file_needs_heads(tmp_path: Path) -> None:
    folder = export_hf(encoder(), tmp_path / "out")
    (folder / "config.json").unlink()
    with pytest.raises(UsageError, match="--heads"):
        load(folder / "model.safetensors")
    assert load(folder / "model.safetensors", heads=4).image_size == (32, 32)
    assert info(folder / "model.safetensors").size is None


def test_heads_against_config(tmp_path: Path) -> None:
    folder = export_hf(encoder(), tmp_path / "out")
    with pytest.raises(UsageError, match=r"config.json says 4 heads, you asked for 2"):
        load(folder, heads=2)


def test_wrong_keys_are_named(tmp_path: Path) -> None:
    folder = export_hf(encoder(), tmp_path / "out")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.attention.attention.key.bias"]
    tensors["decoder.weight"] = torch.zeros(2)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UsageError) as error:
        load(folder)
    assert "missing encoder.layer.1.attention.attention.key.bias" in str(error.value)
    assert "unexpected decoder.weight [2]" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"model_type": "vit"}, "type 'vit'; expected 'ijepa'"), ({"hidden_act": "gelu_new"}, "only 'gelu'")],
)
def test_other_models_are_refused(tmp_path: Path, change: dict[str, str], message: str) -> None:
    folder = export_hf(encoder(), tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UsageError, match=message):
        load(folder)


def test_folders_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no model.safetensors"):
        load(tmp_path)
    folder = export_hf(encoder(), tmp_path / "out")
    (folder / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"config.json is not readable JSON"):
        load(folder)


def test_export_never_overwrites_and_leaves_no_scraps(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    folder = export_hf(encoder(), tmp_path / "out")  # an empty folder is fine
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="not empty"):
        export_hf(encoder(seed=5), folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_the_layout_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ConvEncoder"):
        export_hf(ConvEncoder((8, 16)), tmp_path / "out")
    bare = encoder()
    bare.position = None
    with pytest.raises(UsageError, match="no position table"):
        export_hf(bare, tmp_path / "out")
    assert not (tmp_path / "out").exists()
