"""Masks on real images: what is shown, what is hidden, and what has to be answered for."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from torch import Tensor

from craik.core.mask import Mask
from craik.core.tokens import Grid
from craik.report.style import Picture, enlarge, picture_sheet, rgb, show, styled

HIDDEN = "#C9C9C9"
CONTEXT = "#4A6FA5"
TARGETS = ("#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8B6F00", "#5E3C99", "#444444")
TINT = 0.6  # how strongly a target covers the picture


def context_picture(picture: Picture, context: Tensor, grid: Grid) -> Picture:
    """What the encoder sees: the patches numbered by context [K]; the rest is gray. uint8 [H, W, 3]."""
    return np.where(spread(member(context, grid), picture)[..., None], picture, rgb(HIDDEN)).astype(np.uint8)


def target_picture(picture: Picture, targets: Tensor, grid: Grid) -> Picture:
    """The target sets [T, K], each tinted with its color; where sets overlap, their colors are mixed."""
    faded = 0.45 * picture + 0.55 * 255.0
    color, count = np.zeros(picture.shape), np.zeros(picture.shape[:2])
    for number, target in enumerate(targets):
        inside = spread(member(target, grid), picture)
        color[inside] += rgb(TARGETS[number % len(TARGETS)])
        count[inside] += 1
    tinted = (1 - TINT) * picture + TINT * color / np.maximum(count, 1)[..., None]
    return np.where(count[..., None] > 0, tinted, faded).astype(np.uint8)


def predictor_picture(picture: Picture, context: Tensor, target: Tensor, number: int, grid: Grid) -> Picture:
    """What the predictor gets for one target [K]: context features, and where to answer. No pixel is left."""
    out = np.broadcast_to(rgb("#F2F2F2"), picture.shape).copy()
    out[spread(member(context, grid), picture)] = rgb(CONTEXT)
    out[spread(member(target, grid), picture)] = rgb(TARGETS[number % len(TARGETS)])
    return out.astype(np.uint8)


def member(index: Tensor, grid: Grid) -> NDArray[np.bool_]:
    """Which cells of a grid (h, w) an index set [K] holds, [h, w]."""
    inside = torch.zeros(grid.num_tokens, dtype=torch.bool)
    inside[index.cpu()] = True
    return inside.view(grid.shape).numpy()


def spread(cells: NDArray[np.bool_], picture: Picture) -> NDArray[np.bool_]:
    """Cells [h, w] as pixels of a picture [H, W, 3]; H and W are multiples of h and w."""
    factors = [side // num for side, num in zip(picture.shape[:2], cells.shape, strict=True)]
    if any(num * factor != side for num, factor, side in zip(cells.shape, factors, picture.shape[:2], strict=True)):
        raise ValueError(f"a picture {picture.shape[:2]} does not divide into a grid {cells.shape}")
    return cells.repeat(factors[0], 0).repeat(factors[1], 1)


@styled
def mask_sheet(pictures: list[Picture], mask: Mask, grid: Grid, goals: list[Picture] | None = None) -> Figure:
    """One row per image: the image, the context, the targets, and the predictor's task.

    Args:
        pictures: What the model was shown, each uint8 [S, S, 3].
        mask: The task, one row per picture.
        grid: The lattice (h, w) that its indices number.
        goals: The crops that targets are of, where these are others; the predictor's task, which then is on no one
            lattice, is left out.
    """
    rows, num_targets = len(pictures), mask.target.shape[1]
    title = f"What is hidden, and what must be predicted: {grid.shape[0]} x {grid.shape[1]} patches"
    figure, axes = picture_sheet(rows, 4 if goals is None else 3, title, bottom=0.55)
    for row, (picture, places) in enumerate(zip(pictures, axes, strict=True)):
        large = enlarge(picture, 320)
        context, targets = mask.context[row], mask.target[row]
        share = f"{len(context)} of {grid.num_tokens} patches"
        titles = ("Image", f"Encoder sees {share}", f"{num_targets} targets of {targets.shape[1]} patches")
        show(places[0], large, titles[0])
        show(places[1], context_picture(large, context, grid), titles[1])
        goal = large if goals is None else enlarge(goals[row], 320)
        show(places[2], target_picture(goal, targets, grid), titles[2] + ("" if goals is None else ", another crop"))
        for number, target in enumerate(targets):
            outline(places[2], target, grid, goal, TARGETS[number % len(TARGETS)])
        if goals is None:
            chosen = row % num_targets
            task = predictor_picture(large, context, targets[chosen], chosen, grid)
            show(places[3], task, f"Predictor's task, target {chosen + 1}")
    keys = [Patch(color=HIDDEN, label="hidden from the encoder")]
    keys += [Patch(color=CONTEXT, label="context feature")] if goals is None else []
    keys += [Patch(color=TARGETS[t % len(TARGETS)], label=f"target {t + 1}") for t in range(min(num_targets, 8))]
    figure.legend(handles=keys, loc="lower center", ncols=min(len(keys), 6))
    return figure


def outline(axes: Axes, target: Tensor, grid: Grid, picture: Picture, color: str) -> None:
    """The bounding box of a target set [K] that fills it; scattered sets get none."""
    cells = member(target, grid)
    rows, columns = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    if cells.sum() != height * width:
        return
    y, x = picture.shape[0] / grid.shape[0], picture.shape[1] / grid.shape[1]
    corner = (columns[0] * x - 0.5, rows[0] * y - 0.5)
    box = Rectangle(corner, width * x, height * y, fill=False, edgecolor=color, linewidth=2.2)
    axes.add_patch(box)


@styled
def view_sheet(views: list[list[Picture]]) -> Figure:
    """The views that the model was shown of each image, for methods that compare views.

    Few views leave room for several images in a row.
    """
    columns = max(len(row) for row in views)
    blocks = min(len(views), max(1, 6 // columns))
    rows = -(-len(views) // blocks)
    figure, axes = picture_sheet(
        rows, blocks * columns, "Views of the same image that the model learns to bring together"
    )
    for number, some in enumerate(views):
        row, block = divmod(number, blocks)
        for view, picture in enumerate(some):
            place = axes[row, block * columns + view]
            show(place, enlarge(picture, 160), f"image {number + 1}, view {view + 1}")
    return figure
