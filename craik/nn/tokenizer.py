"""From raw input to tokens: a linear map of each patch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.core.limits import at_least
from craik.core.tokens import Grid, Tokens, take
from craik.nn.block import init_linear


class Patchify(nn.Module):
    """Cut an input [B, C, *sizes] of any rank into patches and map each linearly to D features.

    Equal to a convolution whose kernel is its stride, but it touches only the patches that are kept, so an encoder
    that sees a quarter of an image pays for a quarter.
    """

    def __init__(self, channels: int, patch: tuple[int, ...], dim: int, axes: tuple[str, ...]) -> None:
        super().__init__()
        at_least(1, channels=channels, patch=min(patch), dim=dim)
        self.channels, self.patch, self.axes = channels, patch, axes
        self.proj = nn.Linear(channels * torch.Size(patch).numel(), dim)
        init_linear(self.proj)

    def grid(self, sizes: tuple[int, ...]) -> Grid:
        """Token lattice of an input whose last axes have these sizes.

        Raises:
            ValueError: If a size is not a multiple of the patch.
        """
        for size, patch in zip(sizes, self.patch, strict=True):
            if size % patch:
                low = max(size // patch, 1) * patch
                raise ValueError(f"size {size} is not a multiple of patch {patch}: use {low} or {low + patch}")
        return Grid(self.axes, tuple(s // p for s, p in zip(sizes, self.patch, strict=True)))

    def whole(self, x: Tensor) -> Tensor:
        """X with all its axes: where time is one, an image, or a clip of a single frame, stands still for one patch."""
        if self.axes[0] != "t" or len(self.axes) == 1:
            return x
        x = x.unsqueeze(2) if x.ndim == 1 + len(self.axes) else x
        return x.expand(-1, -1, self.patch[0], *x.shape[3:]) if x.ndim > 2 and x.shape[2] == 1 else x

    def patches(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Raw patches of x [B, C, *sizes], [B, N, C * patch volume], row-major; or those numbered by keep [B, K]."""
        grid = self.grid(tuple(x.shape[2:]))
        split = [x.shape[0], x.shape[1]]
        for num, size in zip(grid.shape, self.patch, strict=True):
            split += [num, size]
        rank = len(self.patch)
        cells, inner = [2 + 2 * a for a in range(rank)], [3 + 2 * a for a in range(rank)]
        patches = x.reshape(split).permute(0, *cells, 1, *inner)  # [B, *grid, C, *patch]: a view, nothing moved
        if keep is None:
            return patches.flatten(rank + 1).flatten(1, rank)
        rows = torch.arange(len(x), device=x.device).unsqueeze(1)
        return patches[(rows, *torch.unravel_index(keep, grid.shape))].flatten(2)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tokens:
        """Tokens of x [B, C, *sizes]: all N, or those numbered by keep [B, K]."""
        x = self.whole(x)
        if x.ndim != 2 + len(self.patch) or x.shape[1] != self.channels:
            wanted = ", ".join(["B", str(self.channels), *self.axes])
            raise ValueError(f"tokenizer expects input [{wanted}], got {list(x.shape)}")
        at = self.grid(tuple(x.shape[2:])).coords(x.device).expand(x.shape[0], -1, -1)
        at = at if keep is None else take(at, keep)
        return Tokens(F.linear(self.patches(x, keep), self.proj.weight, self.proj.bias), at)
