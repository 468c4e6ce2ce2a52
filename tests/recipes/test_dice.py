"""Dice: the same model with each latent variable, and that z is trained."""

import math
from dataclasses import replace

import pytest
import torch

from craik.core.latent import Discrete, Gaussian, Optimized
from craik.data.episode import Episodes
from craik.recipes import dice, variants
from craik.recipes.dice import Config, build, fit, world
from craik.recipes.leworldmodel import prepare
from tests.recipes.worlds import SIDE, clips

SMALL = Config(image=SIDE, maps=4, channels=8, width=4, action_embedding=8, hidden=32, depth=2)
KINDS = {"certain": type(None), "discrete": Discrete, "gaussian": Gaussian, "optimized": Optimized}


@pytest.mark.parametrize("variant", variants(dice))
def test_variants_differ_by_z_alone(variant: str) -> None:
    config = getattr(dice, variant)()
    assert replace(config, z="none") == Config()
    model = world(config)
    assert isinstance(model.latent, KINDS[variant])
    if model.latent is not None:
        assert model.latent.budget == pytest.approx(math.log(4))
    if isinstance(model.latent, Discrete):
        assert model.latent.price == config.price > 0


@pytest.mark.parametrize("z", ["none", "discrete", "gaussian", "optimized"])
def test_every_part_is_trained_and_named_for_the_optimizer(z: str) -> None:
    torch.manual_seed(0)
    recipe = build(replace(SMALL, z=z))  # type: ignore[arg-type]
    model = recipe.model
    batch = prepare(2, clips(16, 4, seed=0), torch.Generator())
    loss = model(batch, 0)
    assert ("nats" in loss.terms) == (z != "none") and {"energy", "variance", "covariance", "inverse"} <= set(
        loss.terms
    )
    loss.total.backward()
    named = [p for name in recipe.trained for p in model.get_submodule(name).parameters()]
    assert {id(p) for p in named} == {id(p) for p in model.parameters()}
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert not silent


def test_fit_takes_the_statistics_of_the_actions(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from tests.data.episodes import write

    episodes: Episodes = write(tmp_path / "few", (6, 6))
    config = fit(SMALL, episodes)
    moments = episodes.action_moments()
    assert (config.action_size, config.action_mean) == (episodes.action_size, moments.mean)
    assert world(config).scale.std.tolist() == pytest.approx(list(moments.std))


@pytest.mark.parametrize(("wrong", "message"), [({"image": 18}, "multiple of 4"), ({"num_frames": 1}, "2 frames")])
def test_settings_that_cannot_be(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **wrong)
