"""Energies against closed forms."""

import math

import pytest
import torch

from craik.core.energy import Energy, cosine, infonce, l1, l2, smooth_l1

ALL = {"smooth_l1": smooth_l1, "l1": l1, "l2": l2, "cosine": cosine, "infonce": infonce()}


@pytest.mark.parametrize("name", ALL)
def test_one_energy_per_sample_and_set(name: str) -> None:
    pred, goal = torch.randn(3, 2, 5, 4), torch.randn(3, 2, 5, 4)
    energy = ALL[name](pred, goal)
    assert energy.shape == (3, 2)
    if name != "infonce":  # which looks at the whole batch
        assert torch.allclose(ALL[name](pred[1:2, :1], goal[1:2, :1])[0, 0], energy[1, 0])


@pytest.mark.parametrize(
    ("energy", "gap", "value"),
    [(smooth_l1, 0.5, 0.125), (smooth_l1, 3.0, 2.5), (l1, -3.0, 3.0), (l2, -3.0, 9.0)],
)
def test_a_constant_gap(energy: Energy, gap: float, value: float) -> None:
    goal = torch.randn(2, 1, 4, 3, dtype=torch.float64)
    assert torch.allclose(energy(goal + gap, goal), torch.full((2, 1), value, dtype=torch.float64))


def test_cosine() -> None:
    goal = torch.tensor([[[[1.0, 0.0]]]])
    for pred, value in (([2.0, 0.0], 0.0), ([0.0, 3.0], 1.0), ([-1.0, 0.0], 2.0)):
        assert float(cosine(torch.tensor([[[pred]]]), goal)) == pytest.approx(value)


@pytest.mark.parametrize("name", ["smooth_l1", "l1", "l2", "cosine"])
def test_zero_where_prediction_is_right(name: str) -> None:
    goal = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    assert torch.allclose(ALL[name](goal, goal), torch.zeros(2, 3, dtype=torch.float64), atol=1e-12)


def test_infonce_of_equal_goals_is_the_log_of_their_number() -> None:
    goal = torch.ones(3, 2, 5, 4)
    assert torch.allclose(infonce()(torch.randn(3, 2, 5, 4), goal), torch.full((3, 2), math.log(30)), atol=1e-5)


def test_infonce_against_loops() -> None:
    pred, goal = torch.randn(2, 2, 3, 4, dtype=torch.float64), torch.randn(2, 2, 3, 4, dtype=torch.float64)
    ours = infonce(0.3)(pred, goal)
    goals = [g / g.norm() for g in goal.reshape(-1, 4)]
    for b in range(2):
        for t in range(2):
            terms = []
            for k in range(3):
                anchor = pred[b, t, k] / pred[b, t, k].norm()
                scores = torch.stack([anchor @ g / 0.3 for g in goals])
                terms.append(scores.logsumexp(0) - scores[(b * 2 + t) * 3 + k])
            assert float(ours[b, t]) == pytest.approx(float(torch.stack(terms).mean()))


def test_infonce_with_negatives_of_other_ranks() -> None:
    """Candidates of a gather, own first, only raise the energy; the same as a larger batch gives."""
    pred, goal = torch.randn(2, 1, 1, 4), torch.randn(2, 1, 1, 4)
    others = torch.nn.functional.normalize(torch.randn(6, 4), dim=-1)
    wide = infonce(gather=lambda own: torch.cat([own, others]))(pred, goal)
    whole = infonce()(torch.cat([pred, torch.randn(6, 1, 1, 4)]), torch.cat([goal, others[:, None, None]]))
    assert torch.allclose(wide, whole[:2]) and bool((wide > infonce()(pred, goal)).all())


@pytest.mark.parametrize("name", ALL)
def test_precision(name: str) -> None:
    """Half precision is widened, also inside autocast; float64 stays."""
    pred, goal = torch.randn(4, 2, 9, 16), torch.randn(4, 2, 9, 16)
    assert ALL[name](pred.double(), goal.double()).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ALL[name](pred, goal)
    assert inside.dtype == torch.float32 and torch.equal(inside, ALL[name](pred, goal))
    assert ALL[name](pred.bfloat16(), goal.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("name", ALL)
def test_gradients(name: str) -> None:
    pred = torch.randn(2, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    goal = torch.randn(2, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ALL[name], (pred, goal))
