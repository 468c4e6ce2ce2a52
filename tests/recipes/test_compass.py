"""Compass: which term looks at which part of the latent, planning defaults, and learning."""

from dataclasses import replace

import pytest
import torch

from craik.core.dynamics import episode_contrast, temporal_similarity
from craik.core.latent_world import Trajectory
from craik.core.regularize import covariance, variance
from craik.plan.settings import Planning
from craik.recipes import compass, variants
from craik.recipes.compass import Coefficients, Config, build, world
from craik.recipes.leworldmodel import prepare
from tests.recipes.worlds import SIDE, clips, held_out, learn

SMALL = Config(
    image=SIDE,
    place_maps=4,
    scene_maps=4,
    place_channels=8,
    scene_channels=8,
    place=4,
    scene=4,
    hidden=64,
    depth=2,
    inverse_hidden=16,
    skip=1,
    num_steps=2,
    num_frames=4,
)


EVERY = Coefficients(variance=0.8, covariance=4.0, similarity=10.0)


def test_terms_look_at_their_part_of_the_latent() -> None:
    terms = world(replace(SMALL, weights=EVERY)).terms
    assert {name: term.weight for name, term in terms.items()} == {
        "inverse": 4.0,
        "contrast": 1.0,
        "variance": 0.8,
        "covariance": pytest.approx(4.0 / 3),
        "similarity": 10.0,
    }
    z = torch.randn(6, 4, 8)
    seen = Trajectory(z, torch.randn(6, 3, 2))
    scene = z[..., 4:]
    expected = {
        "contrast": episode_contrast(scene, SMALL.temperature),
        "variance": variance(scene.transpose(0, 1)),
        "covariance": covariance(scene.transpose(0, 1)),
        "similarity": temporal_similarity(scene),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].penalty(seen, 0), value)
    other = Trajectory(torch.cat([z[..., :4], torch.randn(6, 4, 4)], -1), seen.actions)
    torch.testing.assert_close(terms["inverse"].penalty(seen, 0), terms["inverse"].penalty(other, 0))


@pytest.mark.parametrize("name", ["inverse", "contrast", "variance", "covariance", "similarity"])
def test_every_term_can_be_left_out(name: str) -> None:
    weights = replace(EVERY, **{name: 0.0})
    assert name not in world(replace(SMALL, weights=weights)).terms


def test_sigreg_in_place_of_the_contrast() -> None:
    weights = Coefficients(contrast=0, similarity=10.0, sigreg=0.1)
    model = world(replace(SMALL, weights=weights, num_directions=8))
    assert sorted(model.terms) == ["inverse", "sigreg", "similarity"]
    given = prepare(2, clips(8, 4, seed=0), torch.Generator())
    model(given, 0).total.backward()
    scene = model.perception.encoder.to_scene
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in scene.parameters())


def test_inverse_dynamics_trains_the_place_alone() -> None:
    torch.manual_seed(0)
    model = world(SMALL)
    (part,) = prepare(2, clips(4, 4, seed=0), torch.Generator()).parts
    model.terms["inverse"].penalty(model.observe(part), 0).backward()
    encoder = model.perception.encoder
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.to_place.parameters())
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in encoder.to_scene.parameters())


def test_rollout_is_what_was_trained() -> None:
    """Imagined steps have the energies that training gave them."""
    torch.manual_seed(0)
    model = world(replace(SMALL, num_steps=3, num_frames=4)).eval()
    model.scale.set(torch.tensor([0.5, 0.0]), torch.tensor([2.0, 1.0]))
    (part,) = prepare(2, clips(5, 4, seed=1), torch.Generator()).parts
    assert part.cond is not None
    with torch.no_grad():
        z = model.encode(part.x)
        imagined = model.rollout(z[:, :1], part.cond[:, :0], part.cond)
        energies = model.energies(model.observe(part))
    expected = torch.stack([model.energy(imagined[:, k], z[:, k + 1]).mean() for k in range(3)])
    torch.testing.assert_close(energies, expected)


def test_recipe_says_how_to_plan() -> None:
    recipe = build(SMALL)
    assert isinstance(recipe.planning, Planning) and recipe.window is not None
    assert (recipe.window.frames, recipe.window.history, recipe.window.skip) == (4, 1, 1)


@pytest.mark.parametrize("variant", variants(compass))
def test_variants_build(variant: str) -> None:
    with torch.device("meta"):
        model = world(getattr(compass, variant)())
    assert set(model.terms) == {"inverse", "contrast"}


@pytest.mark.parametrize(
    ("wrong", "message"), [({"image": 18}, "multiple of 4: use 16"), ({"num_frames": 2}, "3 frames or more, got 2")]
)
def test_settings_that_cannot_be(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **wrong)


@pytest.mark.slow
def test_learns_without_collapse() -> None:
    """One still background: nothing is left for the scene, and the place is learned."""
    torch.manual_seed(0)
    model = world(replace(SMALL, weights=Coefficients(contrast=0, similarity=10.0)))
    learn(model, steps=250, lr=4e-3)
    terms = held_out(model)
    assert terms["energy"] < 0.5 * terms["copy"]
    assert terms["inverse"] < 0.5
