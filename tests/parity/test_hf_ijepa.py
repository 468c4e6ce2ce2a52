"""The Hugging Face port: features, hidden states, other image sizes, logits."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from craik.weights import LoadedWeights, load
from tests.parity.golden import Fixture, assert_output


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("hf_ijepa")


@pytest.fixture(scope="module")
def loaded(fixture: Fixture) -> LoadedWeights:
    return load(fixture.folder / "model")


def hidden_states(loaded: LoadedWeights, x: Tensor) -> list[Tensor]:
    """Embeddings, then the residual stream after each block, none of them normed."""
    encoder = loaded.encoder
    tokens = encoder.embed(x)
    return [tokens.x, *encoder.trunk.states(tokens.x, tokens.at)]


@torch.no_grad()
def compute(fixture: Fixture, loaded: LoadedWeights) -> dict[str, Tensor]:
    x = fixture.inputs["pixel_values"]
    ours = {"last_hidden_state": loaded.encoder(x).x}
    ours |= {f"hidden_states.{i}": state for i, state in enumerate(hidden_states(loaded, x))}
    for i, other in enumerate(fixture.listed("pixel_values_other_size")):
        ours[f"other_size.{i}"] = loaded.encoder(other).x
    classifier = load(fixture.folder / "classifier")
    ours["logits"] = classifier.classifier(classifier.encoder(x).mean())
    ours["loss"] = F.cross_entropy(ours["logits"], fixture.inputs["labels"]).reshape(1)
    wide = load(fixture.folder / "model").encoder.double()
    ours["last_hidden_state_f64"] = wide(x.double()).x
    return ours


def test_outputs(fixture: Fixture, loaded: LoadedWeights) -> None:
    ours = compute(fixture, loaded)
    assert sorted(ours) == sorted(fixture.outputs)
    for name, golden in fixture.outputs.items():
        assert_output(ours[name], golden, 1e-9 if name.endswith("_f64") else fixture.config["tolerance"]["abs"], name)


def test_sizes_are_those_of_the_config(fixture: Fixture, loaded: LoadedWeights) -> None:
    wanted = fixture.config["constructor"]
    encoder = loaded.encoder
    assert encoder.width == wanted["hidden_size"]
    assert len(encoder.trunk.blocks) == wanted["num_hidden_layers"]
    assert encoder.trunk.blocks[0].attn.heads == wanted["num_attention_heads"]
    assert encoder.trunk.blocks[0].mlp.fc1.out_features == wanted["intermediate_size"]
    assert encoder.trunk.norm.eps == wanted["layer_norm_eps"]
