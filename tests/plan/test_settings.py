"""How to plan, in numbers."""

import pytest

from craik.errors import UsageError
from craik.plan import CEM, ICEM, MPPI, Box, CategoricalCEM, Discrete, Gradient, RandomShooting
from craik.plan.settings import Planning

BOX, CHOICES = Box.of([-1], [1]), Discrete(4)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("icem", ICEM), ("cem", CEM), ("mppi", MPPI), ("gradient", Gradient), ("shooting", RandomShooting)],
)
def test_solvers_by_name(name: str, kind: type) -> None:
    found = Planning(solver=name, samples=40, iterations=3).search(BOX)  # type: ignore[arg-type]
    assert isinstance(found, kind)
    assert found.num_iterations == 3  # type: ignore[attr-defined]
    assert 40 in (getattr(found, "num_samples", 0), getattr(found, "num_restarts", 0))


def test_discrete_actions() -> None:
    assert isinstance(Planning().search(CHOICES), CategoricalCEM)
    assert isinstance(Planning(solver="shooting").search(CHOICES), RandomShooting)
    with pytest.raises(UsageError, match="mppi cannot choose among discrete actions: take icem, cem or shooting"):
        Planning(solver="mppi").search(CHOICES)


def test_few_samples() -> None:
    assert isinstance(Planning(samples=4).search(BOX), ICEM)
    with pytest.raises(UsageError, match="2 elites of 3 samples"):
        Planning(samples=3).search(BOX)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match=r"1 <= execute <= horizon.*got execute 5, horizon 4"):
        Planning(horizon=4, execute=5)
    with pytest.raises(UsageError, match="samples 0"):
        Planning(samples=0)
    with pytest.raises(UsageError, match="solver 'magic'"):
        Planning(solver="magic")  # type: ignore[arg-type]
