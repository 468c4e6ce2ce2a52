"""Sin-cos codes, tables and rotary angles."""

import pytest
import torch
import torch.nn.functional as F

from craik.core import Grid
from craik.nn.position import Rotary, Table, rotate, sincos


def test_sincos_as_it_is_written() -> None:
    at = torch.tensor([[3.0, 5.0]])
    code = sincos(at, 8, order=(1, 0))[0]
    frequencies = torch.tensor([1.0, 10000**-0.5], dtype=torch.float64)
    expected = [(5 * frequencies).sin(), (5 * frequencies).cos(), (3 * frequencies).sin(), (3 * frequencies).cos()]
    assert torch.allclose(code, torch.cat(expected)) and code.dtype == torch.float64
    swapped = torch.cat([code[4:], code[:4]])
    assert torch.allclose(sincos(at, 8), swapped)
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        sincos(at, 6)


def test_codes_tell_places_apart_and_depend_on_distance() -> None:
    """The product of two codes is a function of the difference of coordinates alone."""
    grid = Grid(("h", "w"), (5, 7))
    codes = sincos(grid.coords(), 32)
    gram = codes @ codes.T
    assert torch.allclose(gram.diagonal(), torch.full((35,), 16.0, dtype=torch.float64))
    assert int((gram > 16 - 1e-6).sum()) == 35
    at = grid.coords()
    shifted = sincos(at + torch.tensor([2.0, 9.0]), 32)
    assert torch.allclose(shifted @ shifted.T, gram)


def test_table_on_its_own_grid() -> None:
    grid = Grid(("h", "w"), (3, 4))
    table = Table(grid, 8, order=(1, 0))
    at = grid.coords()[torch.tensor([[7, 0], [2, 11]])]
    assert torch.equal(table(at, grid), table.table[torch.tensor([[7, 0], [2, 11]])])
    assert not table.table.requires_grad and list(table.state_dict()) == ["table"]
    with torch.no_grad():
        table.table.copy_(torch.arange(96.0).view(12, 8))  # whatever a checkpoint carries
    assert torch.equal(table(at, grid)[0, 1], torch.arange(8.0))


def test_table_on_another_grid_is_resampled_bicubically() -> None:
    table, wide = Table(Grid(("h", "w"), (4, 3)), 8), Grid(("h", "w"), (6, 5))
    image = table.table.view(1, 4, 3, 8).permute(0, 3, 1, 2)
    expected = F.interpolate(image, (6, 5), mode="bicubic", align_corners=False)[0].permute(1, 2, 0)
    ours = table(wide.coords()[None], wide)[0]
    assert torch.allclose(ours, expected.reshape(30, 8))
    assert torch.allclose(table.resampled(table.grid), table.table, atol=1e-6)
    with pytest.raises(ValueError, match="cannot be resampled"):
        table.resampled(Grid(("t",), (5,)))


@pytest.mark.parametrize(("head_dim", "num_axes"), [(8, 1), (8, 2), (12, 3), (10, 2)])
def test_rotary_is_relative(head_dim: int, num_axes: int) -> None:
    """Products of turned queries and keys do not change when all coordinates are shifted."""
    rotary = Rotary(head_dim, num_axes)
    q, k = torch.randn(2, 3, 5, head_dim), torch.randn(2, 3, 5, head_dim)
    at = torch.randint(0, 9, (2, 5, num_axes)).float()
    shift = torch.tensor([4.0, -2.0, 7.0][:num_axes])

    def scores(where: torch.Tensor) -> torch.Tensor:
        rotation = rotary(where)
        return rotate(q, rotation) @ rotate(k, rotation).transpose(-2, -1)

    assert torch.allclose(scores(at), scores(at + shift), atol=1e-4)
    assert not torch.allclose(scores(at), scores(2 * at), atol=1e-2)
    assert torch.allclose(rotate(q, rotary(at)).norm(dim=-1), q.norm(dim=-1), atol=1e-5)
    assert torch.allclose(rotate(q, rotary(torch.zeros_like(at))), q)


def test_rotary_turns_each_axis_by_its_own_share() -> None:
    rotary = Rotary(8, 2)
    x = torch.randn(1, 1, 1, 8)
    moved = rotate(x, rotary(torch.tensor([[[0.0, 3.0]]])))
    assert torch.equal(moved[..., :4], x[..., :4]) and not torch.allclose(moved[..., 4:], x[..., 4:])
    with pytest.raises(ValueError, match="too narrow"):
        Rotary(4, 3)


def test_three_axes_share_any_width() -> None:
    """Shares are rounded up to an even size and the last is cut, as V-JEPA divides 1024 channels."""
    at = Grid(("t", "h", "w"), (2, 3, 4)).coords()
    whole, cut = sincos(at, 30), sincos(at, 28)
    assert torch.equal(cut, whole[:, :28])
    assert torch.equal(whole[:, :10], sincos(at[:, :1], 10)) and torch.equal(whole[:, 20:], sincos(at[:, 2:], 10))


def test_a_table_of_three_axes_is_resampled_or_keeps_its_pace() -> None:
    grid, fewer = Grid(("t", "h", "w"), (4, 3, 3)), Grid(("t", "h", "w"), (2, 3, 3))
    stretched, paced = Table(grid, 12), Table(grid, 12, keeps_pace=True)
    lattice = stretched.table.view(1, 4, 3, 3, 12).permute(0, 4, 1, 2, 3)
    expected = F.interpolate(lattice, (2, 3, 3), mode="trilinear", align_corners=False)[0].permute(1, 2, 3, 0)
    assert torch.allclose(stretched.resampled(fewer), expected.reshape(18, 12))
    assert torch.equal(paced.resampled(fewer), paced.table[:18])
    wider = Grid(("t", "h", "w"), (2, 4, 4))
    assert torch.equal(paced.resampled(wider), stretched.resampled(wider))


@pytest.mark.parametrize("tiled", [False, True])
def test_rotary_as_it_is_written(tiled: bool) -> None:
    """Neighbors are pairs; frequencies come twice in a row, or, with the slip of V-JEPA 2, one row after another."""
    x, at = torch.randn(1, 1, 1, 20, dtype=torch.float64), torch.tensor([[[3.0, 2.0, 5.0]]])
    turned = rotate(x, Rotary(20, 3, tiled=tiled)(at, torch.float64))[0, 0, 0]
    assert torch.equal(turned[18:], x[0, 0, 0, 18:])  # left over
    for axis in range(3):
        for channel in range(6):
            frequency = channel % 3 if tiled else channel // 2
            angle = at[0, 0, axis].double() * 10000 ** (-frequency / 3)
            own = x[0, 0, 0, 6 * axis + channel]
            other = x[0, 0, 0, 6 * axis + (channel ^ 1)]
            expected = own * angle.cos() + (other if channel % 2 else -other) * angle.sin()
            assert torch.allclose(turned[6 * axis + channel], expected, atol=1e-12)


def test_samples_on_one_grid_share_their_angles() -> None:
    rotary, coords = Rotary(12, 3), Grid(("t", "h", "w"), (2, 3, 3)).coords()
    shared, apart = rotary(coords.expand(4, -1, -1)), rotary(coords.repeat(4, 1, 1))
    assert shared.cos.shape == apart.cos.shape == (4, 1, 18, 12)
    assert torch.equal(shared.cos, apart.cos) and torch.equal(shared.sin, apart.sin)
    assert shared.cos.stride(0) == 0
