"""LeWorldModel: sizes as published, batches from windows, and learning without collapse."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from craik.core import Part
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.errors import UsageError
from craik.nn.causal import CausalSize
from craik.nn.sizes import Size
from craik.recipes import leworldmodel, variants
from craik.recipes.leworldmodel import Body, Config, prepare, world
from tests.recipes.worlds import SIDE, clips, held_out, learn

SMALL = Body(
    image=SIDE,
    patch=4,
    encoder=Size(32, 2, 2),
    embedding=16,
    hidden=32,
    predictor=CausalSize(width=16, depth=1, heads=2, head_width=8, hidden=32),
    dropout_prob=0.0,
    history=2,
    skip=1,
    num_steps=2,
)
CONFIG = Config(body=SMALL, num_directions=64)


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_published_sizes() -> None:
    """About 5 M parameters in the ViT and 10 M in the transformer over time, section 3 of the paper."""
    with torch.device("meta"):
        model = world(leworldmodel.pusht())
    assert millions(model.perception.encoder) == pytest.approx(5.5, abs=0.1)
    assert millions(model.predictor.trunk) == pytest.approx(10.8, abs=0.1)
    assert model.actions.smooth.weight.shape == (10, 10)  # 5 skipped frames x 2 numbers
    assert model.predictor.position.shape == (1, 3, 192)


@pytest.mark.parametrize("variant", variants(leworldmodel))
def test_variants_run(variant: str) -> None:
    cfg = getattr(leworldmodel, variant)()
    body = cfg.body
    with torch.device("meta"):
        model = world(cfg)
        part = Part(
            torch.empty(2, body.num_frames, 3, body.image, body.image),
            cond=torch.empty(2, body.num_frames - 1, body.action_width),
        )
        seen = model.observe(part)
        assert model.energies(seen).shape == (body.num_steps,)
        imagined = model.rollout(seen.latents[:, :1], part.cond[:, :0], part.cond)
    assert imagined.shape == (2, body.num_frames - 1, body.embedding)


def test_batches_are_normalized_and_actions_left_in_their_units() -> None:
    given = clips(3, 4, seed=0, skip=5)
    (part,) = prepare(10, given, torch.Generator()).parts
    pixel = given.frames[1, 2, :, 3, 4].float() / 255
    expected = (pixel - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(part.x[1, 2, :, 3, 4], expected)
    assert part.cond is given.actions and part.cond.shape == (3, 3, 10)


def test_data_of_another_world_is_refused() -> None:
    given = clips(3, 4, seed=0)
    with pytest.raises(UsageError, match=r"actions are \[3, 3, 2\].*expected \[3, 3, 4\].*action_size and skip"):
        prepare(4, given, torch.Generator())
    with pytest.raises(UsageError, match="no actions"):
        prepare(2, replace(given, actions=None), torch.Generator())


def test_patch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="image 65 is not a multiple of patch 8: use 64 or 72"):
        Body(image=65, patch=8)


def test_sigreg_looks_at_the_batch_at_each_time() -> None:
    """Latents that vary between times and not between samples are collapsed."""
    penalty = world(CONFIG).terms["sigreg"].penalty
    rng = torch.Generator().manual_seed(0)
    spread, times = torch.randn(64, 4, 16, generator=rng), torch.randn(1, 4, 16, generator=rng).expand(64, -1, -1)
    trajectory = partial(leworldmodel.Trajectory, actions=torch.empty(0))
    assert penalty(trajectory(latents=times), 0) > 10 * penalty(trajectory(latents=spread), 0)


def test_learns_without_collapse() -> None:
    torch.manual_seed(0)
    model = world(CONFIG)
    learn(model, steps=100, lr=4e-3)
    terms = held_out(model)
    assert terms["energy"] < 0.65 * terms["copy"]
    assert 0.4 < terms["std"] < 1.5


def test_weights_come_back_with_the_action_statistics() -> None:
    torch.manual_seed(0)
    model, other = world(CONFIG).eval(), world(CONFIG).eval()
    model.scale.set(torch.tensor([0.1, -0.2]), torch.tensor([0.5, 0.4]))
    other.load_state_dict(model.state_dict())
    given = clips(2, 4, seed=3)
    (part,) = prepare(2, given, torch.Generator()).parts
    latents = model.encode(part.x)
    with torch.no_grad():
        ours, theirs = (m.rollout(latents[:, :1], part.cond[:, :0], part.cond) for m in (model, other))
    assert torch.equal(ours, theirs)
