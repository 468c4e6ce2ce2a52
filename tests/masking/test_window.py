"""Window masks: one window for all samples, and the blocks that it shows least of."""

import pytest
import torch

from craik.core.tokens import Grid
from craik.masking.window import Window
from craik.nn.conv import rectangle

GRID = Grid(("h", "w"), (4, 4))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_windows_are_rectangles_and_blocks_are_blocks() -> None:
    sizes = set()
    for seed in range(100):
        mask = Window()(GRID, 3, seeded(seed))
        assert bool((mask.context == mask.context[0]).all())
        assert mask.target.shape == (3, 4, 4)
        sizes.add(rectangle(mask.context, GRID)[2:])
        for block in mask.target.flatten(0, 1):
            top, left = divmod(int(block[0]), 4)
            assert block.tolist() == [4 * top + left, 4 * top + left + 1, 4 * top + left + 4, 4 * top + left + 5]
    assert sizes == {(2, 2), (2, 3), (3, 2), (3, 3)}


def test_within_one_view_the_blocks_lie_outside_where_they_can() -> None:
    small = Window(heights=(2, 2), widths=(2, 2), num_targets=3)
    for seed in range(100):
        mask = small(GRID, 2, seeded(seed))
        if rectangle(mask.context, GRID)[:2] != (1, 1):  # in the middle it touches every block
            mask.check(GRID.num_tokens)


def test_in_another_view_the_least_seen_blocks_are_asked_for() -> None:
    window = torch.tensor([[0.0, 0.0], [2.0, 2.0]]) - 0.5
    aside = torch.tensor([[[4.0, 0.0], [1.0, 1.0]]])  # below: nothing of it is seen
    assert float(Window().seen(GRID, window, aside).abs().max()) == 0
    same = Window().seen(GRID, window, torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]))
    assert torch.equal(same, Window().seen(GRID, window, None))
    assert same.view(3, 3).tolist() == [[1.0, 0.5, 0.0], [0.5, 0.25, 0.0], [0.0, 0.0, 0.0]]
    half = torch.tensor([[[-0.25, -0.25], [0.5, 0.5]]])  # the upper left quarter, enlarged: the window is all of it
    assert torch.allclose(Window().seen(GRID, window, half), torch.ones(1, 9))
    shifted = torch.tensor([[[-2.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]]])
    for seed in range(20):
        mask = Window()(GRID, 2, seeded(seed), shifted)
        top, left, height, width = rectangle(mask.context, GRID)
        corners = torch.tensor([[top, left], [top + height, left + width]]) - 0.5
        seen = Window().seen(GRID, corners, shifted)
        firsts = {int(block[0]): number for number, block in enumerate(Window().blocks(GRID))}
        for row in range(2):
            chosen = [float(seen[row, firsts[int(block[0])]]) for block in mask.target[row]]
            assert max(chosen) <= float(seen[row].sort().values[3]) + 2e-4


def test_same_seed_same_mask() -> None:
    first, second = Window()(GRID, 2, seeded(3)), Window()(GRID, 2, seeded(3))
    assert torch.equal(first.context, second.context) and torch.equal(first.target, second.target)


@pytest.mark.parametrize("window", [Window(heights=(2, 8)), Window(block=4), Window(num_targets=10)])
def test_what_does_not_fit_is_refused(window: Window) -> None:
    with pytest.raises(ValueError, match="do not fit on a grid of 4 x 4"):
        window(GRID, 1, seeded())
