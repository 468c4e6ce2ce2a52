"""vjepa and vjepa2: the released variants have the published numbers, and the small ones train."""

from dataclasses import replace
from types import ModuleType

import pytest
import torch

from craik.core.target import EMA
from craik.data.clip import Clip
from craik.data.loader import Samples
from craik.recipes import vjepa, vjepa2
from craik.recipes._clips import crop_clips, grid_of
from craik.train.runtime import step_rng
from tests.recipes.clips import moving_squares

MODULES = [vjepa, vjepa2]


@pytest.mark.parametrize(
    ("config", "tokens", "encoder", "millions", "batch"),
    [
        (vjepa.vitl16(), (8, 14, 14), (1024, 24, 16), 303.9, 3072),
        (vjepa.vith16(), (8, 14, 14), (1280, 32, 16), 631.6, 3072),
        (vjepa.vith16_384(), (8, 24, 24), (1280, 32, 16), 631.6, 2400),
        (vjepa2.vitl(), (8, 16, 16), (1024, 24, 16), 303.9, 3072),
        (vjepa2.vith(), (8, 16, 16), (1280, 32, 16), 631.6, 3072),
        (vjepa2.vitg(), (8, 16, 16), (1408, 40, 22), 1012.2, 3072),
        (vjepa2.vitl_cooldown(), (32, 16, 16), (1024, 24, 16), 303.9, 3072),
        (vjepa2.vitg_cooldown_384(), (32, 24, 24), (1408, 40, 22), 1012.2, 3072),
    ],
)
def test_released_variants(
    config, tokens: tuple[int, ...], encoder: tuple[int, ...], millions: float, batch: int
) -> None:
    """Numbers of the published configuration files and models; no weight is made for it."""
    module = vjepa if isinstance(config, vjepa.Config) else vjepa2
    size, narrow = config.encoder, config.predictor
    assert (size.width, size.depth, size.heads) == encoder
    assert (narrow.width, narrow.depth, narrow.heads) == (384, 12, 16 if module is vjepa else 12)
    assert (config.batch, config.sigreg, config.flip_prob) == (batch, 0, 0.5)
    assert (config.crop_scale, config.crop_ratio) == ((0.3, 1.0), (0.75, 1.35))
    assert [(m.num_blocks, m.space, m.time, m.aspect, m.as_published) for m in config.masks] == [
        (8, (0.15, 0.15), (1.0, 1.0), (0.75, 1.5), True),
        (2, (0.7, 0.7), (1.0, 1.0), (0.75, 1.5), True),
    ]
    assert [m.kind for m in config.masks] == ([0, 1] if module is vjepa else [0, 0])
    assert grid_of(config).shape == tokens
    with torch.device("meta"):
        model = module.build(config).model
    online = model.get_submodule("encoder")
    asked = [p.requires_grad for name, p in model.named_parameters() if "other_tokens" in name]
    assert asked == ([True] if module is vjepa else [False] * 9)  # what gets no gradient would stop several ranks
    count = sum(p.numel() for name, p in online.named_parameters() if "table" not in name)
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_schedules_are_the_published_ones() -> None:
    """V-JEPA 1 stops at 80 % of its curves; V-JEPA 2 stays at its peak, and cools down on a line."""
    optim, steps = vjepa.vitl16().optim, 90_000
    lr, weight_decay = optim.lr_schedule(steps), optim.weight_decay_schedule(steps)
    assert (lr(0), lr(12_000)) == pytest.approx((2e-4, 6.25e-4))
    assert lr(steps) == pytest.approx(7.5e-5, rel=0.02) and weight_decay(steps) == pytest.approx(0.366, abs=1e-3)
    assert vjepa.stretched(vjepa.vitl16(), steps)(steps) == pytest.approx(0.9996, abs=1e-6)
    steps = 240_000
    lr = vjepa2.vitg().optim.lr_schedule(steps)
    assert (lr(0), lr(12_000), lr(steps)) == pytest.approx((1e-4, 5.25e-4, 5.25e-4))
    assert vjepa2.momentum_of(vjepa2.vitg(), steps)(steps) == 0.99925
    lr = vjepa2.vitg_cooldown().optim.lr_schedule(12_000)
    assert (lr(0), lr(6_000), lr(12_000)) == pytest.approx((5.25e-4, (5.25e-4 + 1e-6) / 2, 1e-6))


@pytest.mark.parametrize("module", MODULES)
def test_the_small_variant_shows_what_its_options_say(module: ModuleType) -> None:
    config, samples = module.tiny(), moving_squares(4, frames=8)
    recipe = module.build(config)
    loss = recipe.model(recipe.prepare(samples, step_rng(0, 0)), 0)
    assert list(loss.terms) == ["energy", "sigreg"]
    torch.testing.assert_close(loss.total, loss.terms["energy"] + config.sigreg * loss.terms["sigreg"])
    plain = module.build(replace(config, sigreg=0.0))
    assert list(plain.model(plain.prepare(samples, step_rng(0, 0)), 0).terms) == ["energy"]
    assert isinstance(plain.model.get_submodule("target"), EMA)
    with pytest.raises(ValueError, match="clips of 6 frames, where the recipe wants 8"):
        recipe.prepare(moving_squares(2, frames=6), step_rng(0, 0))


@pytest.mark.parametrize("module", MODULES)
def test_all_randomness_is_in_the_generator(module: ModuleType) -> None:
    recipe, samples = module.build(module.tiny()), moving_squares(4, frames=8)
    one, same, other = (recipe.prepare(samples, step_rng(0, step)).parts[0] for step in (3, 3, 4))
    assert torch.equal(one.x, same.x) and not torch.equal(one.x, other.x)
    assert all(torch.equal(a.context, b.context) for a, b in zip(one.masks, same.masks, strict=True))


@pytest.mark.parametrize("module", MODULES)
def test_a_few_steps_lower_the_loss(module: ModuleType) -> None:
    torch.manual_seed(0)
    recipe, samples = module.build(replace(module.tiny(), sigreg=0.0)), moving_squares(16, frames=8)
    model = recipe.model.train()
    optimizer = torch.optim.AdamW([*model.encoder.parameters(), *model.predictor.parameters()], lr=2e-3)
    losses = []
    for step in range(25):
        loss = model(recipe.prepare(samples, step_rng(0, step)), step).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.target.update(model.encoder, 0.99)
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


@pytest.mark.parametrize("module", MODULES)
def test_images_are_accepted_by_a_video_model(module: ModuleType) -> None:
    """An image stands still for as long as a patch is, however it is given."""
    recipe = module.build(module.tiny())
    images = torch.randn(2, 3, 32, 32)
    tokens = recipe.look(recipe.model, images)
    still = recipe.look(recipe.model, images.unsqueeze(2).expand(-1, -1, 2, -1, -1))
    assert tokens.x.shape == (2, 16, 96) and torch.equal(tokens.x, still.x)


def test_the_spread_keeps_predicted_tokens_apart() -> None:
    config = replace(vjepa.tiny(), spread=0.5, sigreg=0.0)
    recipe = vjepa.build(config)
    batch = recipe.prepare(moving_squares(4, frames=8), step_rng(0, 0))
    loss = recipe.model(batch, 0)
    deviations = [pred[:, 0].var(1).add(1e-4).sqrt() for pred in recipe.model.latents(batch).pred]
    expected = (1 - (deviations[0] + deviations[1]) / 2).relu().mean()
    torch.testing.assert_close(loss.terms["spread"], expected)
    torch.testing.assert_close(loss.total, loss.terms["energy"] + 0.5 * expected)


def test_depth_rescale_is_of_the_second_generation() -> None:
    for module, ratio in ((vjepa, 1.0), (vjepa2, 8**0.5)):  # the last of four blocks
        torch.manual_seed(0)
        recipe = module.build(replace(module.tiny(), encoder=replace(module.tiny().encoder, width=192)))
        last = recipe.model.get_submodule("encoder").trunk.blocks[-1]
        for linear in (last.attn.proj, last.mlp.fc2):
            found = last.mlp.fc1.weight.detach().std() / linear.weight.detach().std()
            assert float(found) == pytest.approx(ratio, rel=0.05)


def test_sizes_that_do_not_go_together_are_refused() -> None:
    for module in MODULES:
        with pytest.raises(ValueError, match="size 32 is not a multiple of patch 5: use 30 or 35"):
            replace(module.tiny(), patch=5)
        with pytest.raises(ValueError, match="size 7 is not a multiple of patch 2"):
            replace(module.tiny(), clip=Clip(7))


def test_crops_are_one_for_all_frames_of_a_clip() -> None:
    """A clip that stands still stays still; clips differ from one another; the geometry is that of the original."""
    frame = torch.arange(48, dtype=torch.uint8).repeat(1, 1, 3, 40, 1)  # [1, 1, 3, 40, 48]: columns count up
    samples = Samples(frame.expand(3, 5, -1, -1, -1), torch.tensor([[40, 96]] * 3), torch.arange(3))
    options = {"scale": (0.3, 1.0), "ratio": (0.75, 1.35), "rng": step_rng(0, 0)}
    clips = crop_clips(samples, 16, flip_prob=0.0, **options)
    assert clips.shape == (3, 3, 5, 16, 16) and clips.dtype == torch.float32
    assert torch.equal(clips, clips[:, :, :1].expand_as(clips))
    assert not torch.allclose(clips[0], clips[1])
    assert bool((clips.diff(dim=-1) >= 0).all())
    flipped = crop_clips(samples, 16, flip_prob=1.0, **options)
    assert bool((flipped.diff(dim=-1) <= 0).all())
    whole = crop_clips(samples, 48, flip_prob=0.0, scale=(1.0, 1.0), ratio=(2.4, 2.4), rng=step_rng(0, 0))
    low, high = (frame[0, 0, 0, 0, i].float() / 255 for i in (0, -1))
    assert float(whole[0, 0].amin() * 0.229 + 0.485) == pytest.approx(float(low), abs=5e-3)
    assert float(whole[0, 0].amax() * 0.229 + 0.485) == pytest.approx(float(high), abs=5e-3)
    with pytest.raises(ValueError, match=r"uint8 \[B, T, 3, H, W\]"):
        crop_clips(Samples(frame[0], samples.sizes, samples.index), 16, flip_prob=0.0, **options)
