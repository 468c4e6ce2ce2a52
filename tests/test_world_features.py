"""What embed and probe see of a world model: the latents that it plans in, not the tokens of its encoder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from craik import api
from craik.api import Model
from craik.evaluate.features import Pool
from craik.probe_run import featurizers
from craik.recipes import find


@pytest.fixture
def model() -> Model:
    method = find(f"{Path(__file__).parent / 'micro_world.py'}:micro")
    torch.manual_seed(0)
    recipe = method.build(method.config)
    recipe.model.eval()
    return Model(recipe, api.describe(method, method.config), "here", torch.device("cpu"))


def test_embeddings_of_a_world_model_are_its_latents(model: Model) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)
    latents = model.encode(frames[:, None])[:, 0]
    np.testing.assert_allclose(model.embed(list(frames)), latents, atol=1e-5)
    assert model.embed(list(frames), pool="tokens").shape == (3, 1, 8)
    assert model.embed(list(frames), pool="last4").shape[1] % 16 == 0  # of the encoder, 16 wide


def test_a_probe_measures_latents_beside_those_of_fresh_weights(model: Model) -> None:
    trained, random = featurizers(model)
    assert list(trained) == ["latent", "encoder, last 4 layers"]
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        latent = trained["latent"].embed(x)
        assert latent.shape == random.embed(x).shape == (2, 8)
        assert not torch.allclose(latent, random.embed(x))
        assert trained["encoder, last 4 layers"].pool is Pool.LAST_FOUR
        assert trained["encoder, last 4 layers"].embed(x).shape[0] == 2
