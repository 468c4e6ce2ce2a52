"""The Hugging Face layout of V-JEPA 2: transformers reads what we write; what does not fit is refused by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from craik.core import Tokens
from craik.errors import UsageError
from craik.nn.pooling import AttentivePooler
from craik.weights import hf_vjepa2, info, load
from craik.weights.published import load_into
from tests.weights.networks import encoder as image_encoder
from tests.weights.networks import noisy
from tests.weights.video import SIZE, encoder, jepa, predictor

X = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))


def write(folder: Path, seed: int = 0, **parts: nn.Module) -> Path:
    torch.manual_seed(seed)
    networks = encoder(True, seed), predictor(True, 3, seed + 1)
    return hf_vjepa2.export_hf(*networks, folder, frames=4, image=32, **parts)


def classifier() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    pooler = AttentivePooler(SIZE.width, SIZE.heads, depth=3, eps=1e-6)
    return {"pooler": noisy(pooler, 4), "classifier": noisy(nn.Linear(SIZE.width, 5), 5)}


@pytest.mark.slow
@torch.no_grad()
def test_transformers_gives_the_same(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = write(tmp_path / "a")
    theirs = transformers.VJEPA2Model.from_pretrained(folder).eval()
    ours = load(folder)
    out = theirs(pixel_values_videos=X.transpose(1, 2))
    tokens: Tokens = ours.encoder(X)
    torch.testing.assert_close(tokens.x, out.last_hidden_state, atol=2e-5, rtol=1e-4)
    pred = ours.predictor(tokens, tokens.at.unsqueeze(1), kind=hf_vjepa2.KIND)[:, 0]
    torch.testing.assert_close(pred, out.predictor_output.last_hidden_state, atol=2e-5, rtol=1e-4)
    folder = write(tmp_path / "b", **classifier())
    theirs = transformers.VJEPA2ForVideoClassification.from_pretrained(folder).eval()
    ours = load(folder)
    logits = ours.classifier(ours.pooler(ours.encoder(X).x)[:, 0])
    torch.testing.assert_close(logits, theirs(pixel_values_videos=X.transpose(1, 2)).logits, atol=2e-5, rtol=1e-4)


def test_everything_comes_back(tmp_path: Path) -> None:
    parts = classifier()
    loaded = load(write(tmp_path / "a", **parts))
    assert loaded.predictor is not None and len(loaded.predictor.other_tokens) == 2
    x = torch.randn(2, 7, SIZE.width)
    assert torch.equal(loaded.pooler(x), parts["pooler"](x))
    assert torch.equal(loaded.classifier(x), parts["classifier"](x))
    found = info(tmp_path / "a")
    assert (found.layout, found.frames, found.tubelet, found.image_size) == ("Hugging Face V-JEPA 2", 4, 2, (32, 32))
    assert {part.name for part in found.parts} == {"classifier", "encoder", "pooler", "predictor"}
    assert found.size == SIZE


@pytest.mark.parametrize(
    "key",
    ["encoder.layernorm.bias", "encoder.layer.1.attention.key.weight", "predictor.proj.bias", "pooler.query_tokens"],
)
def test_a_missing_or_renamed_key_is_named(tmp_path: Path, key: str) -> None:
    file = write(tmp_path / "a", **classifier()) / "model.safetensors"
    tensors = load_file(file)
    name = key if key in tensors else f"vjepa2.{key}"
    tensor = tensors.pop(name)
    bare = key.partition(".")[2].replace(".", r"\.")
    save_file(tensors, file)
    with pytest.raises(UsageError, match=bare):
        load(tmp_path / "a")
    save_file(tensors | {f"{name}_renamed": tensor}, file)
    with pytest.raises(UsageError, match=bare):
        load(tmp_path / "a")


def test_other_tensors_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a") / "model.safetensors"
    save_file(load_file(file) | {"decoder.weight": torch.zeros(3)}, file)
    with pytest.raises(UsageError, match=r"not a V-JEPA 2 model.*unexpected: decoder\.weight"):
        load(tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    (tmp_path / "a" / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    save_file({k: v for k, v in load_file(file).items() if k != "decoder.weight"}, file)
    with pytest.raises(UsageError, match="only hidden_act 'gelu'"):
        load(tmp_path / "a")


def test_training_starts_from_it(tmp_path: Path) -> None:
    folder, ours = write(tmp_path / "a"), jepa(True, 3, seed=9)
    assert "encoder, target encoder, predictor from" in load_into(ours, folder, asked="vjepa2:mine")
    loaded = load(folder)
    assert torch.equal(ours.encoder(X).x, loaded.encoder(X).x)
    assert torch.equal(ours.target.encoder(X).x, loaded.encoder(X).x)


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the encoder's positions are not rotary"):
        hf_vjepa2.export_hf(encoder(False), predictor(True, 1), tmp_path / "a", frames=4, image=32)
    with pytest.raises(UsageError, match=r"patches of \(8, 8\) are not"):
        hf_vjepa2.export_hf(image_encoder(), predictor(True, 1), tmp_path / "a", frames=4, image=32)
    with pytest.raises(UsageError, match="give both, or none"):
        write(tmp_path / "a", pooler=classifier()["pooler"])
    for pooler in (AttentivePooler(48, 4, mlp_ratio=2), AttentivePooler(48, 3), AttentivePooler(48, 4, num_queries=2)):
        with pytest.raises(UsageError, match="which has 4 heads, an MLP of 192, one query"):
            write(tmp_path / "a", **classifier() | {"pooler": pooler})
    assert not list(tmp_path.iterdir())
    write(tmp_path / "a")
    with pytest.raises(UsageError, match="is not empty"):
        write(tmp_path / "a")
