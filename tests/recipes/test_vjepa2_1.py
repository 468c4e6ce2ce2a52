"""vjepa2_1: its identities. Without what is new it is V-JEPA 2; the rest follows closed forms."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from craik.core import EMA, JEPA, Batch, Mask, Part
from craik.core.energy import l1
from craik.core.tokens import Grid
from craik.nn.encoder import Encoder
from craik.nn.levels import DensePredictor, LevelEncoder, stretch
from craik.nn.packed import packed
from craik.nn.position import Rotary
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.recipes import vjepa2_1
from craik.recipes.vjepa2_1 import ContextWeight, DenseJEPA, near_error, normalize_levels
from craik.train.runtime import step_rng
from tests.recipes.clips import moving_squares
from tests.weights.networks import noisy

SIZE, NARROW, GRID = Size(48, 3, 4, 2.0), Size(24, 2, 2), Grid(("t", "h", "w"), (2, 4, 4))
X = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))


def tokenizer(frames: int) -> Patchify:
    return Patchify(3, (frames, 8, 8), SIZE.width, ("t", "h", "w"))


def level_encoder(levels: tuple[int, ...], reach: int | None = None) -> LevelEncoder:
    torch.manual_seed(0)
    return noisy(LevelEncoder(tokenizer(2), tokenizer(1), SIZE, Rotary(12, 3), levels, reach), 1).train()


def masks() -> tuple[Mask, ...]:
    order = torch.stack([torch.randperm(32, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)])
    return Mask(order[:, :12], order[:, None, 12:]), Mask(order[:, :5], order[:, None, 9:29])


@torch.no_grad()
def without_what_is_new() -> tuple[DenseJEPA, JEPA]:
    """Both models, with one level, no modality tokens and no weight at the context, and the same other weights."""
    encoder = level_encoder((2,))
    dense = noisy(DensePredictor(SIZE.width, 1, NARROW, GRID, Rotary(12, 3)), 2)
    for network in (encoder, dense):
        network.clip_token.zero_()
    plain = Encoder(tokenizer(2), SIZE, rotary=Rotary(12, 3))
    plain.load_state_dict({k: v for k, v in encoder.state_dict().items() if not k.startswith(("still", "clip_token"))})
    predictor = Predictor(SIZE.width, NARROW, GRID, rotary=Rotary(12, 3))
    new = ("still", "clip_token", "context_proj")
    predictor.load_state_dict({k: v for k, v in dense.state_dict().items() if not k.startswith(new)})
    ours = DenseJEPA(encoder, dense, ContextWeight(0.0, 0.0, (0, 1))).train()
    return ours, JEPA(plain, EMA(plain), predictor, l1, solve=packed).train()


def test_without_what_is_new_it_is_vjepa2() -> None:
    """Loss and every gradient."""
    ours, plain = without_what_is_new()
    batch = Batch((Part(X, masks()),))
    losses = [model(batch, 100).total for model in (ours, plain)]
    torch.testing.assert_close(losses[0], losses[1])
    for loss in losses:
        loss.backward()
    grads = {name: p.grad for name, p in ours.named_parameters()}
    compared = 0
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(grads[name], parameter.grad, atol=1e-6, rtol=1e-4)
            compared += 1
    assert compared > 40


def test_levels_are_the_normed_states_of_blocks() -> None:
    encoder = level_encoder((0, 1, 2))
    out = encoder(X).x.unflatten(-1, (3, -1))
    tokens = encoder.embed(X)
    states = encoder.trunk.states(tokens.x, tokens.at)
    for level, (state, norm) in enumerate(zip(states, [*encoder.norms, encoder.trunk.norm], strict=True)):
        torch.testing.assert_close(out[:, :, level], norm(state))
    torch.testing.assert_close(encoder.last(X).x, out[:, :, -1])
    wanted = torch.tensor([[3, 0, 31], [5, 5, 1]])
    torch.testing.assert_close(encoder(X, wanted=wanted).x, encoder(X).take(wanted).x)


def test_contexts_side_by_side_do_not_see_one_another() -> None:
    encoder = level_encoder((0, 2))
    keeps = [mask.context for mask in masks()]
    packed_ = encoder(X, torch.cat(keeps, 1), lengths=(12, 5)).x.split((12, 5), 1)
    for keep, found in zip(keeps, packed_, strict=True):
        torch.testing.assert_close(found, encoder(X, keep).x)


def test_images_have_a_stem_and_a_token_of_their_own() -> None:
    encoder = level_encoder((2,))
    images = X[:, :, 0]
    assert torch.equal(encoder(images).x, encoder(images.unsqueeze(2)).x) and encoder(images).x.shape == (2, 16, 48)
    encoder(images).x.sum().backward()
    assert encoder.tokenizer.proj.weight.grad is None and encoder.clip_token.grad is None
    assert encoder.stills.proj.weight.grad is not None and encoder.still_token.grad is not None


def test_positions_span_the_same_angles_at_any_size() -> None:
    small, large = Grid(("t", "h", "w"), (3, 4, 4)), Grid(("t", "h", "w"), (3, 7, 10))
    for grid in (small, large):
        ends = stretch(grid.coords()[None], grid, 4)[0]
        assert ends.amin(0).tolist() == [0, 0, 0] and ends.amax(0).tolist() == pytest.approx([2, 3, 3])
    assert torch.equal(stretch(small.coords(), small, 4), small.coords())
    still = level_encoder((2,), reach=4)
    plain = level_encoder((2,))
    torch.testing.assert_close(still(X).x, plain(X).x)  # the lattice it was made for
    wide = torch.randn(1, 3, 4, 32, 56)
    assert not torch.allclose(still(wide).x, plain(wide).x, atol=1e-3)


def test_goals_are_normalized_level_by_level() -> None:
    x = torch.randn(2, 5, 3 * 8) * 7 + 3
    expected = torch.cat([F.layer_norm(level, (8,)) for level in x.split(8, -1)], -1)
    torch.testing.assert_close(normalize_levels(x, 3), expected)


def test_the_error_at_the_context_in_closed_form() -> None:
    """Two context tokens: one beside the hidden one, the other at distance 5 of the nearest of two."""
    at = torch.tensor([[[0.0, 0, 0], [0, 3, 8]]])
    hidden = torch.tensor([[[0.0, 0, 1], [0, 0, 4]]])
    pred, goal = torch.zeros(1, 2, 6), torch.tensor([[[2.0] * 6, [3.0] * 6]])
    assert float(near_error(pred, at, hidden, goal)) == pytest.approx((2 / 1 + 3 / 5**0.5) / 2)


def test_the_weight_of_the_context_rises() -> None:
    weight = ContextWeight(0.5, 0.7, (15_000, 30_000))
    assert [weight(step, False) for step in (0, 15_000, 22_500, 30_000, 99_000)] == pytest.approx(
        [0, 0, 0.25, 0.5, 0.5]
    )
    assert weight(30_000, True) == pytest.approx(0.7)
    config = replace(vjepa2_1.tiny(), sigreg=0.0)
    recipe = vjepa2_1.build(config)
    batch = recipe.prepare(moving_squares(4, frames=8), step_rng(0, 0))
    early, late = recipe.model(batch, 0), recipe.model(batch, 150)
    torch.testing.assert_close(early.total, early.terms["energy"])
    torch.testing.assert_close(late.total, late.terms["energy"] + 0.5 * late.terms["context"])


def test_images_and_clips_in_one_batch() -> None:
    recipe = vjepa2_1.build(vjepa2_1.tiny())
    clips, frames = moving_squares(4, frames=8), moving_squares(4, frames=1, seed=1)
    images = replace(frames, x=frames.x[:, 0])
    parts = [recipe.prepare(samples, step_rng(0, 0)).parts[0] for samples in (clips, images)]
    assert parts[1].x.shape == (4, 3, 1, 32, 32) and int(parts[1].masks[0].target.max()) < 16
    loss = recipe.model(Batch(tuple(parts)), 0)
    loss.total.backward()
    for part in (recipe.model.encoder, recipe.model.predictor):
        assert part.clip_token.grad is not None and part.still_token.grad is not None
    alone = [recipe.model(Batch((part,)), 0).terms["energy"] for part in parts]
    torch.testing.assert_close(loss.terms["energy"], (alone[0] + alone[1]) / 2)


def test_every_rank_has_a_gradient_for_every_parameter() -> None:
    """Ranks may look at clips or at images: what one of them does not use must not make the others wait."""
    recipe = vjepa2_1.build(vjepa2_1.tiny())
    recipe.model(recipe.prepare(moving_squares(4, frames=8), step_rng(0, 0)), 0).total.backward()
    assert all(p.grad is not None for p in recipe.model.parameters() if p.requires_grad)
    assert not recipe.model.encoder.stills.proj.weight.grad.any()


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    recipe = vjepa2_1.build(replace(vjepa2_1.tiny(), sigreg=0.0, context_steps=(0, 1)))
    model, samples = recipe.model.train(), moving_squares(12, frames=8)
    optimizer = torch.optim.AdamW([*model.encoder.parameters(), *model.predictor.parameters()], lr=2e-3)
    losses = []
    for step in range(20):
        loss = model(recipe.prepare(samples, step_rng(0, step)), step + 1).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.target.update(model.encoder, 0.99)
        losses.append(float(loss.detach()))
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


@pytest.mark.parametrize(
    ("config", "millions", "levels"),
    [(vjepa2_1.vitg(), 1012.2, (9, 19, 29, 39)), (vjepa2_1.vit_gigantic(), 1843.9, (11, 23, 37, 47))],
)
def test_released_sizes(config: vjepa2_1.Config, millions: float, levels: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = vjepa2_1.build(config).model
    encoder = model.get_submodule("encoder")
    assert config.levels == levels and (config.predictor.depth, config.mask_tokens, config.reach) == (24, 8, 16)
    new = sum(p.numel() for n, p in encoder.named_parameters() if n.startswith(("norms", "still", "clip_token")))
    count = (sum(p.numel() for p in encoder.parameters()) - new) / 1e6
    assert count == pytest.approx(millions, abs=0.06)
    first, _, second = model.get_submodule("predictor.embed")
    width = config.encoder.width
    assert (first.in_features, first.out_features, second.out_features) == (4 * width, width, 384)
    assert isinstance(model.get_submodule("predictor.context_proj"), nn.Linear)


def test_levels_that_make_no_sense_are_refused() -> None:
    for levels in ((0, 1), (2, 0), (), (1, 1, 2)):
        with pytest.raises(ValueError, match="ascending blocks that end with the last one, 2"):
            level_encoder(levels)
