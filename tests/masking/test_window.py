"""Window masks: one window for all samples, and blocks that it does not touch."""

import pytest
import torch

from craik.core.tokens import Grid
from craik.masking.window import Window
from craik.nn.conv import rectangle

GRID = Grid(("h", "w"), (4, 4))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_windows_are_rectangles_and_blocks_lie_outside() -> None:
    sizes, counts = set(), set()
    for seed in range(200):
        mask = Window()(GRID, 3, seeded(seed))
        mask.check(GRID.num_tokens)  # disjoint, inside the grid
        assert bool((mask.context == mask.context[0]).all()) and bool((mask.target == mask.target[0]).all())
        sizes.add(rectangle(mask.context, GRID)[2:])
        counts.add(mask.target.shape[1])
        for block in mask.target[0]:
            top, left = divmod(int(block[0]), 4)
            assert block.tolist() == [4 * top + left, 4 * top + left + 1, 4 * top + left + 4, 4 * top + left + 5]
    assert sizes == {(2, 4), (4, 2), (2, 3), (3, 2), (2, 2)}
    assert min(counts) >= 1 and max(counts) == 4


def test_every_cell_is_seen_and_asked_for() -> None:
    masks = [Window()(GRID, 1, seeded(seed)) for seed in range(300)]
    seen = torch.bincount(torch.cat([mask.context.flatten() for mask in masks]), minlength=16)
    asked = torch.bincount(torch.cat([mask.target.flatten() for mask in masks]), minlength=16)
    assert seen.min() > 30 and asked.min() > 30


def test_same_seed_same_mask() -> None:
    first, second = Window()(GRID, 2, seeded(3)), Window()(GRID, 2, seeded(3))
    assert torch.equal(first.context, second.context) and torch.equal(first.target, second.target)


def test_a_window_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves room for a target block of 2 x 2"):
        Window(sizes=((3, 4),))(GRID, 1, seeded())
    with pytest.raises(ValueError, match="smaller windows or blocks"):
        Window(sizes=((8, 8),))(GRID, 1, seeded())


def test_sizes_that_do_not_fit_are_passed_over() -> None:
    mask = Window(sizes=((3, 4), (2, 2)))(GRID, 1, seeded(1))
    assert rectangle(mask.context, GRID)[2:] == (2, 2)
