"""DINO-WM on a frozen encoder that the user gives."""

from dataclasses import replace

import pytest
import torch

from craik.nn.encoder import Encoder
from craik.nn.position import Table
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.recipes import dino_wm, variants
from craik.recipes.dino_wm import world
from tests.recipes.worlds import SIDE, clips, held_out, learn


def encoder(image: int = SIDE, patch: int = 4, width: int = 16, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    tokenizer = Patchify(3, (patch, patch), width, ("h", "w"))
    size = Size(width, 1, 2)
    return Encoder(tokenizer, size, position=Table(tokenizer.grid((image, image)), width))


def test_published_size() -> None:
    """About 19 M parameters besides the encoder's, with 384 + 10 features in 14 x 14 patches."""
    given = encoder(196, 14, 384)
    trained = [p for p in world(dino_wm.pusht(), given).parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) / 1e6 == pytest.approx(19, abs=1)


@pytest.mark.parametrize("variant", variants(dino_wm))
def test_variants_imagine_patches(variant: str) -> None:
    cfg = getattr(dino_wm, variant)()
    side = cfg.image // 2
    model = world(cfg, encoder(cfg.image, side, 8)).eval()
    frames = torch.zeros(1, cfg.num_frames, 3, cfg.image, cfg.image)
    actions = torch.zeros(1, cfg.num_frames - 1, cfg.action_width)
    with torch.no_grad():
        latents = model.encode(frames)
        assert latents.shape == (1, cfg.num_frames, 4, 8)
        assert model.rollout(latents[:, :1], actions[:, :0], actions).shape == (1, cfg.num_frames - 1, 4, 8)


@pytest.mark.slow
def test_learns_and_leaves_the_encoder_alone() -> None:
    given = encoder()
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    model = world(replace(dino_wm.tiny(), image=SIDE), given)
    learn(model, steps=250, lr=4e-3)
    terms = held_out(model)
    assert terms["energy"] < 0.6 * terms["copy"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in given.state_dict().items())
    assert model.encoder is given and not given.training


def test_measures_in_evaluation_mode_and_puts_it_back() -> None:
    given = encoder().train()
    assert dino_wm.measure(given, SIDE) == (16, 16)
    assert given.training
    assert clips(2, 3, seed=0).frames.shape == (2, 3, 3, SIDE, SIDE)
