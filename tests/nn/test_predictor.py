"""The predictor answers for each target set alone, from the context and the places asked for."""

import pytest
import torch

from craik.core import Grid, Tokens
from craik.nn.position import Rotary, Table
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size

GRID, SIZE, WIDTH = Grid(("h", "w"), (4, 6)), Size(16, 2, 2), 32


def build(kind: str = "table", together: bool = False) -> Predictor:
    torch.manual_seed(1)
    position = Table(GRID, SIZE.width) if kind == "table" else None
    rotary = Rotary(SIZE.width // SIZE.heads, 2) if kind == "rotary" else None
    predictor = Predictor(WIDTH, SIZE, GRID, position, rotary, together)
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return predictor.double()


def context(num: int = 7) -> Tokens:
    index = torch.stack([torch.randperm(24)[:num] for _ in range(2)])
    return Tokens(torch.randn(2, num, WIDTH, dtype=torch.float64), GRID.coords()[index])


def places(sets: int = 3, num: int = 5) -> torch.Tensor:
    return GRID.coords()[torch.randint(0, 24, (2, sets, num))]


@pytest.mark.parametrize("kind", ["table", "rotary"])
@pytest.mark.parametrize("together", [False, True])
def test_shape(kind: str, together: bool) -> None:
    assert build(kind, together)(context(), places()).shape == (2, 3, 5, WIDTH)


@pytest.mark.parametrize("kind", ["table", "rotary"])
def test_sets_are_independent(kind: str) -> None:
    predictor, seen, where = build(kind), context(), places()
    moved = where.clone()
    moved[:, 1] = 3 - moved[:, 1].clamp(max=3)
    before, after = predictor(seen, where), predictor(seen, moved)
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
    assert not torch.allclose(after[:, 1], before[:, 1])
    for t in range(3):
        assert torch.allclose(predictor(seen, where[:, t : t + 1])[:, 0], before[:, t], atol=1e-12)


def test_together_lets_sets_see_one_another() -> None:
    predictor, seen, where = build(together=True), context(), places()
    moved = where.clone()
    moved[:, 1] = 3 - moved[:, 1].clamp(max=3)
    assert not torch.allclose(predictor(seen, moved)[:, 0], predictor(seen, where)[:, 0])
    assert torch.allclose(predictor(seen, where[:, :1]), build()(seen, where[:, :1]), atol=1e-12)


@pytest.mark.parametrize("kind", ["table", "rotary"])
def test_the_order_of_the_context_does_not_matter(kind: str) -> None:
    predictor, seen, where = build(kind), context(), places()
    shuffle = torch.randperm(7)
    shuffled = Tokens(seen.x[:, shuffle], seen.at[:, shuffle])
    assert torch.allclose(predictor(shuffled, where), predictor(seen, where), atol=1e-12)


@pytest.mark.parametrize("kind", ["table", "rotary"])
def test_places_matter(kind: str) -> None:
    predictor, seen = build(kind), context()
    where = places(sets=1, num=2)
    where[:, 0, 1] = where[:, 0, 0]
    pred = predictor(seen, where)
    assert torch.allclose(pred[:, 0, 0], pred[:, 0, 1], atol=1e-12)  # the same question, the same answer
    where[:, 0, 1, 1] = (where[:, 0, 0, 1] + 1) % 6
    pred = predictor(seen, where)
    assert not torch.allclose(pred[:, 0, 0], pred[:, 0, 1])


def test_condition_tokens_are_seen() -> None:
    predictor, seen, where = build(), context(), places()
    cond = torch.randn(2, 3, WIDTH, dtype=torch.float64)
    conditioned = predictor(seen, where, cond)
    assert conditioned.shape == (2, 3, 5, WIDTH)
    assert not torch.allclose(conditioned, predictor(seen, where))
    assert torch.allclose(conditioned, predictor(seen, where, cond.flip(1)), atol=1e-12)  # a set, not a sequence
    assert not torch.allclose(conditioned, predictor(seen, where, cond + 1))


def test_published_predictors_have_their_parameter_counts() -> None:
    for width, size, millions in (
        (1024, Size(384, 12, 16), 22.1),
        (1280, Size(384, 12, 16), 22.3),
        (1408, Size(384, 12, 16), 22.4),
        (1408, Size(384, 16, 16), 29.5),
    ):
        with torch.device("meta"):
            predictor = Predictor(width, size, GRID)
        assert sum(p.numel() for p in predictor.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_kinds_of_questions_have_their_own_mask_tokens() -> None:
    torch.manual_seed(0)
    predictor = Predictor(WIDTH, SIZE, GRID, position=Table(GRID, SIZE.width), num_kinds=3).double()
    seen, where = context(), places()
    answers = [predictor(seen, where, kind=kind) for kind in range(3)]
    assert not torch.allclose(answers[0], answers[1]) and not torch.allclose(answers[1], answers[2])
    with pytest.raises(ValueError, match="tells 3 kinds of questions apart: say which"):
        predictor(seen, where)
    with pytest.raises(ValueError, match="no kind 3"):
        predictor(seen, where, kind=3)
    zero = Predictor(WIDTH, SIZE, GRID, num_kinds=2, token_std=0.0)
    assert not any(token.any() for token in (zero.mask_token, *zero.other_tokens))


@pytest.mark.parametrize("kind", ["table", "rotary"])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("sets", [(1, 1), (3, 3), (3, 2)])
def test_several_tasks_in_one_pass_are_each_alone(kind: str, together: bool, sets: tuple[int, int]) -> None:
    predictor = build(kind, together)
    seen, asked = [context(7), context(4)], [places(sets[0], 5), places(sets[1], 2)]
    both = predictor.each(seen, asked, [None, None])
    for one, context_, where in zip(both, seen, asked, strict=True):
        assert torch.allclose(one, predictor(context_, where), atol=1e-12)
