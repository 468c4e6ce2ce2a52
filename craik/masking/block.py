"""Multi-block masks: rectangular targets, and large context blocks from which they are cut out."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from craik.core.limits import at_least, rising
from craik.core.mask import Mask
from craik.core.tokens import Grid

PATIENCE = 20
"""Draws of a context before something else is changed."""


class BlockSize(NamedTuple):
    """Height and width of a block in tokens."""

    height: int
    width: int


@dataclass(frozen=True, slots=True)
class MultiBlock:
    """Sampler of I-JEPA's masks, all samples of a batch at once.

    All samples share the block sizes, so that index sets stack; positions differ. Default is the unbiased form:
    blocks reach every row and column, scale and aspect are drawn apart, and contexts are cut to a common length
    by dropping tokens at random. `as_published=True` keeps the reference sampler's habits instead: the last row
    and column are never used, one draw sets both scale and aspect, and the bottom rows are dropped first.

    Attributes:
        num_targets: Target blocks per sample T.
        target_scale: Smallest and largest area of a target block [fraction of the grid].
        aspect: Smallest and largest height over width of a target block.
        num_contexts: Contexts per sample; every target is predicted from each of them alone.
        context_scale: Smallest and largest area of a context block [fraction of the grid].
        allow_overlap: Leave the targets in the contexts.
        min_keep: A context must hold more tokens than this.
        as_published: Reproduce the biases of the reference sampler.

    Source: Assran et al. 2023 (arXiv 2301.08243), section 3 and Table 6.
    """

    num_targets: int = 4
    target_scale: tuple[float, float] = (0.15, 0.2)
    aspect: tuple[float, float] = (0.75, 1.5)
    num_contexts: int = 1
    context_scale: tuple[float, float] = (0.85, 1.0)
    allow_overlap: bool = False
    min_keep: int = 10
    as_published: bool = False

    def __post_init__(self) -> None:
        at_least(1, num_targets=self.num_targets, num_contexts=self.num_contexts)
        at_least(0, min_keep=self.min_keep)
        rising(0, 1, target_scale=self.target_scale, context_scale=self.context_scale)
        rising(1e-3, 1e3, aspect=self.aspect)

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> tuple[Mask, ...]:
        """Masks for a batch on a grid (h, w), one for each of the contexts, all with the same targets.

        Returns:
            Masks with context [B, Kc] and target [B, T, Kt], ascending; Kc is the same for all.

        Raises:
            ValueError: If the grid is too small for the targets to leave a context.
        """
        height, width = self.check(grid)
        size, context_size = self.block_sizes(grid, rng)
        targets, hidden = self.targets(grid, size, batch, rng)
        contexts, poor = self.contexts(grid, context_size, hidden, rng)
        for _ in range(0 if self.as_published else PATIENCE):
            if not len(poor):
                break
            targets[poor], hidden[poor] = self.targets(grid, size, len(poor), rng)
            contexts[poor], still = self.contexts(grid, context_size, hidden[poor], rng)
            poor = poor[still]
        if len(poor):
            raise ValueError(
                f"targets of {size.height} x {size.width} tokens leave no context of more than min_keep = "
                f"{self.min_keep} on a grid of {height} x {width}: lower min_keep, num_targets or target_scale, "
                "or raise context_scale"
            )
        kept = cut_to_shortest(contexts.flatten(0, 1), rng, first=self.as_published).unflatten(0, contexts.shape[:2])
        return tuple(Mask(context, targets) for context in kept.unbind(1))

    def check(self, grid: Grid) -> tuple[int, int]:
        """Height and width of the grid, if this sampler can work on it."""
        if len(grid.shape) != 2:
            raise ValueError(f"multi-block masks want a grid with two axes (h, w), got {grid.axes}")
        height, width = grid.shape
        largest = int(height * width * self.context_scale[1])
        if self.as_published:
            largest = min(largest, (height - 1) * (width - 1))
        if largest <= self.min_keep:
            raise ValueError(
                f"a grid of {height} x {width} tokens cannot keep more than min_keep = {self.min_keep} for the "
                "context: lower min_keep, use smaller patches or larger images"
            )
        return height, width

    def block_sizes(self, grid: Grid, rng: torch.Generator) -> tuple[BlockSize, BlockSize]:
        """Sizes of target and context blocks for one batch, drawn in this order."""
        target = self.block_size(grid, self.target_scale, self.aspect, rng)
        return target, self.block_size(grid, self.context_scale, (1.0, 1.0), rng)

    def block_size(
        self, grid: Grid, scale: tuple[float, float], aspect: tuple[float, float], rng: torch.Generator
    ) -> BlockSize:
        """One block size from ranges of area [fraction of the grid] and of height over width."""
        height, width = grid.shape
        draw = torch.rand(1, generator=rng).item()
        area = int(height * width * (scale[0] + draw * (scale[1] - scale[0])))
        if not self.as_published and aspect[0] != aspect[1]:
            draw = torch.rand(1, generator=rng).item()
        ratio = aspect[0] + draw * (aspect[1] - aspect[0])
        limit = 1 if self.as_published else 0
        return BlockSize(
            max(1, min(round(math.sqrt(area * ratio)), height - limit)),
            max(1, min(round(math.sqrt(area / ratio)), width - limit)),
        )

    def corners(
        self, grid: Grid, size: BlockSize, shape: tuple[int, ...], rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Top rows and left columns of blocks, int64 of the given shape."""
        room = 0 if self.as_published else 1
        top = torch.randint(grid.shape[0] - size.height + room, shape, generator=rng)
        left = torch.randint(grid.shape[1] - size.width + room, shape, generator=rng)
        return top, left

    def targets(self, grid: Grid, size: BlockSize, batch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Target blocks as token numbers [B, T, Kt], and as bool [B, T, N]."""
        top, left = self.corners(grid, size, (batch, self.num_targets), rng)
        targets = cells(top, left, size, grid.shape[1])
        hidden = torch.zeros(batch, self.num_targets, grid.num_tokens, dtype=torch.bool)
        return targets, hidden.scatter_(2, targets, True)

    def contexts(self, grid: Grid, size: BlockSize, hidden: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Context blocks minus the targets hidden [B, T, N], bool [B, C, N]; and the samples where one failed.

        A context that is too small is drawn again. The published sampler, after every 20 draws, lets one more target
        (the last first) be shown, until the context is large enough; ours gives the sample up, for new targets.
        """
        batch, num_targets, num_tokens = hidden.shape
        num_targets = 0 if self.allow_overlap else num_targets
        hidden = hidden.repeat_interleave(self.num_contexts, 0)
        context = torch.zeros(len(hidden), num_tokens, dtype=torch.bool)
        poor = torch.arange(len(hidden))
        draws = 0
        while len(poor) and draws < PATIENCE * (num_targets + 1 if self.as_published else 1):
            top, left = self.corners(grid, size, (len(poor), 1), rng)
            block = torch.zeros(len(poor), num_tokens, dtype=torch.bool)
            block.scatter_(1, cells(top, left, size, grid.shape[1]).flatten(1), True)
            apart = max(num_targets - draws // PATIENCE, 0)
            context[poor] = block & ~hidden[poor, :apart].any(1)
            poor = poor[context[poor].sum(1) <= self.min_keep]
            draws += 1
        return context.unflatten(0, (batch, self.num_contexts)), (poor // self.num_contexts).unique()


def cut_to_shortest(member: Tensor, rng: torch.Generator, *, first: bool, longest: int | None = None) -> Tensor:
    """Members of each set bool [B, N] as indices, cut to the smallest set's length: [B, K] ascending.

    Args:
        member: The sets.
        rng: Decides which members are dropped.
        first: Keep the first ones of each set instead, as the reference samplers do.
        longest: Cut to this length too; None sets no bound.
    """
    batch, num = member.shape
    length = int(member.sum(1).min())
    length = length if longest is None else min(length, longest)
    if first:
        kept = member & (member.cumsum(1) <= length)
    else:
        drawn = torch.where(member, torch.rand(batch, num, generator=rng), 2.0)
        chosen = drawn.topk(length, 1, largest=False, sorted=False).indices
        kept = torch.zeros_like(member).scatter_(1, chosen, True)
    return kept.nonzero()[:, 1].view(batch, length)


def cells(top: Tensor, left: Tensor, size: BlockSize, grid_width: int) -> Tensor:
    """Token numbers of blocks with corners [...], row-major: int64 [..., height * width]."""
    rows = torch.arange(size.height) * grid_width
    inside = (rows[:, None] + torch.arange(size.width)).flatten()
    return (top * grid_width + left).unsqueeze(-1) + inside
