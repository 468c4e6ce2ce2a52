"""Window masks: a small rectangle is seen, and blocks that lie wholly outside of it are asked for."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from craik.core.mask import Mask
from craik.core.tokens import Grid
from craik.masking.block import BlockSize, cells

Option = TypeVar("Option")


@dataclass(frozen=True, slots=True)
class Window:
    """Sampler of one window, the same for all samples of a batch, and of target blocks beside it.

    The opposite of `MultiBlock`, which shows nearly everything: little is seen and much is asked for. An encoder that
    works on rectangles (a ConvNet) is shown the window alone, at the cost of the window.

    Attributes:
        sizes: Heights and widths from which the window's are drawn [tokens].
        block: Side of a target block [tokens].
        num_targets: Most target blocks T per window; fewer where fewer lie outside of it.
    """

    sizes: tuple[tuple[int, int], ...] = ((2, 4), (4, 2), (2, 3), (3, 2), (2, 2))
    block: int = 2
    num_targets: int = 4

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> Mask:
        """A mask with context [B, h * w] and target [B, T, block * block] on a grid (h, w).

        Raises:
            ValueError: If no window of these sizes leaves room for a target block.
        """
        tasks = [found for size in self.sizes if (found := self.tasks(grid, BlockSize(*size)))]
        if not tasks:
            raise ValueError(
                f"no window of {self.sizes} tokens on a grid of {grid.shape[0]} x {grid.shape[1]} leaves room for a "
                f"target block of {self.block} x {self.block}: use smaller windows or blocks, or larger images"
            )
        context, targets = choose(choose(tasks, rng), rng)
        some = torch.randperm(len(targets), generator=rng)[: self.num_targets].sort().values
        return Mask(context.expand(batch, -1), targets[some].expand(batch, -1, -1))

    def tasks(self, grid: Grid, size: BlockSize) -> list[tuple[Tensor, Tensor]]:
        """Every window of this size [K], with all blocks outside of it [T, block * block], if there are any."""
        blocks = everywhere(grid, BlockSize(self.block, self.block))
        found = []
        for window in everywhere(grid, size):
            outside = blocks[~torch.isin(blocks, window).any(1)]
            if len(outside):
                found.append((window, outside))
        return found


def everywhere(grid: Grid, size: BlockSize) -> Tensor:
    """Every rectangle of this size on the grid, as token numbers [P, height * width]; P = 0 where it does not fit."""
    rows, columns = (max(0, side - length + 1) for side, length in zip(grid.shape, size, strict=True))
    top, left = torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)
    return cells(top, left, size, grid.shape[1])


def choose(options: list[Option], rng: torch.Generator) -> Option:
    """One of the options, each as likely as another."""
    return options[int(torch.randint(len(options), (), generator=rng))]
