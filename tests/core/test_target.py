"""Targets: which gradient flows, what follows, and what refuses to be forgotten."""

import pytest
import torch
from torch import nn

from craik.core import EMA, Frozen, Shared, StopGrad, Target
from craik.core.target import layer_normalize
from tests.core.linear_world import Cells

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def moved(encoder: Cells) -> Cells:
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 1.0
    return encoder


@pytest.mark.parametrize("momentum", [0.0, 0.25, 0.996, 1.0])
def test_ema_update_is_exact(momentum: float) -> None:
    encoder = Cells().double()
    target = EMA(encoder)
    before = [p.clone() for p in target.encoder.parameters()]
    moved(encoder)
    target.update(encoder, momentum)
    for slow, old, fast in zip(target.encoder.parameters(), before, encoder.parameters(), strict=True):
        assert torch.allclose(slow, momentum * old + (1 - momentum) * fast, rtol=1e-14, atol=0)


def test_ema_moves_parameters_without_gradient_and_keeps_its_own_statistics() -> None:
    encoder = Cells()
    encoder.linear.bias.requires_grad_(False)
    target = EMA(encoder)
    moved(encoder).norm.running_mean.fill_(7.0)
    target.update(encoder, 0.0)
    assert torch.equal(target.encoder.linear.bias, encoder.linear.bias)
    assert not torch.equal(target.encoder.norm.running_mean, encoder.norm.running_mean)


def test_ema_has_no_gradient_and_its_own_weights() -> None:
    encoder = Cells()
    target = EMA(encoder)
    before = target(encoder, X).x
    moved(encoder)
    assert torch.equal(target(encoder, X).x, before)
    assert not before.requires_grad and not any(p.requires_grad for p in target.parameters())
    assert all(p.requires_grad for p in encoder.parameters())
    assert target.representation(encoder) is target.encoder


def test_ema_distance() -> None:
    encoder = Cells().double()
    target = EMA(encoder)
    assert float(target.distance(encoder)) == 0
    with torch.no_grad():
        for parameter in target.encoder.parameters():
            parameter *= 1.5
    assert float(target.distance(encoder)) == pytest.approx(0.5)


def test_a_run_that_forgets_the_update_fails_loudly() -> None:
    encoder = Cells()
    target = EMA(encoder)
    target.patience = 3
    for _ in range(2):
        for _ in range(3):
            target(encoder, X)
        target.update(encoder, 0.9)  # in time
    for _ in range(3):
        target(encoder, X)
    with pytest.raises(RuntimeError, match=r"not updated for 3 training passes; call model.target.update"):
        target(encoder, X)
    target.eval()
    target(encoder, X)  # evaluation needs no update


def test_targets_are_normalized_per_token() -> None:
    encoder = Cells(8)
    tokens = EMA(encoder)(encoder, X).x
    assert torch.allclose(tokens.mean(-1), torch.zeros(4, 6), atol=1e-6)
    assert torch.allclose(tokens, layer_normalize(encoder(X).x))
    assert layer_normalize(torch.randn(2, 4, dtype=torch.float64)).dtype == torch.float64
    assert layer_normalize(torch.randn(2, 4, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize(("kind", "flows"), [(Shared, True), (StopGrad, False)])
def test_targets_that_are_the_encoder_itself(kind: type[Target], flows: bool) -> None:
    encoder, target = Cells(), kind()
    tokens = target(encoder, X)
    assert torch.equal(tokens.x, encoder(X).x)
    assert tokens.x.requires_grad is flows
    assert target.representation(encoder) is encoder and list(target.parameters()) == []
    target.update(encoder, 0.5)  # nothing to do


def test_wanted_answers_at_these_places_only() -> None:
    encoder, wanted = Cells(), torch.tensor([[5, 0]]).repeat(4, 1)
    for target in (EMA(encoder), StopGrad(), Shared(), Frozen(Cells())):
        everything, some = target(encoder, X), target(encoder, X, wanted)
        assert torch.equal(some.x, everything.take(wanted).x) and torch.equal(some.at, everything.take(wanted).at)


def test_frozen_stays_in_evaluation_mode() -> None:
    pretrained = Cells()
    target = Frozen(pretrained)
    model = nn.ModuleDict({"encoder": Cells(), "target": target}).train()
    assert model["encoder"].training and not pretrained.training and not pretrained.norm.training
    before = target(model["encoder"], X).x
    moved(model["encoder"])
    target.update(model["encoder"], 0.0)
    assert torch.equal(target(model["encoder"], X).x, before)
    assert not any(p.requires_grad for p in target.parameters())
