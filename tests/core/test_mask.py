"""Masks say what is wrong with them."""

import pytest
import torch

from craik.core import Mask, Part


def index(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows)


def test_shapes_are_checked() -> None:
    context, target = index([0, 1]), index([2, 3])
    with pytest.raises(ValueError, match=r"context \[B, Kc\] and target \[B, T, Kt\]; got \[1, 2\] and \[1, 2\]"):
        Mask(context, target)
    with pytest.raises(ValueError, match="got"):
        Mask(context.repeat(2, 1), target.unsqueeze(1))
    with pytest.raises(ValueError, match="empty context or target"):
        Mask(context[:, :0], target.unsqueeze(1))


def test_indices_are_checked_against_the_grid() -> None:
    mask = Mask(index([0, 1]), index([2, 3]).unsqueeze(1))
    mask.check(4)
    with pytest.raises(ValueError, match=r"Mask.target has indices 2 to 3 but the grid holds 3 tokens"):
        mask.check(3)


def test_a_target_in_the_context_is_refused_in_any_sample_and_set() -> None:
    context = index([0, 1], [0, 1])
    target = torch.tensor([[[2], [3]], [[2], [1]]])
    with pytest.raises(ValueError, match="shows the encoder a token that it must predict"):
        Mask(context, target).check(4)
    Mask(context, torch.tensor([[[2], [3]], [[2], [2]]])).check(4)


def test_the_kind_of_question_stays_with_a_mask() -> None:
    context, target = torch.tensor([[0], [1], [2]]), torch.tensor([[[3]], [[4]], [[5]]])
    mask = Mask(context, target, kind=2)
    assert mask.to("cpu").kind == 2
    assert [part.masks[0].kind for part in Part(torch.zeros(3, 6), (mask,)).chunks(3)] == [2, 2, 2]
    assert Mask(context, target).kind == 0
