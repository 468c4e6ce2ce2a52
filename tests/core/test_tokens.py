"""Tokens and grids."""

import pytest
import torch

from craik.core import Grid, Tokens
from craik.core.tokens import take


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4)])
def test_coordinates_are_row_major_and_index_is_their_inverse(shape: tuple[int, ...]) -> None:
    grid = Grid(tuple("abc"[: len(shape)]), shape)
    at = grid.coords()
    assert at.shape == (grid.num_tokens, len(shape))
    assert torch.equal(grid.index(at), torch.arange(grid.num_tokens))
    assert at[1].tolist() == [0.0] * (len(shape) - 1) + [1.0]  # the last axis runs fastest
    assert at[-1].tolist() == [size - 1 for size in shape]


def test_a_grid_is_checked() -> None:
    with pytest.raises(ValueError, match="one size per axis"):
        Grid(("h", "w"), (3,))
    with pytest.raises(ValueError, match="smaller than one patch"):
        Grid(("h", "w"), (3, 0))


def test_take_keeps_features_coordinates_and_validity_together() -> None:
    grid = Grid(("h", "w"), (2, 3))
    x, at = torch.randn(2, 6, 4), grid.coords().expand(2, -1, -1)
    valid = torch.rand(2, 6) > 0.5
    index = torch.tensor([[5, 0], [2, 2]])
    taken = Tokens(x, at, valid).take(index)
    for b in range(2):
        assert torch.equal(taken.x[b], x[b, index[b]])
        assert torch.equal(grid.index(taken.at)[b], index[b])
        assert torch.equal(taken.valid[b], valid[b, index[b]])
    assert torch.equal(take(x, index), taken.x)
    assert Tokens(x, at).take(index).valid is None


def test_mean_counts_real_tokens_only() -> None:
    x = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [7.0], [9.0]]])
    at = torch.zeros(2, 3, 1)
    valid = torch.tensor([[True, True, False], [False, False, False]])
    assert Tokens(x, at, valid).mean().tolist() == [[2.0], [0.0]]
    assert torch.equal(Tokens(x, at).mean(), x.mean(1))
