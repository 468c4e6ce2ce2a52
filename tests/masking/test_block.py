"""Multi-block masks: counts, disjointness, seeds, borders, speed."""

import time

import pytest
import torch
from torch import Tensor

from craik.core import Grid, Mask
from craik.masking.block import BlockSize, MultiBlock, cells, cut_to_shortest

IMAGE = Grid(("h", "w"), (14, 14))
SHAPES = [(14, 14), (8, 8), (7, 12), (16, 6), (28, 28)]


def draw_all(sampler: MultiBlock, grid: Grid = IMAGE, batch: int = 16, seed: int = 0) -> tuple[Mask, ...]:
    return sampler(grid, batch, torch.Generator().manual_seed(seed))


def draw(sampler: MultiBlock, grid: Grid = IMAGE, batch: int = 16, seed: int = 0) -> Mask:
    (mask,) = draw_all(sampler, grid, batch, seed)
    return mask


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("num_targets", [1, 4])
def test_structure(shape: tuple[int, int], as_published: bool, num_targets: int) -> None:
    grid = Grid(("h", "w"), shape)
    sampler = MultiBlock(num_targets=num_targets, min_keep=4, as_published=as_published)
    for seed in range(20):
        mask = draw(sampler, grid, seed=seed)
        assert mask.context.shape[0] == 16 and mask.target.shape[:2] == (16, num_targets)
        assert mask.context.shape[1] > 4
        for index in (mask.context, mask.target):
            assert index.dtype == torch.int64 and bool((index.diff(dim=-1) > 0).all())
        mask.check(grid.num_tokens)


@pytest.mark.parametrize("as_published", [False, True])
def test_several_contexts(as_published: bool) -> None:
    """Each has its own place, all have the targets of their sample and one length."""
    sampler = MultiBlock(num_contexts=3, context_scale=(0.3, 0.5), min_keep=4, as_published=as_published)
    for seed in range(20):
        masks = draw_all(sampler, seed=seed)
        assert len(masks) == 3
        for mask in masks:
            mask.check(IMAGE.num_tokens)
            assert mask.target is masks[0].target
            assert mask.context.shape == masks[0].context.shape and mask.context.shape[1] > 4
            assert bool((mask.context.diff(dim=-1) > 0).all())
        assert not torch.equal(masks[0].context, masks[1].context)


@pytest.mark.parametrize("as_published", [False, True])
def test_contexts_that_keep_the_targets(as_published: bool) -> None:
    """They are whole rectangles, so nothing is cut off them, and targets are seen."""
    sampler = MultiBlock(num_contexts=2, context_scale=(0.5, 0.7), allow_overlap=True, as_published=as_published)
    for seed in range(20):
        masks = draw_all(sampler, seed=seed)
        _, size = sampler.block_sizes(IMAGE, torch.Generator().manual_seed(seed))
        for mask in masks:
            corner = mask.context[:, :1]
            assert torch.equal(mask.context, cells(corner // 14, corner % 14, size, 14)[:, 0])
            with pytest.raises(ValueError, match="must predict"):
                mask.check(IMAGE.num_tokens)


def test_one_context_too_poor_is_enough_for_new_targets() -> None:
    """Every context of a sample has to be large enough for the same targets."""
    grid = Grid(("h", "w"), (8, 8))
    sampler = MultiBlock(num_contexts=4, context_scale=(0.3, 0.4), min_keep=9)
    for seed in range(20):
        for mask in draw_all(sampler, grid, batch=32, seed=seed):
            mask.check(grid.num_tokens)
            assert mask.context.shape[1] > 9
    with pytest.raises(ValueError, match="or raise context_scale"):
        draw(MultiBlock(context_scale=(0.05, 1.0), allow_overlap=True, min_keep=180), grid=Grid(("h", "w"), (14, 14)))


def test_targets_are_filled_rectangles_of_one_size() -> None:
    for seed in range(20):
        target = draw(MultiBlock(), seed=seed).target
        rows, columns = target // 14, target % 14
        height = rows.amax(-1) - rows.amin(-1) + 1
        width = columns.amax(-1) - columns.amin(-1) + 1
        assert len(height.unique()) == len(width.unique()) == 1
        assert int(height[0, 0] * width[0, 0]) == target.shape[-1]  # and indices are distinct
        assert 0.75 * 0.8 <= float(height[0, 0] / width[0, 0]) <= 1.5 * 1.2
        assert 0.15 * 196 * 0.85 <= target.shape[-1] <= 0.2 * 196 * 1.15


def test_contexts_are_cut_at_random_members() -> None:
    """Every member of a set is kept alike often; the published form keeps the first ones."""
    member = torch.zeros(2, 10, dtype=torch.bool)
    member[0, [1, 3, 5, 7, 9, 0]] = True
    member[1, [2, 4, 6]] = True
    rng = torch.Generator().manual_seed(0)
    kept = torch.stack([cut_to_shortest(member, rng, first=False) for _ in range(600)])
    assert kept.shape == (600, 2, 3) and bool((kept[:, 1] == torch.tensor([2, 4, 6])).all())
    counts = torch.bincount(kept[:, 0].flatten(), minlength=10)
    assert counts[member[0]].min() > 240 and counts[member[0]].max() < 360 and counts[~member[0]].sum() == 0
    assert cut_to_shortest(member, rng, first=True).tolist() == [[0, 1, 3], [2, 4, 6]]


def test_the_seed_decides() -> None:
    for as_published in (False, True):
        sampler = MultiBlock(as_published=as_published)
        one, same, other = draw(sampler, seed=5), draw(sampler, seed=5), draw(sampler, seed=6)
        assert torch.equal(one.context, same.context) and torch.equal(one.target, same.target)
        assert one.target.shape != other.target.shape or not torch.equal(one.target, other.target)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    draw(MultiBlock())
    assert torch.equal(torch.get_rng_state(), before)


def frequency(index: Tensor, grid: Grid) -> Tensor:
    """How often each cell is used, [H, W], of index sets [M, K]."""
    counts = torch.zeros(grid.num_tokens).scatter_add_(0, index.flatten(), torch.ones(index.numel()))
    return (counts / len(index)).view(grid.shape)


def test_unbiased_masks_reach_all_borders_alike() -> None:
    """Rows and columns mirror each other, first and last ones are used; the published sampler does neither."""
    masks = [draw(MultiBlock(), batch=64, seed=seed) for seed in range(60)]
    for sets in ([m.target.flatten(0, 1) for m in masks], [m.context for m in masks]):
        used = torch.stack([frequency(index, IMAGE) for index in sets]).mean(0)
        for axis in (0, 1):
            profile = used.mean(axis)
            assert float(profile.min()) > 0.01
            assert float((profile - profile.flip(0)).abs().max()) < 0.05 * float(profile.mean())
    published = [draw(MultiBlock(as_published=True), batch=64, seed=seed) for seed in range(20)]
    used = torch.stack([frequency(m.context, IMAGE) for m in published]).mean(0)
    assert float(used[-1].sum()) == float(used[:, -1].sum()) == 0
    assert float(used[:4].sum()) > 2 * float(used[-5:-1].sum())


def test_scale_and_aspect_are_drawn_apart() -> None:
    """In the published form one draw decides both, so each area comes with one shape only."""
    grid = Grid(("h", "w"), (40, 40))

    def shapes(as_published: bool) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for seed in range(400):
            sampler = MultiBlock(as_published=as_published)
            size, _ = sampler.block_sizes(grid, torch.Generator().manual_seed(seed))
            found.setdefault(round(size.height * size.width / 20), set()).add(size.height)
        return found

    spread = [sum(map(len, found.values())) / len(found) for found in (shapes(True), shapes(False))]
    assert spread[1] > 2 * spread[0]


def test_a_crowded_grid_gives_up_targets_for_a_context_as_published() -> None:
    """Targets that cover nearly everything: after 20 draws the last one may be shown, and so on."""
    crowded = MultiBlock(num_targets=2, target_scale=(0.7, 0.7), aspect=(1.0, 1.0), min_keep=30, as_published=True)
    mask = draw(crowded, Grid(("h", "w"), (8, 8)), batch=4)
    assert mask.context.shape[1] > 30


def test_ours_never_shows_a_target_and_refuses_what_cannot_be() -> None:
    grid = Grid(("h", "w"), (6, 6))
    rng = torch.Generator().manual_seed(0)
    for _ in range(40):
        MultiBlock()(grid, 64, rng)[0].check(grid.num_tokens)
    with pytest.raises(ValueError, match="leave no context of more than min_keep = 30"):
        draw(MultiBlock(num_targets=2, target_scale=(0.9, 0.9), aspect=(1.0, 1.0), min_keep=30), grid, batch=4)


@pytest.mark.parametrize("as_published", [False, True])
def test_small_grids_are_refused(as_published: bool) -> None:
    sampler = MultiBlock(as_published=as_published)
    with pytest.raises(ValueError, match=r"3 x 3 tokens cannot keep more than min_keep = 10.*lower min_keep"):
        draw(sampler, Grid(("h", "w"), (3, 3)))
    with pytest.raises(ValueError, match=r"two axes \(h, w\)"):
        draw(sampler, Grid(("t",), (196,)))


def test_the_published_form_needs_room_for_the_border() -> None:
    """16 cells of which 9 can be used: enough for the unbiased form alone."""
    grid = Grid(("h", "w"), (4, 4))
    draw(MultiBlock(num_targets=1), grid)
    with pytest.raises(ValueError, match="4 x 4"):
        draw(MultiBlock(num_targets=1, as_published=True), grid)


def test_cells_of_a_block() -> None:
    assert cells(torch.tensor(1), torch.tensor(2), BlockSize(2, 3), 6).tolist() == [8, 9, 10, 14, 15, 16]


@pytest.mark.parametrize("as_published", [False, True])
def test_speed(as_published: bool) -> None:
    """The published sampler takes 9 to 18 ms; best of many, for the machine may be busy."""
    sampler, rng = MultiBlock(as_published=as_published), torch.Generator().manual_seed(0)
    times = []
    for _ in range(30):
        start = time.process_time()
        sampler(IMAGE, 128, rng)
        times.append(time.process_time() - start)
    assert min(times) < 5e-3
