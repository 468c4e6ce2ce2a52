"""Terms of world models: known values, what they are blind to, gradients."""

import math

import pytest
import torch
from torch import Tensor

from craik.core.dynamics import (
    episode_contrast,
    inverse_dynamics,
    straightening,
    temporal_covariance,
    temporal_similarity,
    temporal_variance,
)
from craik.core.regularize import alone

LINE = torch.arange(4.0)[None, :, None] * torch.tensor([3.0, 4.0])  # [1, 4, 2], steps (3, 4)
OVER_TIME = (temporal_similarity, temporal_variance, temporal_covariance, straightening, episode_contrast)


def latents(seed: int = 0, num: int = 6) -> Tensor:
    return torch.randn(num, 5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_similarity_is_the_mean_square_of_the_steps() -> None:
    assert temporal_similarity(LINE).item() == pytest.approx((9 + 16) / 2)
    assert temporal_similarity(LINE[:, :1].expand(-1, 3, -1)).item() == 0


def test_inverse_dynamics_is_the_mean_squared_error() -> None:
    assert inverse_dynamics(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 5.0]])).item() == pytest.approx(4.5)


def test_straightening_of_a_line_a_turn_and_a_reversal() -> None:
    turn = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]]])
    back = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [-4.0, 0.0]]])
    assert [straightening(z).item() for z in (LINE, turn, back)] == pytest.approx([0, 1, 2], abs=1e-6)


def test_variance_over_time_by_hand() -> None:
    """Two samples mirrored about zero: the batch mean is zero, and the first feature has deviation 0.5 over time."""
    path = torch.tensor([[-0.5, 9.0], [0.0, -9.0], [0.5, 0.0]])
    z = torch.stack([path, -path])
    assert temporal_variance(z, eps=0).item() == pytest.approx((0.5 + 0) / 2)


def test_covariance_over_time_by_hand() -> None:
    """Moments [[2, 3], [3, 6]] / 2 of each sample: twice (3 / 2)^2 off the diagonal, over D = 2."""
    path = torch.tensor([[1.0, 1.0], [1.0, 2.0], [0.0, 1.0]])
    z = torch.stack([path, -path])
    assert temporal_covariance(z).item() == pytest.approx(2 * 1.5**2 / 2)


@pytest.mark.parametrize("term", [temporal_variance, temporal_covariance])
def test_a_drift_that_all_samples_share_does_not_count(term) -> None:
    z, drift = latents(), torch.linspace(0, 7, 5, dtype=torch.float64)[None, :, None]
    torch.testing.assert_close(term(z + drift), term(z))
    assert abs(term(z + drift * torch.arange(6)[:, None, None]) - term(z)) > 1e-3


@pytest.mark.parametrize("term", [temporal_variance, temporal_covariance])
def test_the_batch_mean_is_that_of_all_ranks(term) -> None:
    """With the sums of both halves as `reduce` would give them, the halves' mean is the whole."""
    z = latents()
    halves = z[:3] * 0.1, z[3:] * 0.1 + 4
    sums = iter([h.transpose(0, 1).sum(-2, keepdim=True) for h in (halves[1], halves[0])])
    values = []
    for half in halves:
        other = next(sums)
        added = iter([torch.tensor(3.0, dtype=torch.float64), other])
        values.append(term(half, lambda x, added=added: x + next(added)))
    torch.testing.assert_close(torch.stack(values).mean(), term(torch.cat(halves), alone))


def test_contrast_is_chance_where_episodes_are_alike_and_nothing_where_they_are_apart() -> None:
    assert episode_contrast(torch.zeros(6, 4, 3)).item() == pytest.approx(math.log(6))
    still = 100 * torch.randn(6, 1, 3, generator=torch.Generator().manual_seed(0)).expand(-1, 4, -1)
    assert episode_contrast(still).item() == pytest.approx(0, abs=1e-4)
    swapped = torch.cat([still[:, :1], still.roll(1, 0)[:, 1:]], 1)
    assert episode_contrast(swapped) > 1000


def test_contrast_of_two_episodes_in_numbers() -> None:
    z = torch.tensor([[[0.0], [1.0]], [[2.0], [2.0]]])  # squared distances 1, 4 and 1, 0
    expected = [math.log1p(math.exp(-3)), math.log1p(math.exp(-1)), math.log(2), math.log1p(math.exp(-4))]
    assert episode_contrast(z).item() == pytest.approx(sum(expected) / 4)


@pytest.mark.parametrize("term", OVER_TIME)
def test_gradients(term) -> None:
    assert torch.autograd.gradcheck(term, latents(num=3).requires_grad_())


@pytest.mark.parametrize("term", OVER_TIME)
def test_half_precision_is_summed_in_single(term) -> None:
    assert term(latents().bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("term", OVER_TIME)
@pytest.mark.parametrize("shape", [(4, 1, 3), (4, 3)])
def test_too_few_frames_are_refused(term, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[B, T, D\] of 2 frames"):
        term(torch.zeros(shape))
    with pytest.raises(ValueError, match="3 frames or more, got 2"):
        straightening(torch.zeros(4, 2, 3))
