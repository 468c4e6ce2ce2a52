"""The one flow, on networks that can be checked by hand."""

import pytest
import torch
from torch import Tensor

from craik.core import EMA, JEPA, Batch, Frozen, Latents, Mask, Part, Regularizer, Shared, StopGrad, Target
from craik.core.energy import l2
from tests.core.linear_world import Cells, MeanPlusPlace, task

X = torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
TARGETS = {
    "ema": lambda encoder: EMA(encoder),
    "stop": lambda encoder: StopGrad(),
    "shared": lambda encoder: Shared(),
    "frozen": lambda encoder: Frozen(Cells()),
}


def build(make_target: object = TARGETS["shared"], **regularizers: Regularizer) -> JEPA:
    torch.manual_seed(0)
    encoder = Cells()
    target: Target = make_target(encoder)
    return JEPA(encoder, target, MeanPlusPlace(), l2, regularizers)


def by_hand(model: JEPA, x: Tensor, cond: Tensor | None = None) -> Tensor:
    """Mean over samples, sets and cells, with loops."""
    losses = []
    goals = model.target(model.encoder, x).x
    for b in range(len(x)):
        context = model.encoder(x).x[b, [0, 1, 2]].mean(0)
        for cells in ([3, 4], [5, 4]):
            for cell in cells:
                pred = model.predictor.gain * context + cell
                pred = pred if cond is None else pred + cond[b].mean(0)
                losses.append((pred - goals[b, cell]).square().mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("name", TARGETS)
def test_loss_is_the_mean_energy(name: str) -> None:
    model = build(TARGETS[name])
    loss = model(Batch((Part(X, (task(),)),)))
    assert torch.allclose(loss.total, by_hand(model, X))
    assert loss.terms.keys() == {"energy"} and torch.equal(loss.terms["energy"], loss.total)


@pytest.mark.parametrize("name", TARGETS)
def test_gradient_reaches_what_it_should(name: str) -> None:
    model = build(TARGETS[name])
    model(Batch((Part(X, (task(),)),))).total.backward()
    assert all(p.grad is not None for p in (*model.encoder.linear.parameters(), model.predictor.gain))
    assert all(p.grad is None for p in model.target.parameters())


def test_the_target_side_adds_gradient_only_when_shared() -> None:
    grads = {}
    for name in ("shared", "stop"):
        model = build(TARGETS[name])
        model(Batch((Part(X, (task(),)),))).total.backward()
        grads[name] = model.encoder.linear.weight.grad
    assert not torch.allclose(grads["shared"], grads["stop"])


def test_parts_and_masks_are_averaged() -> None:
    model, other = build(), torch.randn(2, 6)
    single = [model(Batch((Part(x, (task(),)),))).total for x in (X, other)]
    together = model(Batch((Part(X, (task(),)), Part(other, (task(),))))).total
    assert torch.allclose(together, (single[0] + single[1]) / 2)
    twice = model(Batch((Part(X, (task(), task())),))).total
    assert torch.allclose(twice, single[0])


def test_masks_of_unequal_sizes_get_their_own_goals() -> None:
    """Goals of all masks come from one pass of the target: each mask must get its own share of them."""
    model = build()
    wide = task()
    narrow = Mask(torch.tensor([[0, 5], [1, 5]]), torch.tensor([[[2]], [[3]]]))
    alone = [model(Batch((Part(X, (mask,)),))).total for mask in (wide, narrow)]
    both = model(Batch((Part(X, (wide, narrow)),))).total
    assert torch.allclose(both, (alone[0] + alone[1]) / 2)
    assert not torch.allclose(alone[0], alone[1])


def test_a_condition_reaches_the_predictor() -> None:
    model, cond = build(), torch.randn(2, 4, 3)
    loss = model(Batch((Part(X, (task(),), cond),)))
    assert torch.allclose(loss.total, by_hand(model, X, cond))


def test_the_target_may_look_at_another_input() -> None:
    model, clean = build(TARGETS["frozen"]), torch.randn(2, 6)
    seen = model.latents(Batch((Part(X, (task(),), y=clean),)))
    wanted = task().target.flatten(1)
    assert torch.equal(seen.goal[0].x, model.target(model.encoder, clean, wanted).x)
    assert torch.equal(seen.context[0].x, model.encoder(X, keep=task().context).x)


def test_regularizers_are_named_weighted_and_told_the_step() -> None:
    asked: list[tuple[tuple[int, ...], int]] = []

    def penalty(z: Tensor, step: int) -> Tensor:
        asked.append((tuple(z.shape), step))
        return z.square().mean()

    model = build(
        pooled=Regularizer(2.0, penalty),
        tokens=Regularizer(3.0, penalty, Latents.context_tokens),
        pred=Regularizer(0.0, penalty, Latents.predictions),
    )
    loss = model(Batch((Part(X, (task(), task())),)), step=17)
    assert asked == [((2, 2, 3), 17), ((12, 3), 17), ((16, 3), 17)]
    expected = loss.terms["energy"] + 2 * loss.terms["pooled"] + 3 * loss.terms["tokens"]
    assert torch.allclose(loss.total, expected)
    assert list(loss.terms) == ["energy", "pooled", "tokens", "pred"]


def test_chunks_of_a_batch_average_to_the_whole() -> None:
    model = build(TARGETS["frozen"])
    batch = Batch((Part(torch.randn(4, 6), (task(4),), torch.randn(4, 2, 3)),))
    pieces = [model(chunk).total for chunk in batch.chunks(2)]
    assert torch.allclose(model(batch).total, (pieces[0] + pieces[1]) / 2)
    with pytest.raises(ValueError, match="do not divide into 3 equal pieces"):
        batch.chunks(3)
