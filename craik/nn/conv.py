"""A small residual ConvNet as an encoder: the feature map's cells are its tokens."""

import math
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.core.limits import at_least
from craik.core.tokens import Grid, Tokens


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm, and a shortcut.

    Source: He et al. 2016 (arXiv 1512.03385), figure 2.
    """

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        h = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(h)) + self.shortcut(x), inplace=True)


class ConvEncoder(nn.Module):
    """Residual network: a stem, then one stage per width, each but the first halving the map.

    Weights and activations lie with their channels last, which made most 3x3 convolutions of up to 128 channels
    faster on a CPU (results/lejepa_small), at the same mathematics.

    A convolution cannot leave single tokens out, but it can be shown a rectangle: where only some tokens may be seen,
    they must be the cells of one rectangle, the same for all samples. Its pixels are cut out, at the cost of what is
    kept, and nothing else can leak in.

    The stem begins as cosine filters and their negatives: what the principal components of natural images' patches
    look like, known without data. Trained on like any weight, they spare a short run the time to find them.

    Args:
        widths: Channels of each stage; the last is the width of the tokens.
        blocks: Residual blocks per stage.
        stem_stride: Stride of the first convolution; 1 keeps small images whole, 4 suits images of 64 px.
        channels: Channels of the input.
    """

    def __init__(self, widths: tuple[int, ...], blocks: int = 1, stem_stride: int = 1, channels: int = 3) -> None:
        super().__init__()
        if not widths:
            raise ValueError("widths are empty: give the channels of at least one stage")
        at_least(2, width=min(widths))  # a cosine and its negative
        at_least(1, blocks=blocks, stem_stride=stem_stride, channels=channels)
        kernel = max(3, 2 * stem_stride - 1)  # odd, and wide enough that no pixel is skipped
        first = nn.Conv2d(channels, widths[0], kernel, stem_stride, padding=kernel // 2, bias=False)
        begin_with_cosines(first.weight)
        self.stem = nn.Sequential(first, nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList()
        width_in = widths[0]
        for stage, width in enumerate(widths):
            strides = [1 if stage == 0 else 2] + [1] * (blocks - 1)
            layers = []
            for stride in strides:
                layers.append(Residual(width_in, width, stride))
                width_in = width
            self.stages.append(nn.Sequential(*layers))
        self.width = widths[-1]
        self.stride = stem_stride * 2 ** (len(widths) - 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, keep: Tensor | None = None, wanted: Tensor | None = None) -> Tokens:
        """Tokens [B, N, D] of the last feature map of x [B, C, H, W].

        `keep` int64 [B, K] are the only cells that may be seen, and their tokens are returned; `wanted` [B, W] picks
        some of the tokens.

        Raises:
            ValueError: If `keep` is not one rectangle of cells, row by row, for all samples.
        """
        if keep is None:
            tokens = self.tokens(self.features(x)[-1])
        else:
            grid = self.grid(tuple(x.shape[2:]))
            top, left, height, width = rectangle(keep, grid)
            rows = slice(top * self.stride, (top + height) * self.stride)
            columns = slice(left * self.stride, (left + width) * self.stride)
            tokens = self.tokens(self.features(x[:, :, rows, columns])[-1])
            tokens = Tokens(tokens.x, tokens.at + tokens.at.new_tensor([top, left]))
        return tokens if wanted is None else tokens.take(wanted)

    def grid(self, sizes: tuple[int, ...]) -> Grid:
        """Token lattice of an input of this height and width.

        Raises:
            ValueError: If a size is not a multiple of the stride.
        """
        for size in sizes:
            if size % self.stride:
                raise ValueError(f"size {size} is not a multiple of the stride {self.stride} of this ConvNet")
        return Grid(("h", "w"), tuple(size // self.stride for size in sizes))

    def features(self, x: Tensor) -> list[Tensor]:
        """Feature map [B, C, H, W] after each stage."""
        h = self.stem(x.contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in self.stages:
            h = stage(h)
            maps.append(h)
        return maps

    def tokens(self, features: Tensor) -> Tokens:
        """A feature map [B, C, H, W] as Tokens [B, H * W, C]."""
        at = Grid(("h", "w"), tuple(features.shape[2:])).coords(features.device)
        return Tokens(features.flatten(2).transpose(1, 2), at.expand(features.shape[0], -1, -1))

    def layers(self, x: Tensor, num: int) -> list[Tensor]:
        """The last `num` stages' maps as tokens [B, N, C], each stage with its own N and C, last stage last."""
        return [self.tokens(features).x for features in self.features(x)[-num:]]


@torch.no_grad()
def begin_with_cosines(weight: Tensor) -> None:
    """Make filters [N, C, k, k] cosines of low frequency over colors, rows and columns, each beside its negative.

    Over three colors the cosines are brightness, red against blue, and green against both. Lengths stay what they
    are on average; filters beyond twice the number of cosines stay as they were drawn.

    Source: whitening first layers begin with such components, measured on the data (Jordan 2024, arXiv 2404.00498).
    """
    num, *shape = weight.shape
    lowest = sorted(product(*map(range, shape)), key=lambda order: frequency(order, shape))
    waves = torch.stack([wave(order, shape) for order in lowest[: num // 2]])
    length = weight.flatten(1).norm(dim=1).mean()
    weight[: 2 * len(waves)] = length * torch.cat([waves, -waves])


def frequency(order: tuple[int, ...], shape: list[int]) -> float:
    """Squared frequency of a cosine of these orders along axes of these sizes."""
    return sum((n / size) ** 2 for n, size in zip(order, shape, strict=True))


def wave(order: tuple[int, ...], shape: list[int]) -> Tensor:
    """Product of cosines of these orders along axes of these sizes, of length 1: an element of the DCT-II."""
    found = torch.ones(())
    for n, size in zip(order, shape, strict=True):
        along = torch.cos(math.pi * n * (torch.arange(size) + 0.5) / size)
        found = found.unsqueeze(-1) * (along / along.norm())
    return found


def rectangle(keep: Tensor, grid: Grid) -> tuple[int, int, int, int]:
    """Top, left, height and width of the rectangle of cells keep [B, K] that all samples share.

    Raises:
        ValueError: If it is none.
    """
    kept = keep[0].cpu()
    columns = grid.shape[1]
    top, left = divmod(int(kept[0]), columns)
    bottom, right = divmod(int(kept[-1]), columns)
    height, width = bottom - top + 1, right - left + 1
    whole = torch.arange(top, bottom + 1)[:, None] * columns + torch.arange(left, right + 1)
    if not torch.equal(whole.flatten(), kept) or not bool((keep == keep[0]).all()):
        raise ValueError(
            "a ConvNet encoder can be shown one rectangle of cells, row by row and the same for all samples; "
            "use masks of that kind (craik.masking.window), or a ViT encoder"
        )
    return top, left, height, width
