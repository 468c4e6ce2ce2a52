"""ijepa_conv: what is hidden stays hidden, and what the loss is made of."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from craik.core import Batch, Grid, Part
from craik.data.images import load_images
from craik.data.loader import read_samples
from craik.recipes import ijepa_conv
from craik.recipes.ijepa_conv import Config, ConvIJEPA, place_of
from craik.train.recipe import Recipe

CONFIG = replace(
    ijepa_conv.tiny(), widths=(8, 12, 16), hidden=24, embedding=8, num_directions=16, num_windows=2, batch=8
)


def built(cfg: Config = CONFIG) -> tuple[Recipe, ConvIJEPA, Batch]:
    torch.manual_seed(0)
    recipe = ijepa_conv.build(cfg)
    samples = read_samples(load_images("toy:shapes?n=8", size=cfg.image, progress=False), np.arange(8))
    batch = recipe.prepare(samples, torch.Generator().manual_seed(1))
    assert isinstance(recipe.model, ConvIJEPA)
    return recipe, recipe.model, batch


def test_loss_is_the_mix_of_its_terms_and_reaches_every_weight() -> None:
    recipe, model, batch = built()
    loss = model(batch, 3)
    assert set(loss.terms) == {"energy", "sigreg"}
    torch.testing.assert_close(loss.total, 0.92 * loss.terms["energy"] + 0.08 * loss.terms["sigreg"])
    loss.total.backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in model.parameters())
    owned = {id(p) for name in recipe.trained for p in model.get_submodule(name).parameters()}
    assert owned == {id(p) for p in model.parameters()}


def test_prediction_depends_on_the_window_alone() -> None:
    _, model, batch = built()
    (part,) = batch.parts
    cells = torch.zeros(16)
    cells[part.masks[0].context[0]] = 1
    seen = cells.view(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
    noise = torch.randn_like(part.x)
    model.eval()

    def predict(x: torch.Tensor) -> torch.Tensor:
        changed = Batch((Part(x, part.masks[:1], y=part.y, place=part.place),))
        return model.tasks(changed, model.goals(changed))[0].pred

    as_is = predict(part.x)
    assert torch.equal(as_is, predict(part.x * seen + noise * (1 - seen)))
    assert not torch.allclose(as_is, predict(part.x + noise))


def test_goal_of_a_block_is_the_embedding_of_the_mean_of_its_tokens() -> None:
    _, model, batch = built()
    (part,) = batch.parts
    model.eval()
    assert part.y is not None
    tokens = model.encoder(part.y).x
    for mask, task in zip(part.masks, model.tasks(batch, model.goals(batch)), strict=True):
        for row in range(8):
            block = tokens[row, mask.target[row]].mean(1)  # [T, D]
            torch.testing.assert_close(task.goal.x[row], model.embed(block), atol=1e-5, rtol=1e-4)
            top, left = divmod(int(mask.target[row, 0, 0]), 4)
            assert task.goal.at[row, 0].tolist() == [top + 0.5, left + 0.5]
        assert task.pred.shape == (8, 1, mask.target.shape[1], 8)


def test_sigreg_looks_at_places_apart_and_at_all_in_turn() -> None:
    """A representation of places alone, the same for every image, is as bad for SIGReg as a single point."""
    _, model, batch = built()
    seen: list[torch.Tensor] = []
    model.sigreg = lambda z, step: seen.append(z.detach()) or z.sum() * 0
    for step in range(9):
        model(batch, step)
    assert all(z.shape == (4, 8, 8) for z in seen)
    model.train()
    every = model.goals(batch).x.transpose(0, 1)  # [9, B, E]
    looked = torch.cat(seen)
    for place in range(9):
        assert sum(torch.allclose(z, every[place], atol=1e-4) for z in looked) == 4


def test_the_crops_are_two_and_windows_are_shared() -> None:
    _, _, batch = built()
    (part,) = batch.parts
    assert part.y is not None and part.x.shape == part.y.shape and not torch.equal(part.x, part.y)
    assert len(part.masks) == 2
    assert all(bool((mask.context == mask.context[0]).all()) for mask in part.masks)


def test_place_maps_cells_of_one_crop_to_the_grid_of_the_other() -> None:
    grid = Grid(("h", "w"), (4, 4))
    whole, half = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[0.5, 0.25, 0.5, 0.5]])
    same = Part(whole, place=place_of(half, half, grid))
    at = grid.coords().float().unsqueeze(0)
    torch.testing.assert_close(same.where(at), at)
    part = Part(whole, place=place_of(half, whole, grid))
    assert part.where(at)[0, 0].tolist() == [1.75, 0.75]  # the first of 4 x 4 cells of that quarter
    assert part.where(at)[0, 15].tolist() == [3.25, 2.25]
    back = Part(whole, place=place_of(whole, half, grid))
    torch.testing.assert_close(back.where(part.where(at)), at)


@pytest.mark.parametrize("variant", [ijepa_conv.small32, ijepa_conv.small64, ijepa_conv.tiny])
def test_variants_have_a_grid_of_four_by_four(variant: Callable[[], Config]) -> None:
    cfg = variant()
    recipe = ijepa_conv.build(cfg)
    assert recipe.model.get_submodule("encoder").grid((cfg.image, cfg.image)).shape == (4, 4)
    assert recipe.latents is not None
