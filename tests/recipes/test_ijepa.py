"""ijepa: the released variants have the published numbers, and options do what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from craik.core.target import EMA
from craik.data.images import load_images
from craik.data.loader import read_samples
from craik.recipes import ijepa
from craik.recipes.ijepa import Config
from craik.train.runtime import step_rng


@pytest.mark.parametrize(
    ("config", "tokens", "width", "depth", "heads", "predictor_depth", "epochs", "warmup", "millions"),
    [
        (ijepa.vith14_in1k(), 16, 1280, 32, 16, 12, 300, 40, 630.4),
        (ijepa.vith16_448_in1k(), 28, 1280, 32, 16, 12, 300, 40, 630.7),
        (ijepa.vith14_in22k(), 16, 1280, 32, 16, 12, 66, 3, 630.4),
        (ijepa.vitg16_in22k(), 14, 1408, 40, 16, 16, 44, 3, 1011.1),
    ],
)
def test_released_variants(
    config: Config,
    tokens: int,
    width: int,
    depth: int,
    heads: int,
    predictor_depth: int,
    epochs: int,
    warmup: int,
    millions: float,
) -> None:
    """Numbers of the published configuration files and of the published models; no weight is made for it."""
    assert (config.encoder.width, config.encoder.depth, config.encoder.heads) == (width, depth, heads)
    assert (config.predictor.width, config.predictor.depth, config.predictor.heads) == (384, predictor_depth, heads)
    assert (config.batch, config.epochs, config.momentum, config.sigreg) == (2048, epochs, (0.996, 1.0), 0)
    assert (config.optim.start_lr, config.optim.lr, config.optim.final_lr) == (2e-4, 1e-3, 1e-6)
    assert (config.optim.weight_decay, config.optim.final_weight_decay, config.optim.stretch) == (0.04, 0.4, 1)
    assert round(config.optim.warmup_fraction * epochs, 9) == warmup
    masks = config.masks
    assert (masks.num_contexts, masks.num_targets, masks.min_keep, masks.allow_overlap) == (1, 4, 10, False)
    assert (masks.target_scale, masks.context_scale, masks.aspect) == ((0.15, 0.2), (0.85, 1.0), (0.75, 1.5))
    with torch.device("meta"):
        model = ijepa.build(config).model
    encoder = model.get_submodule("encoder")
    assert encoder.grid((config.image, config.image)).shape == (tokens, tokens)
    table = tokens * tokens * width  # of positions, which the published count leaves out
    count = sum(p.numel() for p in encoder.parameters()) - table
    assert count / 1e6 == pytest.approx(millions, abs=0.4)


def test_the_small_variant_shows_what_its_options_say() -> None:
    config = ijepa.tiny()
    samples = read_samples(load_images("toy:shapes?n=8", size=32), np.arange(8))
    recipe = ijepa.build(config)
    loss = recipe.model(recipe.prepare(samples, step_rng(0, 0)), 0)
    assert list(loss.terms) == ["energy", "sigreg"]
    torch.testing.assert_close(loss.total, loss.terms["energy"] + config.sigreg * loss.terms["sigreg"])
    plain = ijepa.build(replace(config, sigreg=0.0))
    assert list(plain.model(plain.prepare(samples, step_rng(0, 0)), 0).terms) == ["energy"]
    assert isinstance(plain.model.get_submodule("target"), EMA)


def test_sizes_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="image 32 is not a multiple of patch 5: use 30 or 35"):
        replace(ijepa.tiny(), patch=5)
    with pytest.raises(ValueError, match="image 4 is not a multiple of patch 8: use 8 or 16"):
        replace(ijepa.tiny(), image=4, patch=8)
