"""levjepa: what a view drops has no influence, frames see no later ones, and it trains."""

from dataclasses import replace

import pytest
import torch

from craik.core import Grid
from craik.nn.clip_encoder import ClipEncoder, sees
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.recipes import levjepa
from craik.train.runtime import step_rng
from tests.recipes.clips import moving_squares
from tests.weights.networks import noisy

GRID = Grid(("t", "h", "w"), (3, 2, 2))
X = torch.randn(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def encoder() -> ClipEncoder:
    torch.manual_seed(0)
    tokenizer = Patchify(3, (1, 8, 8), 32, ("t", "h", "w"))
    return noisy(ClipEncoder(tokenizer, GRID, Size(32, 3, 4)), 1).double()


def test_tokens_see_their_own_and_earlier_frames() -> None:
    later = X.clone()
    later[:, :, 2] = torch.randn_like(later[:, :, 2])
    (summary, tokens), (other, moved) = encoder().read(X), encoder().read(later)
    assert torch.allclose(tokens.x[:, :8], moved.x[:, :8], atol=1e-12)
    assert not torch.allclose(tokens.x[:, 8:], moved.x[:, 8:]) and not torch.allclose(summary, other)
    corner = X.clone()
    corner[:, :, 1, 8:, 8:] += 1
    _, disturbed = encoder().read(corner)
    gaps = (disturbed.x - tokens.x).abs().amax((0, 2))
    assert bool((gaps[:4] < 1e-12).all()) and bool((gaps[4:] > 1e-6).all())  # within a frame in both directions


def test_nobody_reads_the_class_token() -> None:
    visible = sees(torch.tensor([[0.0, 1.0, 1.0]]))[0, 0].int().tolist()
    assert visible == [[1, 1, 1, 1], [0, 1, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1]]


def test_what_is_dropped_has_no_influence() -> None:
    keep = torch.tensor([[0, 5, 6], [1, 5, 10]])
    disturbed = X.clone()
    disturbed[:, :, 0, 8:] = 1e3  # tokens 2 and 3, which neither keeps
    (summary, tokens), (other, _) = encoder().read(X, keep), encoder().read(disturbed, keep)
    assert torch.equal(summary, other) and tokens.x.shape == (2, 3, 32)
    some = encoder()(X, keep, wanted=torch.tensor([[2], [0]]))
    assert torch.allclose(some.x[0, 0], tokens.x[0, 2]) and torch.allclose(some.x[1, 0], tokens.x[1, 0])


def test_the_loss_is_distance_and_sigreg() -> None:
    config = levjepa.tiny()
    recipe = levjepa.build(config)
    batch = recipe.prepare(moving_squares(6, frames=8), step_rng(0, 0))
    assert [tuple(part.x.shape[2:]) for part in batch.parts] == [(8, 32, 32), (8, 16, 16), (8, 16, 16)]
    assert [part.cond.shape[1] for part in batch.parts] == [32, 8, 8]  # a quarter of 128 and of 32
    recipe.model.eval()
    z = torch.stack([recipe.model.embed(part) for part in batch.parts])
    loss = recipe.model(batch, 3)
    torch.testing.assert_close(loss.terms["energy"], (z[1:] - z[0]).square().mean())
    torch.testing.assert_close(loss.total, loss.terms["energy"] + 0.02 * loss.terms["sigreg"])


def test_colors_change_alike_in_all_frames_and_only_of_local_views() -> None:
    config = replace(levjepa.tiny(), jitter_prob=1.0, flip_prob=0.0)
    still = moving_squares(4, frames=1)
    samples = replace(still, x=still.x.expand(-1, 8, -1, -1, -1))
    for part in levjepa.build(config).prepare(samples, step_rng(0, 0)).parts:
        torch.testing.assert_close(part.x, part.x[:, :, :1].expand_as(part.x), atol=1e-5, rtol=1e-5)


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    recipe = levjepa.build(levjepa.tiny())
    model, samples = recipe.model.train(), moving_squares(16, frames=8)
    optimizer = torch.optim.AdamW([*model.encoder.parameters(), *model.head.parameters()], lr=1e-3)
    losses = []
    for step in range(20):
        loss = model(recipe.prepare(samples, step_rng(0, step)), step).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


def test_variants_and_limits() -> None:
    config = levjepa.vitb16()
    assert (config.clip.frames, config.drop, config.sigreg, config.num_directions) == (16, 0.95, 0.02, 1024)
    assert levjepa.vitt16().encoder.width == 192
    with pytest.raises(ValueError, match="drop 1: give a number"):
        replace(config, drop=1.0)
    with pytest.raises(ValueError, match="size 90 is not a multiple of patch 16"):
        replace(config, local_image=90)
