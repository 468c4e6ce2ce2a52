"""Masks for clips: blocks of space and time are hidden, or tubes of patches through all of it."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from craik.core.limits import at_least, rising, within
from craik.core.mask import Mask
from craik.core.tokens import Grid
from craik.masking.block import PATIENCE, cut_to_shortest


class Extent(NamedTuple):
    """Size of a block in tokens."""

    time: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class SpaceTimeBlocks:
    """Sampler of V-JEPA's masks, all samples of a batch at once: the union of some blocks is hidden and asked for.

    All samples share the block size; positions differ. Contexts, and targets, are cut to the shortest of the batch:
    by default by dropping tokens at random. `as_published=True` drops the last ones in the order of time, row and
    column, as the reference sampler does: then late frames are seldom seen and seldom asked for, the more so the
    larger the batch is.

    Attributes:
        num_blocks: Blocks per sample.
        space: Smallest and largest area of a block [fraction of a frame].
        time: Smallest and largest length of a block [fraction of the clip].
        aspect: Smallest and largest height over width of a block.
        seen_time: Context is taken from this first share of the clip [fraction]; all that follows is asked for.
        max_keep: Longest context [tokens]; None sets no bound.
        complement: Ask for all that the context, once cut, leaves out, so that no token goes unused.
        kind: Number of the question, see `Mask`.
        as_published: Cut to a common length as the reference sampler does.

    Source: Bardes et al. 2024 (arXiv 2404.08471), section 3 and its appendix.
    """

    num_blocks: int = 8
    space: tuple[float, float] = (0.15, 0.15)
    time: tuple[float, float] = (1.0, 1.0)
    aspect: tuple[float, float] = (0.75, 1.5)
    seen_time: float = 1.0
    max_keep: int | None = None
    complement: bool = False
    kind: int = 0
    as_published: bool = False

    def __post_init__(self) -> None:
        at_least(1, num_blocks=self.num_blocks, max_keep=1 if self.max_keep is None else self.max_keep)
        at_least(0, kind=self.kind)
        rising(0, 1, space=self.space, time=self.time)
        rising(1e-3, 1e3, aspect=self.aspect)
        within(0, 1, seen_time=self.seen_time)

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> Mask:
        """A mask for a batch on a grid (t, h, w), with one target set per sample.

        Returns:
            Mask with context [B, Kc] and target [B, 1, Kt], ascending.

        Raises:
            ValueError: If the blocks leave no context.
        """
        if len(grid.shape) != 3:
            raise ValueError(f"masks of space and time want a grid with three axes (t, h, w), got {grid.axes}")
        size = self.extent(grid, rng)
        hidden = self.hidden(grid, size, batch, rng)
        for _ in range(PATIENCE**2):
            poor = hidden.all(1).nonzero()[:, 0]
            if not len(poor):
                break
            hidden[poor] = self.hidden(grid, size, len(poor), rng)
        if bool(hidden.all(1).any()):
            raise ValueError(
                f"{self.num_blocks} blocks of {size.time} x {size.height} x {size.width} tokens leave no context on a "
                f"grid of {' x '.join(map(str, grid.shape))}: lower num_blocks, space or time, or raise seen_time"
            )
        context = cut_to_shortest(~hidden, rng, first=self.as_published, longest=self.max_keep)
        if self.complement:
            hidden = torch.ones_like(hidden).scatter_(1, context, False)
        target = cut_to_shortest(hidden, rng, first=self.as_published)
        return Mask(context, target.unsqueeze(1), self.kind)

    def extent(self, grid: Grid, rng: torch.Generator) -> Extent:
        """The size of all blocks of a batch, from three draws: time, area and aspect."""
        times, height, width = grid.shape
        ranges = (self.time, self.space, self.aspect)
        length, area, ratio = (low + torch.rand(1, generator=rng).item() * (high - low) for low, high in ranges)
        cells = int(height * width * area)
        return Extent(
            max(1, int(times * length)),
            max(1, min(round(math.sqrt(cells * ratio)), height)),
            max(1, min(round(math.sqrt(cells / ratio)), width)),
        )

    def hidden(self, grid: Grid, size: Extent, batch: int, rng: torch.Generator) -> Tensor:
        """Tokens that lie in a block, or later than may be seen: bool [B, N]."""
        inside = []
        for cells, length in zip(grid.shape, size, strict=True):
            first = torch.randint(cells - length + 1, (batch, self.num_blocks, 1), generator=rng)
            place = torch.arange(cells)
            inside.append((place >= first) & (place < first + length))  # [B, blocks, cells]
        times, rows, columns = inside
        hidden = (times[:, :, :, None, None] & rows[:, :, None, :, None] & columns[:, :, None, None, :]).any(1)
        if self.seen_time < 1:
            hidden[:, max(1, int(grid.shape[0] * self.seen_time)) :] = True
        return hidden.flatten(1)


@dataclass(frozen=True, slots=True)
class Tubes:
    """Sampler of tubes: patches are hidden at random places, the same in every frame.

    Attributes:
        hidden: Share of the places that is hidden [fraction].
        kind: Number of the question, see `Mask`.

    Source: Tong et al. 2022 (arXiv 2203.12602), section 3.3; an option of V-JEPA 1.
    """

    hidden: float = 0.9
    kind: int = 0

    def __post_init__(self) -> None:
        within(0, 1, hidden=self.hidden)

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> Mask:
        """A mask for a batch on a grid (t, h, w): context [B, Kc] and target [B, 1, Kt], ascending.

        Raises:
            ValueError: If nothing would be seen, or nothing hidden.
        """
        times, *space = grid.shape
        places = math.prod(space)
        num_seen = int(places * (1 - self.hidden))
        if not 0 < num_seen < places:
            raise ValueError(
                f"hiding {self.hidden:g} of {places} places shows {num_seen} of them: choose another share"
            )
        order = torch.rand(batch, places, generator=rng).argsort(1)
        begin = torch.arange(times)[:, None] * places
        seen, asked = (part.sort(1).values for part in (order[:, :num_seen], order[:, num_seen:]))
        context, target = ((begin + part[:, None, :]).flatten(1) for part in (seen, asked))
        return Mask(context, target.unsqueeze(1), self.kind)
