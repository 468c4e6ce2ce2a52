"""lejepa: what the loss is made of, and which views there are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from craik.core import Batch, Part
from craik.data.images import load_images
from craik.data.loader import read_samples
from craik.nn.conv import ConvEncoder
from craik.nn.encoder import Encoder
from craik.nn.sizes import Size
from craik.recipes import lejepa
from craik.recipes.lejepa import ConvTrunk, LeJEPA, Views, ViTTrunk
from craik.train.recipe import Recipe
from craik.train.runtime import step_rng

CONFIG = replace(lejepa.tiny(), trunk=ConvTrunk(widths=(8, 12)), hidden=24, embedding=8, num_directions=16, batch=8)


def built(**changes: object) -> tuple[Recipe, LeJEPA]:
    torch.manual_seed(0)
    recipe = lejepa.build(replace(CONFIG, **changes))
    assert isinstance(recipe.model, LeJEPA)
    return recipe, recipe.model


def drawn(recipe: Recipe, seed: int = 0) -> Batch:
    samples = read_samples(load_images("toy:shapes?n=8", size=32), np.arange(8))
    return recipe.prepare(samples, step_rng(seed, 0))


def test_the_loss_pulls_views_to_the_mean_of_the_global_ones() -> None:
    """(1 - lam) x mean squared distance + lam x SIGReg, over global and local views alike."""
    recipe, model = built(local_views=Views(num=3, image=16, crop_scale=(0.05, 0.3)))
    batch = drawn(recipe)
    assert [part.x.shape for part in batch.parts] == [(8, 2, 3, 24, 24), (8, 3, 3, 16, 16)]
    model.eval()
    loss = model(batch, 5)
    z = torch.cat([model.embed(part.x) for part in batch.parts], 1)
    energy = (z - z[:, :2].mean(1, keepdim=True)).square().mean()
    torch.testing.assert_close(loss.terms["energy"], energy)
    apart = torch.stack([model.sigreg(z[:, view], 5) for view in range(5)]).mean()
    torch.testing.assert_close(loss.terms["sigreg"], apart)
    torch.testing.assert_close(loss.total, (1 - CONFIG.lam) * energy + CONFIG.lam * apart)
    loss.total.backward()
    assert all(p.grad is not None for p in model.parameters()), "no side is cut off from its gradient"


def test_views_that_are_alike_cost_nothing() -> None:
    _, model = built()
    x = torch.rand(8, 1, 3, 24, 24, generator=torch.Generator().manual_seed(1)).expand(-1, 2, -1, -1, -1)
    model.eval()
    assert float(model(Batch((Part(x),)), 0).terms["energy"].detach()) < 1e-10


@pytest.mark.parametrize("one_pass", [False, True])
def test_views_follow_from_the_generator_alone(one_pass: bool) -> None:
    views = replace(CONFIG.global_views, one_pass=one_pass, blur_prob=0.5, solarize_prob=0.5)
    recipe, _ = built(global_views=views)
    first, again, other = drawn(recipe), drawn(recipe), drawn(recipe, seed=1)
    assert torch.equal(first.parts[0].x, again.parts[0].x)
    assert not torch.equal(first.parts[0].x, other.parts[0].x)
    assert not torch.equal(first.parts[0].x[:, 0], first.parts[0].x[:, 1]), "views of an image differ"
    assert first.parts[0].x.isfinite().all()


def test_trunks() -> None:
    assert isinstance(built()[1].encoder, ConvEncoder)
    vit = ViTTrunk(size=Size(24, 2, 2), patch=8)
    recipe, model = built(trunk=vit, local_views=Views(num=1, image=16, crop_scale=(0.05, 0.3)))
    assert isinstance(model.encoder, Encoder)
    assert model(drawn(recipe), 0).total.isfinite(), "local views get a resampled position table"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": 1.5}, r"lam 1.5: give a number in \[0, 1\]"),
        ({"embedding": 0}, "embedding 0: give at least 1"),
        ({"global_views": replace(CONFIG.global_views, num=0)}, r"global_views.num 0: give at least 1"),
    ],
)
def test_numbers_that_make_no_sense(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)
    with pytest.raises(ValueError, match="blur_prob 2: give a number"):
        Views(num=1, image=8, crop_scale=(0.2, 1), blur_prob=2)
