"""Tasks side by side give what they give one after the other."""

import pytest
import torch
from torch import nn

from craik.core import EMA, JEPA, Batch, Mask, Part
from craik.core.energy import l1
from craik.core.jepa import one_by_one
from craik.nn.attention import Attention, Segments
from craik.nn.packed import packed
from craik.nn.tokenizer import Patchify
from tests.weights.video import jepa

X = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def masks() -> tuple[Mask, ...]:
    order = torch.stack([torch.randperm(32, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)])
    return tuple(Mask(order[:, :size], order[:, None, size:end]) for size, end in ((12, 30), (5, 32), (20, 25)))


@pytest.mark.parametrize("rotary", [False, True])
def test_loss_and_gradients_are_those_of_one_by_one(rotary: bool) -> None:
    results = []
    for solve in (one_by_one, packed):
        torch.manual_seed(0)
        model = jepa(rotary, 1).double().train()
        model.solve = solve
        loss = model(Batch((Part(X, masks()),))).total
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(results[0]) > 40
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


def test_each_mask_is_asked_with_the_token_of_its_kind() -> None:
    model = jepa(True, 3).double()
    first, second, _ = masks()
    places = [model.encoder.grid((4, 32, 32)).coords()[mask.target] for mask in (first, second)]
    kinds = (Mask(first.context, first.target, 2), Mask(second.context, second.target, 1))
    solved = packed(model.encoder, model.predictor, Part(X, kinds), places)
    for task, mask, where in zip(solved, kinds, places, strict=True):
        context = model.encoder(X, keep=mask.context)
        torch.testing.assert_close(task.context.x, context.x)
        torch.testing.assert_close(task.pred, model.predictor(context, where, kind=mask.kind))
    with pytest.raises(ValueError, match="say which one is asked"):
        one_by_one(model.encoder, model.predictor, Part(X, kinds), places)


def test_patches_are_cut_once_for_all_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = jepa(True, 1).double(), []
    model.solve = packed
    cut = Patchify.patches

    def counted(self: Patchify, x: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        found = cut(self, x, keep)
        calls.append(found.shape[1])
        return found

    monkeypatch.setattr(Patchify, "patches", counted)
    model(Batch((Part(X, masks()),)))
    assert calls == [32, 12 + 5 + 20]  # the target sees the clip, the encoder what is kept and no more


def test_segments_do_not_see_one_another() -> None:
    torch.manual_seed(0)
    attention = Attention(16, 4).double()
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    together = attention(x, segments=Segments((4, 5), (4, 5)))
    apart = torch.cat([attention(part) for part in x.split((4, 5), 1)], 1)
    torch.testing.assert_close(together, apart)
    queries = torch.cat([x[:, 1:3], x[:, 8:]], 1)
    fewer = attention(x, queries, segments=Segments((2, 1), (4, 5)))
    torch.testing.assert_close(fewer, torch.cat([apart[:, 1:3], apart[:, 8:]], 1))


def test_other_networks_are_refused() -> None:
    model = JEPA(nn.Identity(), EMA(nn.Linear(1, 1)), nn.Identity(), l1, solve=packed)
    with pytest.raises(TypeError, match="not for Identity and Identity: leave out solve"):
        packed(model.encoder, model.predictor, Part(X, masks()), [])
