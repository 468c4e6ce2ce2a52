"""The official layout: strict, and deaf to code."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from craik.core import Tokens
from craik.errors import UsageError
from craik.nn import sizes
from craik.weights import info, load
from tests.weights.networks import SIZE, encoder, entries, jepa, published, save

KNOWN_EXTRA = {"opt": {}, "scaler": None, "epoch": 300, "loss": 0.1, "batch_size": 128, "world_size": 16, "lr": 1e-6}


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_all_three_networks_come_back(tmp_path: Path, prefix: str) -> None:
    model = jepa()
    path = save(entries(model, prefix) | KNOWN_EXTRA, tmp_path / "a.pth.tar")
    x = torch.randn(2, 3, 32, 32)
    loaded = load(path, heads=SIZE.heads)
    online = load(path, "encoder", heads=SIZE.heads)
    assert loaded.target_encoder is loaded.encoder and online.target_encoder is not online.encoder
    assert torch.equal(loaded.encoder(x).x, model.target.encoder(x).x)
    assert torch.equal(online.target_encoder(x).x, model.target.encoder(x).x)
    assert torch.equal(online.encoder(x).x, model.encoder(x).x)
    context, where = model.encoder(x), torch.zeros(2, 1, 3, 2)
    assert torch.equal(loaded.predictor(context, where), model.predictor(context, where))
    assert (loaded.image_size, loaded.patch) == ((32, 32), (8, 8))
    assert not loaded.encoder.training
    assert not loaded.encoder.position.table.requires_grad


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    half = {key: tensor.half() for key, tensor in published(encoder()).items()}
    loaded = load(save({"target_encoder": half}, tmp_path / "a.pt"), heads=4)
    assert {parameter.dtype for parameter in loaded.encoder.parameters()} == {torch.float32}


def test_info(tmp_path: Path) -> None:
    path = save(entries(jepa()) | KNOWN_EXTRA, tmp_path / "a.pth.tar")
    found = info(path)
    assert found.layout == "I-JEPA checkpoint"
    assert found.name == "I-JEPA ViT 48 wide, 2 deep, patch 8, 32 px"
    assert found.size is None and found.has_predictor
    assert found.extra == tuple(KNOWN_EXTRA)
    parts = {part.name: part.num_parameters for part in found.parts}
    assert parts["encoder"] == sum(parameter.numel() for parameter in jepa().encoder.parameters())


def test_published_sizes_need_no_heads(tmp_path: Path) -> None:
    big = encoder(sizes.TINY, image=64, patch=16)
    path = save({"target_encoder": published(big)}, tmp_path / "a.pt")
    assert info(path).name == "I-JEPA ViT-Ti/16, 64 px"
    assert info(path).size == sizes.TINY and not info(path).has_predictor
    assert load(path).encoder.trunk.blocks[0].attn.heads == sizes.TINY.heads
    assert load(path).predictor is None


def test_unknown_heads_are_asked_for(tmp_path: Path) -> None:
    path = save(entries(jepa()), tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"number of attention heads.*--heads"):
        load(path)
    with pytest.raises(UsageError, match="5 heads do not divide the width 48"):
        load(path, heads=5)


def test_every_wrong_key_is_named(tmp_path: Path) -> None:
    tensors = published(encoder())
    del tensors["module.norm.bias"], tensors["module.blocks.1.attn.proj.weight"]
    tensors["module.head.weight"] = torch.zeros(3)
    path = save({"encoder": tensors}, tmp_path / "a.pt")
    with pytest.raises(UsageError) as error:
        load(path, "encoder", heads=4)
    for expected in ("missing norm.bias", "missing blocks.1.attn.proj.weight", "unexpected head.weight", str(path)):
        assert expected in str(error.value)


@pytest.mark.parametrize("key", ["patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight"])
def test_a_missing_key_that_tells_the_size_is_named(tmp_path: Path, key: str) -> None:
    tensors = published(encoder())
    del tensors[f"module.{key}"]
    with pytest.raises(UsageError, match=f"{key} is missing"):
        load(save({"encoder": tensors}, tmp_path / "a.pt"), "encoder", heads=4)


def test_a_wrong_shape_is_named(tmp_path: Path) -> None:
    tensors = published(encoder())
    tensors["module.blocks.1.mlp.fc2.bias"] = torch.zeros(49)
    with pytest.raises(UsageError, match=r"shape of blocks.1.mlp.fc2.bias is \[49\], expected \[48\]"):
        load(save({"encoder": tensors}, tmp_path / "a.pt"), "encoder", heads=4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {}}, "not an I-JEPA checkpoint.*found model"),
        ({"encoder": {}, "surprise": 1}, "unexpected: surprise"),
        ({"encoder": 3}, "not a dictionary of tensors"),
        ({"encoder": {"module.backbone.pos_embed": torch.zeros(1)}}, "V-JEPA"),
        ([1, 2], "holds a list"),
        ({"encoder": {}}, "patch_embed.proj.weight is missing"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(save(content, tmp_path / "a.pt"), "encoder", heads=4)


def test_an_encoder_that_is_not_there(tmp_path: Path) -> None:
    path = save({"encoder": published(encoder())}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match="no `target_encoder`; it holds encoder"):
        load(path, heads=4)
    with pytest.raises(UsageError, match="ask for 'target_encoder' or 'encoder'"):
        load(path, "teacher", heads=4)


def test_a_table_that_is_not_square_needs_the_image_size(tmp_path: Path) -> None:
    tensors = published(encoder())
    tensors["module.pos_embed"] = torch.randn(1, 12, 48)
    path = save({"encoder": tensors}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"12 positions, not a square.*load\(path, image_size=\(H, W\)\)"):
        load(path, "encoder", heads=4)
    loaded = load(path, "encoder", heads=4, image_size=(24, 32))
    out: Tokens = loaded.encoder(torch.randn(1, 3, 24, 32))
    assert out.x.shape == (1, 12, 48) and loaded.encoder.position.grid.shape == (3, 4)


class Malicious:
    """Runs a command when it is unpickled by a careless reader."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("read", [load, info])
def test_a_checkpoint_that_carries_code_is_refused(tmp_path: Path, whole: bool, read: object) -> None:
    path, proof = tmp_path / "a.pth.tar", tmp_path / "proof"
    content = entries(jepa()) | {"opt": Malicious(proof)}
    torch.save(content, path, _use_new_zipfile_serialization=whole)
    with pytest.raises(UsageError, match=r"carries code \((posix|nt)\.mkdir\) and was refused"):
        read(path)
    assert not proof.exists()
    torch.load(path, weights_only=False)  # a careless reader runs it, so the test could have failed
    assert proof.exists()


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_plain_pickle_with_code_is_refused(tmp_path: Path, protocol: int) -> None:
    path, proof = tmp_path / "a.pkl", tmp_path / "proof"
    path.write_bytes(pickle.dumps({"encoder": Malicious(proof)}, protocol=protocol))
    with pytest.raises(UsageError, match="carries code" if protocol == 2 else "not a torch checkpoint"):
        load(path)
    assert not proof.exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated(tmp_path: Path, share: float) -> None:
    path = save(entries(jepa()), tmp_path / "a.pt")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UsageError, match="damaged or not a torch checkpoint"):
        load(path)


@pytest.mark.parametrize(
    "content",
    [b"hello, world\n" * 20, b"\x89PNG\r\n\x1a\n" + bytes(500), bytes(1000), b"PK\x03\x04" + bytes(90), b"\x80"],
)
@pytest.mark.parametrize("name", ["a.pth.tar", "a.safetensors"])
def test_not_a_checkpoint(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match="damaged or not a"):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["a.pth.tar", "a.safetensors"])
def test_empty_and_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no such file"):
        info(tmp_path / name)
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match="is empty"):
        info(tmp_path / name)


def test_random_damage_is_never_a_traceback(tmp_path: Path) -> None:
    """Bytes flipped at the front, where the structure is: refused, or read as what it was, but no other error."""
    whole = save(entries(jepa()), tmp_path / "a.pt").read_bytes()
    rng = torch.Generator().manual_seed(0)
    refused = read = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in torch.randint(0, 4000, (20,), generator=rng).tolist():
            damaged[place] = int(torch.randint(256, (), generator=rng))
        (tmp_path / "b.pt").write_bytes(damaged)
        try:
            found = load(tmp_path / "b.pt", heads=4)
        except UsageError as error:
            assert "b.pt" in str(error)
            refused += 1
        else:
            assert found.encoder.width == 48
            read += 1
    assert refused + read == 60 and refused > 30
