"""The official layout of V-JEPA 1 and 2: strict both ways, and what real files carry beside the model is named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from craik.core import JEPA
from craik.errors import UsageError
from craik.nn import sizes
from craik.weights import info, load, vjepa
from craik.weights.published import load_into
from tests.weights.video import NARROW, SIZE, encoder, jepa

HEADS: dict[str, Any] = {"heads": SIZE.heads, "predictor_heads": NARROW.heads}
PLACE: dict[str, Any] = {"frames": 4, "image_size": (32, 32)}
KNOWN_EXTRA = {"opt": {}, "scaler": None, "epoch": 300, "loss": 0.1, "batch_size": 24, "world_size": 128, "lr": 1e-6}


def write(model: JEPA, path: Path, **entries: object) -> Path:
    vjepa.export(path, model.encoder, model.target.encoder, model.predictor)
    if entries:
        torch.save(torch.load(path, weights_only=True) | entries, path)
    return path


def edit(path: Path, network: str, **tensors: Tensor | None) -> Path:
    """Add tensors under their official names, or take away those that are None; `__` stands for a dot."""
    content = torch.load(path, weights_only=True)
    for name, tensor in tensors.items():
        key = vjepa.PREFIX + name.replace("__", ".")
        if tensor is None:
            del content[network][key]
        else:
            content[network][key] = tensor
    torch.save(content, path)
    return path


@pytest.mark.parametrize(("rotary", "num_kinds", "name"), [(False, 2, "V-JEPA"), (True, 3, "V-JEPA 2")])
def test_all_three_networks_come_back(tmp_path: Path, rotary: bool, num_kinds: int, name: str) -> None:
    model = jepa(rotary, num_kinds)
    path = write(model, tmp_path / "a.pth.tar", **KNOWN_EXTRA)
    assert vjepa.info(path, **PLACE).layout == f"{name} checkpoint"
    loaded = vjepa.load(path, **HEADS, **PLACE)
    x = torch.randn(2, 3, 4, 32, 32)
    assert torch.equal(loaded.encoder(x).x, model.target.encoder(x).x)
    online = vjepa.load(path, "encoder", **HEADS, **PLACE)
    assert torch.equal(online.encoder(x).x, model.encoder(x).x)
    context, where = model.encoder(x), torch.zeros(2, 1, 3, 3)
    for kind in range(num_kinds):
        ours, theirs = (net.predictor(context, where, kind=kind) for net in (loaded, model))
        assert torch.equal(ours, theirs)
    assert (loaded.image_size, loaded.patch, loaded.frames, loaded.tubelet) == ((32, 32), (8, 8), 4, 2)
    again = vjepa.export(tmp_path / "b.pt", online.encoder, loaded.encoder, loaded.predictor)
    first, second = (torch.load(file, weights_only=True) for file in (path, again))
    for network in ("encoder", "target_encoder", "predictor"):
        assert first[network].keys() == second[network].keys()
        assert all(torch.equal(first[network][key], second[network][key]) for key in first[network])


def test_tables_beside_rotary_positions_are_left(tmp_path: Path) -> None:
    """Real files of V-JEPA 2 carry position tables that the model does not use: they are named, not loaded."""
    path = write(jepa(True, 10), tmp_path / "a.pt")
    for network, key in (
        ("encoder", "pos_embed"),
        ("target_encoder", "pos_embed"),
        ("predictor", "predictor_pos_embed"),
    ):
        edit(path, network, **{key: torch.randn(1, 8192, 48)})
    loaded = vjepa.load(path, **HEADS)
    assert loaded.name.startswith("V-JEPA 2") and loaded.encoder.position is None
    assert info(path).extra == ("pos_embed", "predictor_pos_embed")
    assert info(path).layout == "V-JEPA 2 checkpoint"


def test_a_table_without_a_predictor_does_not_tell_the_release(tmp_path: Path) -> None:
    path = write(jepa(False, 2), tmp_path / "a.pt")
    content = torch.load(path, weights_only=True)
    torch.save({"target_encoder": content["target_encoder"]}, path)
    with pytest.raises(UsageError, match=r'may be of V-JEPA 1 or of V-JEPA 2.*release="vjepa"'):
        load(path, heads=4)
    assert load(path, heads=4, frames=4, release="vjepa").encoder.position is not None
    assert load(path, heads=4, release="vjepa2").encoder.position is None


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize(
    ("network", "key"),
    [
        ("target_encoder", "blocks.1.attn.proj.weight"),
        ("target_encoder", "patch_embed.proj.weight"),
        ("target_encoder", "norm.bias"),
        ("predictor", "mask_tokens.0"),
        ("predictor", "predictor_blocks.0.mlp.fc2.bias"),
    ],
)
def test_a_missing_or_renamed_key_is_named(tmp_path: Path, rotary: bool, network: str, key: str) -> None:
    path = write(jepa(rotary, 3 if rotary else 2), tmp_path / "a.pt")
    edit(path, network, **{key: None})
    with pytest.raises(UsageError, match=key.replace(".", r"\.")):
        vjepa.load(path, **HEADS, **PLACE, release="vjepa2" if rotary else "vjepa")
    edit(path, network, **{f"{key}__renamed": torch.zeros(3)})
    with pytest.raises(UsageError, match=key.replace(".", r"\.")):
        vjepa.load(path, **HEADS, **PLACE, release="vjepa2" if rotary else "vjepa")


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = edit(write(jepa(True, 3), tmp_path / "a.pt"), "target_encoder", cls_token=torch.zeros(1, 1, 48))
    with pytest.raises(UsageError, match=r"unexpected cls_token \[1, 1, 48\]"):
        vjepa.load(path, **HEADS)
    path = edit(write(jepa(False, 2), tmp_path / "b.pt"), "predictor", predictor_pos_embed=None)
    with pytest.raises(UsageError, match="missing predictor_pos_embed"):  # only rotary positions do without
        vjepa.load(path, **HEADS, **PLACE)


def test_a_table_for_other_clips_asks_for_their_size(tmp_path: Path) -> None:
    path = write(jepa(False, 2), tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"32 positions, not 8 x 2 x 1 .*frames=\.\.\. and image_size=\(H, W\)"):
        vjepa.load(path, **HEADS, image_size=(16, 8))


def test_other_contents_are_refused(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"not a V-JEPA checkpoint.*found model"):
        vjepa.read(tmp_path / "a.pt")
    path = write(jepa(True, 3), tmp_path / "b.pt", surprise=1)
    with pytest.raises(UsageError, match="unexpected: surprise"):
        load(path, heads=4)
    with pytest.raises(UsageError, match="exists; name a new file"):
        write(jepa(True, 3), path)


def test_the_giant_has_the_heads_of_its_release() -> None:
    from craik.weights.build import TrunkShape
    from craik.weights.video import ROTARY_FAMILIES

    giant = TrunkShape(1408, 40, 6144)
    assert giant.size(None, "a") == sizes.GIANT and giant.size(None, "a", ROTARY_FAMILIES) == sizes.GIANT_22
    assert TrunkShape(1024, 24, 4096).size(None, "a", ROTARY_FAMILIES) == sizes.LARGE


def test_training_starts_from_weights(tmp_path: Path) -> None:
    theirs, ours = jepa(True, 3), jepa(True, 3, seed=7)
    said = load_into(ours, write(theirs, tmp_path / "a.pt"), asked="vjepa2:mine")
    assert said.startswith("encoder, target encoder, predictor from") and "V-JEPA 2" in said
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_weights_for_other_positions_are_refused(tmp_path: Path) -> None:
    path = write(jepa(True, 3), tmp_path / "a.pt")
    ours = jepa(True, 3, seed=7)
    for network in (ours.encoder, ours.target.encoder, ours.predictor):
        network.trunk.rotary.tiled = False
    before = [p.clone() for p in ours.parameters()]
    with pytest.raises(UsageError, match=r"tiled True, mine has rotary positions, tiled False.*--tiled True"):
        load_into(ours, path, asked="mine")
    with pytest.raises(UsageError, match="has 3 mask tokens, that of mine 1: set --mask-tokens 3"):
        load_into(jepa(True, 1), path, asked="mine")
    assert all(torch.equal(a, b) for a, b in zip(before, ours.parameters(), strict=True))


def test_an_encoder_of_images_is_not_exported() -> None:
    from tests.weights.networks import encoder as image_encoder

    with pytest.raises(UsageError, match="patches of 2 axes"):
        vjepa.published(image_encoder())
    assert "pos_embed" not in vjepa.published(encoder(True))
