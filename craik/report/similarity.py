"""Where a patch finds itself again, and where it looks: similarity and attention over the image."""

from dataclasses import dataclass

import matplotlib
import numpy as np
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from craik.core.tokens import Grid
from craik.nn.encoder import Encoder
from craik.report.style import Picture, enlarge, picture_sheet, show, styled

Floats = NDArray[np.float32]
SCALE = 0.68  # height of a color bar with its texts [inches]
COVER = 0.68  # how strongly the heat covers the gray picture


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """A map over the patches of each picture, and how its values are drawn."""

    title: str
    maps: list[Floats]
    """One [h, w] per picture."""
    low: float
    high: float
    colors: str = "viridis"
    unit: str = ""


def similarity(tokens: Tensor, chosen: int, mean: Tensor, grid: Grid) -> Floats:
    """Cosine of one patch's feature with all patches of its image, [h, w].

    Args:
        tokens: Features of one image [N, D].
        chosen: Number of the patch.
        mean: Mean token of many images [D], taken away first: what all tokens share would hide their differences.
        grid: The lattice (h, w).
    """
    z = F.normalize(tokens.float() - mean.float(), dim=-1)
    return np.asarray((z @ z[chosen]).view(grid.shape).cpu(), dtype=np.float32)


def last_attention(encoder: Encoder, x: Tensor) -> Tensor:
    """Attention weights of the last block, mean over its heads, of normalized images x [B, 3, S, S]: [B, N, N]."""
    tokens = encoder.embed(x)
    trunk = encoder.trunk
    *body, last = trunk.blocks
    rotation = None if trunk.rotary is None else trunk.rotary(tokens.at)
    h = tokens.x
    for block in body:
        h = block(h, rotation, tokens.valid)
    weights: Tensor = last.attn.map(last.norm1(h), rotation)
    return weights.mean(1)


def salient(tokens: Tensor, mean: Tensor, grid: Grid) -> int:
    """The patch to ask about: off the border, with the feature farthest from the mean token [D]."""
    distance = (tokens.float() - mean.float()).norm(dim=-1).view(grid.shape).clone()
    border = min(grid.shape) // 4
    inner = distance[border : grid.shape[0] - border, border : grid.shape[1] - border]
    row, column = divmod(int(inner.argmax()), inner.shape[1])
    return (row + border) * grid.shape[1] + column + border


def overlay(picture: Picture, heat: Floats, low: float, high: float, colors: str = "viridis") -> Picture:
    """A map [h, w] as colors over the gray picture [S, S, 3]; S is a multiple of h and w."""
    gray = picture.astype(np.float64).mean(-1, keepdims=True).repeat(3, -1)
    factors = (picture.shape[0] // heat.shape[0], picture.shape[1] // heat.shape[1])
    large = heat.repeat(factors[0], 0).repeat(factors[1], 1)
    scaled = np.clip((large - low) / max(high - low, 1e-12), 0, 1)
    color = matplotlib.colormaps[colors](scaled)[..., :3] * 255
    return ((1 - COVER) * gray + COVER * color).round().astype(np.uint8)


@styled
def heat_sheet(title: str, pictures: list[Picture], chosen: list[int], grid: Grid, heats: list[Heat]) -> Figure:
    """Each image with the chosen patch marked, beside its maps.

    Args:
        title: What is seen.
        pictures: What the encoder saw, each uint8 [S, S, 3].
        chosen: Number of the marked patch in each.
        grid: The lattice (h, w).
        heats: The maps, one column each.
    """
    blocks = 2 if 1 + len(heats) <= 3 and len(pictures) > 2 else 1
    rows, columns = -(-len(pictures) // blocks), 1 + len(heats)
    figure, axes = picture_sheet(rows, blocks * columns, title, bottom=0.12 + SCALE * len(kinds(heats)))
    for number, picture in enumerate(pictures):
        block, row = divmod(number, rows)
        places = axes[row, block * columns : (block + 1) * columns]
        large = enlarge(picture, 320)
        show(places[0], large, "image, chosen patch")
        mark(places[0], chosen[number], grid, large)
        for place, heat in zip(places[1:], heats, strict=True):
            show(place, overlay(large, heat.maps[number], heat.low, heat.high, heat.colors), heat.title)
            mark(place, chosen[number], grid, large)
    scales(figure, heats)
    return figure


def kinds(heats: list[Heat]) -> list[Heat]:
    """One map of each kind that has a color scale of its own."""
    return list({(h.colors, h.low, h.high, h.unit): h for h in heats}.values())


def scales(figure: Figure, heats: list[Heat]) -> None:
    """One color bar per kind of map, at the bottom."""
    height = figure.get_figheight()
    for number, heat in enumerate(reversed(kinds(heats))):
        scale = ScalarMappable(Normalize(heat.low, heat.high), heat.colors)
        box = (0.25, (0.5 + number * SCALE) / height, 0.5, 0.13 / height)
        figure.colorbar(scale, cax=figure.add_axes(box), orientation="horizontal", label=heat.unit)


def mark(axes: Axes, chosen: int, grid: Grid, picture: Picture) -> None:
    """A square around a patch, white on black, seen on any ground."""
    y, x = picture.shape[0] / grid.shape[0], picture.shape[1] / grid.shape[1]
    row, column = divmod(chosen, grid.shape[1])
    for color, width in (("black", 3.6), ("white", 1.6)):
        corner = (column * x - 0.5, row * y - 0.5)
        axes.add_patch(Rectangle(corner, x, y, fill=False, edgecolor=color, linewidth=width, clip_on=False))
