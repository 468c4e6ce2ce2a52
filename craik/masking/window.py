"""Window masks: a small rectangle of one view is seen, and blocks of another that it hardly shows are asked for."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from craik.core.limits import at_least, rising
from craik.core.mask import Mask
from craik.core.tokens import Grid
from craik.masking.block import BlockSize, cells


@dataclass(frozen=True, slots=True)
class Window:
    """Sampler of one window, the same for all samples of a batch, and of the target blocks that it shows least of.

    The opposite of `MultiBlock`, which shows nearly everything: little is seen and much is asked for. An encoder that
    works on rectangles (a ConvNet) is shown the window alone, at the cost of the window.

    Context and targets are numbered on two grids of one shape, those of two views of a sample. `place` says how the
    views lie to each other (see `Part`); for one and the same view it is None, and blocks then lie wholly outside
    wherever enough of them do.

    Attributes:
        heights: Least and most rows of a window [tokens].
        widths: Least and most columns of a window [tokens].
        block: Side of a target block [tokens].
        num_targets: Target blocks T per sample.
    """

    heights: tuple[int, int] = (2, 3)
    widths: tuple[int, int] = (2, 3)
    block: int = 2
    num_targets: int = 4

    def __post_init__(self) -> None:
        at_least(1, block=self.block, num_targets=self.num_targets)
        rising(1, math.inf, heights=self.heights, widths=self.widths)

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator, place: Tensor | None = None) -> Mask:
        """A mask with context [B, h * w] and target [B, T, block * block] on a grid (h, w), place [B, 2, 2].

        Raises:
            ValueError: If the window or the blocks do not fit on the grid.
        """
        rows, columns = grid.shape
        blocks = self.blocks(grid)
        if max(self.heights) > rows or max(self.widths) > columns or len(blocks) < self.num_targets:
            raise ValueError(
                f"windows of up to {max(self.heights)} x {max(self.widths)} tokens and {self.num_targets} target "
                f"blocks of {self.block} x {self.block} do not fit on a grid of {rows} x {columns}: use smaller ones, "
                "or larger images"
            )
        size = BlockSize(draw(*self.heights, rng), draw(*self.widths, rng))
        top, left = draw(0, rows - size.height, rng), draw(0, columns - size.width, rng)
        context = cells(torch.tensor(top), torch.tensor(left), size, columns)
        window = torch.tensor([[top, left], [top + size.height, left + size.width]]) - 0.5
        seen = self.seen(grid, window, place)  # [B or 1, P]
        # Equal shares, as of all blocks that are not seen at all, are put in order by chance.
        order = (seen + 1e-4 * torch.rand(batch, len(blocks), generator=rng).to(seen)).argsort(1)
        return Mask(context.expand(batch, -1).to(seen.device), blocks.to(seen.device)[order[:, : self.num_targets]])

    def blocks(self, grid: Grid) -> Tensor:
        """Every block on the grid as token numbers, [P, block * block]."""
        rows, columns = self.corners(grid)
        return cells(rows, columns, BlockSize(self.block, self.block), grid.shape[1])

    def corners(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Top rows and left columns of every block, [P]."""
        rows, columns = (max(0, side - self.block + 1) for side in grid.shape)
        return torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)

    def seen(self, grid: Grid, window: Tensor, place: Tensor | None) -> Tensor:
        """Share of each block's area that lies in the window, [[top, left], [bottom, right]]: [B or 1, P]."""
        low = torch.stack(self.corners(grid), 1)[None] - 0.5  # [1, P, 2]
        high = low + self.block
        if place is not None:
            window, low, high = window.to(place), low.to(place), high.to(place)
            low, high = (place[:, :1] + place[:, 1:] * edge for edge in (low, high))
        common = (torch.minimum(high, window[1]) - torch.maximum(low, window[0])).clamp_min(0).prod(-1)
        return common / (high - low).prod(-1)


def draw(low: int, high: int, rng: torch.Generator) -> int:
    """A whole number in [low, high]."""
    return int(torch.randint(low, high + 1, (), generator=rng))
