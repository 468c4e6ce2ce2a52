"""V-JEPA 2-AC on episodes of any robot: sizes as published, states that are told or not, and what is learned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from craik.core import Part
from craik.data.episode import Episodes
from craik.data.episode_writer import Writer
from craik.data.trajectory import Trajectory
from craik.data.windows import Clips
from craik.errors import UsageError
from craik.nn.sizes import Size
from craik.recipes import variants, vjepa2_ac
from craik.recipes.vjepa2_ac import ActionConditioned, Config, fit, prepare, world
from tests.recipes.worlds import SIDE, clips

SMALL = replace(
    vjepa2_ac.tiny(),
    image=SIDE,
    patch=4,
    encoder=Size(32, 1, 2),
    predictor=Size(32, 2, 2),
    num_frames=4,
    action_size=2,
    state_size=3,
    state_dropout_prob=0.0,
)


def told_clips(num: int = 2, seed: int = 0) -> Clips:
    states = torch.randn(num, SMALL.num_frames, 3, generator=torch.Generator().manual_seed(seed))
    return replace(clips(num, SMALL.num_frames, seed), states=states)


def lively(cfg: Config) -> ActionConditioned:
    """A model that says something: a fresh residual one lets all stand still."""
    torch.manual_seed(0)
    model = world(cfg).eval()
    torch.nn.init.normal_(model.predictor.proj.weight, std=0.2)
    return model


def test_published_size() -> None:
    """305 M parameters in the predictor, on a ViT-g of 1,012 M; 256 patches of a frame."""
    with torch.device("meta"):
        predictor, encoder = vjepa2_ac_parts()
    assert sum(p.numel() for p in predictor.parameters()) / 1e6 == pytest.approx(305.2, abs=0.1)
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(1012.2, abs=0.1)
    assert predictor.grid.num_tokens == 256
    assert [c.in_features for c in predictor.conditions] == [7, 7]


def vjepa2_ac_parts() -> tuple[torch.nn.Module, torch.nn.Module]:
    model = world(vjepa2_ac.vitg())
    return model.predictor, model.encoder


def test_published_schedule() -> None:
    cfg = vjepa2_ac.vitg()
    lr = cfg.optim.lr_schedule(94_500)
    assert [lr(step) for step in (0, 4500, 50_000, 90_000, 94_500)] == pytest.approx([7.5e-5, *[4.25e-4] * 3, 0.0])


@pytest.mark.parametrize("variant", variants(vjepa2_ac))
def test_variants_run(variant: str) -> None:
    cfg = getattr(vjepa2_ac, variant)()
    with torch.device("meta"):
        model = world(cfg)
        frames = torch.empty(2, cfg.num_frames, 3, cfg.image, cfg.image)
        cond = torch.empty(2, cfg.num_frames - 1, cfg.action_width + cfg.state_size)
        latents, told = model.observe(Part(frames, cond=cond))
        assert model.energies(latents, told).shape == (3,)


@torch.no_grad()
def test_imagining_is_what_is_trained() -> None:
    """One step ahead it is teacher forcing; two ahead, the rollout of the loss when states are told."""
    model = lively(SMALL)
    (part,) = prepare(SMALL, told_clips(), torch.Generator()).parts
    latents, told = model.observe(part)
    actions, states = part.cond.split([2, 3], -1)
    for num in (1, 2, 3):
        ahead = model.rollout(
            latents[:, :num], actions[:, : num - 1], actions[:, num - 1 : num], states=states[:, :num]
        )
        assert torch.allclose(ahead[:, 0], model.next(latents[:, :-1], told)[:, num - 1], atol=1e-5)


@torch.no_grad()
def test_states_follow_their_motion_while_it_imagines() -> None:
    model = lively(
        replace(SMALL, motion=tuple(torch.randn(3 * 6, generator=torch.Generator().manual_seed(1)).tolist()))
    )
    latents = model.encode(prepare(SMALL, told_clips(), torch.Generator()).parts[0].x)[:, :1]
    actions, start = torch.randn(2, 2, 2), torch.randn(2, 1, 3)
    ahead = model.rollout(latents, actions[:, :0], actions, states=start)
    then = torch.cat([start, model.motion(start, actions[:, :1])], 1)
    first = model.next(latents, model.told(actions[:, :1], start))
    second = model.next(torch.cat([latents, first], 1), model.told(actions, then))[:, -1:]
    assert torch.allclose(ahead, torch.cat([first, second], 1), atol=1e-5)


@torch.no_grad()
def test_states_that_are_not_known_are_their_mean() -> None:
    model = lively(replace(SMALL, state_mean=(1.0, 2.0, 3.0), state_std=(1.0, 1.0, 1.0)))
    latents, actions = torch.randn(2, 1, 16, 32), torch.randn(2, 1, 2)
    unknown = model.rollout(latents, actions[:, :0], actions)
    at_mean = model.rollout(latents, actions[:, :0], actions, states=torch.tensor([[[1.0, 2, 3]]]).expand(2, 1, 3))
    elsewhere = model.rollout(latents, actions[:, :0], actions, states=torch.zeros(2, 1, 3))
    assert torch.allclose(unknown, at_mean) and not torch.allclose(unknown, elsewhere)


def test_some_windows_are_told_no_state() -> None:
    always, never = (
        prepare(replace(SMALL, state_dropout_prob=prob), told_clips(8), torch.Generator().manual_seed(0)).parts[0].cond
        for prob in (1.0, 0.0)
    )
    assert always[..., 2:].isnan().all() and not never.isnan().any()
    assert torch.equal(always[..., :2], never[..., :2])
    assert torch.equal(never[..., 2:], told_clips(8).states[:, :-1])


def test_states_and_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="told 3 numbers"):
        prepare(SMALL, clips(2, 4, 0), torch.Generator())
    model, latents = lively(SMALL), torch.randn(2, 2, 16, 32)
    with pytest.raises(ValueError, match="past actions"):
        model.rollout(latents, torch.zeros(2, 0, 2), torch.zeros(2, 1, 2))
    with pytest.raises(ValueError, match="states are"):
        model.rollout(latents, torch.zeros(2, 1, 2), torch.zeros(2, 1, 2), states=torch.zeros(2, 1, 3))
    with pytest.raises(ValueError, match="more frames"):
        replace(SMALL, num_frames=2)


def episodes(folder: Path, states: bool = True) -> Episodes:
    """Three robots on a line whose state is where they are, and twice that."""
    rng = np.random.default_rng(0)
    with Writer(folder, (8, 8, 3)) as writer:
        for _ in range(3):
            actions = rng.normal(size=(11, 2)).astype(np.float32)
            at = np.concatenate([np.zeros((1, 2)), np.cumsum(actions[:-1], 0)])
            frames = rng.integers(0, 255, (11, 8, 8, 3), dtype=np.uint8)
            writer.add(Trajectory(frames, actions, np.concatenate([at, 2 * at], 1) if states else None))
    return Episodes.open(folder)


def test_sizes_and_motion_are_told_by_the_data(tmp_path: Path) -> None:
    cfg = fit(SMALL, episodes(tmp_path))
    assert (cfg.action_size, cfg.state_size) == (2, 4)
    model = world(cfg)
    state, action = torch.tensor([[1.0, 1, 2, 2]]), torch.tensor([[0.5, -0.5]])
    expected = torch.tensor([[1.5, 0.5, 3.0, 1.0]])
    assert torch.allclose(model.motion(state, action), expected, atol=0.05)
    assert torch.allclose(model.state_scale.mean[2:], 2 * model.state_scale.mean[:2], atol=1e-5)


def test_robots_that_tell_no_state(tmp_path: Path) -> None:
    cfg = fit(SMALL, episodes(tmp_path, states=False))
    model = lively(cfg)
    assert cfg.state_size == 0 and len(model.predictor.conditions) == 1
    (part,) = prepare(cfg, clips(2, 4, 0), torch.Generator()).parts
    assert model.energies(*model.observe(part)).isfinite().all()
    assert model.rollout(model.encode(part.x)[:, :1], part.cond[:, :0], part.cond).isfinite().all()
    with pytest.raises(UsageError, match="--poses False"):
        fit(vjepa2_ac.vitg(), episodes(tmp_path / "again", states=False))


@pytest.mark.slow
def test_learns_what_actions_do_and_leaves_the_encoder_alone() -> None:
    """A square goes where it is told: the error falls below that of standing still, on windows never seen."""
    torch.manual_seed(0)
    cfg = replace(SMALL, state_size=0)
    model = world(cfg).train()
    before = [p.clone() for p in model.encoder.parameters()]
    optimizer = torch.optim.AdamW(model.predictor.parameters(), lr=4e-3)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1.0, (step + 1) / 10) * (1 - step / 200)
        loss = model(prepare(cfg, clips(32, 4, step), torch.Generator()), step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    with torch.no_grad():
        terms = model.eval()(prepare(cfg, clips(64, 4, 10_000), torch.Generator())).terms
    assert terms["energy"] < 0.85 * terms["copy"]
    assert all(torch.equal(one, two) for one, two in zip(before, model.encoder.parameters(), strict=True))
    assert not model.encoder.training


def test_gradient_reaches_actions() -> None:
    model = lively(SMALL)
    actions: Tensor = torch.zeros(1, 3, 2, requires_grad=True)
    model.rollout(torch.randn(1, 1, 16, 32), actions[:, :0], actions).square().sum().backward()
    assert (actions.grad.abs().sum(-1) > 0).all()
