"""PLDM: its terms with the published coefficients, and learning."""

import pytest
import torch

from craik.core.dynamics import temporal_covariance, temporal_similarity, temporal_variance
from craik.core.latent_world import Trajectory
from craik.core.regularize import covariance, variance
from craik.recipes import pldm, variants
from craik.recipes.pldm import Coefficients, Config, world
from tests.recipes.test_leworldmodel import SMALL
from tests.recipes.worlds import clips, held_out, learn


def test_terms_and_their_converted_weights() -> None:
    """The published covariance is the mean over D(D-1) entries, ours the sum over D."""
    weights = Coefficients(
        variance=2, covariance=3, similarity=5, temporal_variance=7, temporal_covariance=11, inverse=13
    )
    terms = world(Config(body=SMALL, weights=weights, inverse_hidden=8)).terms
    assert {name: term.weight for name, term in terms.items()} == {
        "variance": 2,
        "covariance": pytest.approx(3 / 15),
        "similarity": 5,
        "temporal_variance": 7,
        "temporal_covariance": pytest.approx(11 / 15),
        "inverse": 13,
    }
    z = torch.randn(6, 4, 16)
    seen = Trajectory(z, torch.randn(6, 3, 2))
    expected = {
        "variance": variance(z.transpose(0, 1)),
        "covariance": covariance(z.transpose(0, 1)),
        "similarity": temporal_similarity(z),
        "temporal_variance": temporal_variance(z),
        "temporal_covariance": temporal_covariance(z),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].penalty(seen, 0), value)


def test_terms_of_weight_zero_are_not_there() -> None:
    assert sorted(world(Config(body=SMALL)).terms) == ["covariance", "similarity", "temporal_variance", "variance"]


def test_inverse_dynamics_trains_encoder_and_head() -> None:
    torch.manual_seed(0)
    model = world(Config(body=SMALL, weights=Coefficients(inverse=1.0), inverse_hidden=8))
    given = clips(4, 4, seed=0)
    (part,) = pldm.leworldmodel.prepare(2, given, torch.Generator()).parts
    model.terms["inverse"].penalty(model.observe(part), 0).backward()
    for module in (model.perception.encoder.tokenizer, model.penalties["inverse"].head):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    assert all(p.grad is None for p in model.predictor.parameters())


@pytest.mark.parametrize("variant", variants(pldm))
def test_variants_build(variant: str) -> None:
    with torch.device("meta"):
        model = world(getattr(pldm, variant)())
    assert set(model.terms) >= {"variance", "covariance", "similarity"}


@pytest.mark.slow
def test_learns_without_collapse() -> None:
    torch.manual_seed(0)
    weights = Coefficients(variance=16, covariance=8, similarity=0.5, temporal_variance=0, inverse=1)
    model = world(Config(body=SMALL, weights=weights, inverse_hidden=32))
    learn(model, steps=100, lr=4e-3)
    terms = held_out(model)
    assert terms["energy"] < 0.65 * terms["copy"]
    assert terms["std"] > 0.7
