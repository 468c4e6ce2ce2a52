"""Blocks of space and time."""

from dataclasses import replace

import pytest
import torch

from craik.core import Grid
from craik.masking.spacetime import SpaceTimeBlocks, Tubes

GRID = Grid(("t", "h", "w"), (4, 6, 8))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize(
    "blocks", [SpaceTimeBlocks(), SpaceTimeBlocks(2, (0.7, 0.7)), SpaceTimeBlocks(3, time=(0.2, 1))]
)
def test_context_and_target_are_apart_and_ascend(blocks: SpaceTimeBlocks, as_published: bool) -> None:
    for seed in range(20):
        mask = replace(blocks, as_published=as_published, kind=1)(GRID, 5, rng(seed))
        mask.check(GRID.num_tokens)
        assert mask.target.shape[:2] == (5, 1) and mask.kind == 1
        assert bool((mask.context.diff(dim=1) > 0).all()) and bool((mask.target.diff(dim=2) > 0).all())


def test_one_sample_uses_every_token() -> None:
    for seed in range(10):
        mask = SpaceTimeBlocks()(GRID, 1, rng(seed))
        assert mask.context.shape[1] + mask.target.shape[2] == GRID.num_tokens


def test_a_single_block_has_the_size_drawn() -> None:
    sampler = SpaceTimeBlocks(1, (0.1, 0.5), (0.3, 1.0))
    for seed in range(20):
        size = sampler.extent(GRID, rng(seed))
        cells = sampler(GRID, 1, rng(seed)).target[0, 0]
        at = GRID.coords()[cells].long()
        assert (at.amax(0) - at.amin(0) + 1).tolist() == [*size] and len(cells) == size.time * size.height * size.width


def test_blocks_reach_every_place() -> None:
    mask = SpaceTimeBlocks(1, (0.05, 0.05), (0.3, 0.3))(GRID, 3000, rng())
    assert mask.target.unique().numel() == GRID.num_tokens


def test_cut_at_random_keeps_late_frames_and_as_published_does_not() -> None:
    share = {}
    for as_published in (False, True):
        mask = SpaceTimeBlocks(as_published=as_published)(GRID, 64, rng())
        late = mask.context >= GRID.num_tokens // 2
        share[as_published] = float(late.float().mean())
    assert share[False] == pytest.approx(0.5, abs=0.05) and share[True] < 0.2


def test_only_the_beginning_is_seen() -> None:
    mask = SpaceTimeBlocks(seen_time=0.5)(GRID, 3, rng())
    assert int(mask.context.max()) < GRID.num_tokens // 2
    assert int(mask.target.max()) == GRID.num_tokens - 1


def test_max_keep_bounds_the_context_alone() -> None:
    mask = SpaceTimeBlocks(max_keep=7)(GRID, 3, rng())
    assert mask.context.shape == (3, 7) and mask.target.shape[2] > 50


def test_complement_leaves_nothing_unused() -> None:
    mask = SpaceTimeBlocks(complement=True)(GRID, 6, rng())
    mask.check(GRID.num_tokens)
    assert mask.context.shape[1] + mask.target.shape[2] == GRID.num_tokens


def test_tubes_hide_a_place_in_all_frames() -> None:
    mask = Tubes(0.75)(GRID, 5, rng())
    mask.check(GRID.num_tokens)
    assert mask.context.shape == (5, 4 * 12) and mask.target.shape == (5, 1, 4 * 36)
    frames = mask.context.view(5, 4, 12) % 48
    assert bool((frames == frames[:, :1]).all()) and not torch.equal(frames[0], frames[1])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="leave no context on a grid of 4 x 6 x 8"):
        SpaceTimeBlocks(1, (1.0, 1.0), aspect=(0.75, 0.75))(Grid(("t", "h", "w"), (4, 6, 8)), 2, rng())
    with pytest.raises(ValueError, match="three axes"):
        SpaceTimeBlocks()(Grid(("h", "w"), (4, 4)), 2, rng())
    with pytest.raises(ValueError, match="num_blocks 0"):
        SpaceTimeBlocks(num_blocks=0)
    with pytest.raises(ValueError, match="shows 0"):
        Tubes(0.99)(GRID, 2, rng())
