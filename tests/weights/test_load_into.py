"""Training that starts from foreign weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from craik.core import JEPA, Shared
from craik.core.energy import l2
from craik.errors import UsageError
from craik.nn import sizes
from craik.nn.conv import ConvEncoder
from craik.nn.sizes import Size
from craik.weights import export_hf, load_into
from tests.weights.networks import NARROW, SIZE, encoder, entries, jepa, published, save


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_official_weights_fill_encoder_target_and_predictor(tmp_path: Path) -> None:
    source, model = jepa(seed=0), jepa(seed=10)
    said = load_into(model, save(entries(source), tmp_path / "a.pth.tar"))
    assert equal(state(model), state(source))
    assert said.startswith("encoder, target encoder, predictor from ")
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        name for name, p in source.named_parameters() if p.requires_grad
    }


def test_hugging_face_weights_fill_encoder_and_target(tmp_path: Path) -> None:
    source, model = encoder(seed=3), jepa(seed=10)
    predictor = state(model.predictor)
    said = load_into(model, export_hf(source, tmp_path / "out"))
    assert equal(state(model.encoder), state(source)) and equal(state(model.target.encoder), state(source))
    assert equal(state(model.predictor), predictor)
    assert "predictor start from random weights" in said


def test_a_model_without_predictor(tmp_path: Path) -> None:
    """A joint embedding of views has a head instead; it keeps its own weights."""
    model = nn.Module()
    model.encoder, model.target, model.head = encoder(seed=10), Shared(), nn.Linear(48, 8)
    head = state(model.head)
    source = jepa()
    said = load_into(model, save(entries(source), tmp_path / "a.pt"))
    assert equal(state(model.encoder), state(source.encoder)) and equal(state(model.head), head)
    assert "head start from random weights" in said


def test_another_size_is_refused_by_name(tmp_path: Path) -> None:
    path = save({"encoder": published(encoder(sizes.TINY, patch=16))}, tmp_path / "weights.pth.tar")
    model = jepa()
    before = state(model)
    with pytest.raises(UsageError) as error:
        load_into(model, path, asked="ijepa:mine")
    message = str(error.value)
    assert "weights.pth.tar looks like I-JEPA ViT-Ti/16, 32 px (3 heads), you asked for ijepa:mine" in message
    assert "ViT 48 wide, 2 deep, patch 8, 32 px" in message and "leave out --init" in message
    assert equal(state(model), before)


def test_other_heads_are_refused(tmp_path: Path) -> None:
    """Tensors of the same shapes, read with other heads, are another network."""
    folder = export_hf(encoder(), tmp_path / "out")
    with pytest.raises(UsageError, match=r"\(4 heads\).*6 heads"):
        load_into(jepa(Size(48, 2, 6, 2.0)), folder)


def test_another_predictor_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    path = save(entries(jepa(narrow=Size(24, 3, 4))), tmp_path / "a.pt")
    model = jepa(seed=10)
    before = state(model)
    with pytest.raises(UsageError, match=r"24 wide, 3 deep.*24 wide, 2 deep.*--predictor.depth 3"):
        load_into(model, path)
    assert equal(state(model), before)


def test_another_image_size(tmp_path: Path) -> None:
    source, model = jepa(image=32), jepa(image=48, seed=10)
    path = save(entries(source), tmp_path / "a.pt")
    before = state(model)
    with pytest.raises(UsageError, match=r"grid of 4 x 4 tokens, this model has 6 x 6.*--init-resample"):
        load_into(model, path)
    assert equal(state(model), before)
    load_into(model, path, resample=True)
    x = torch.randn(2, 3, 48, 48)
    assert torch.allclose(model.encoder(x).x, source.encoder(x).x, atol=1e-6)  # it resamples by itself
    assert not model.encoder.position.table.requires_grad
    assert model.predictor.position.table.shape == (36, NARROW.width)


def test_an_encoder_of_another_kind_is_refused(tmp_path: Path) -> None:
    model = JEPA(ConvEncoder((8, SIZE.width)), Shared(), nn.Identity(), l2)
    with pytest.raises(UsageError, match="the encoder of lejepa:conv32 is none"):
        load_into(model, save(entries(jepa()), tmp_path / "a.pt"), asked="lejepa:conv32")
