"""The 2-D map: embeddings on their two strongest directions, with thumbnails."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from numpy.typing import NDArray
from torch import Tensor

from craik.core.collapse import eigenspectrum
from craik.report.style import DPI, OTHER, TRAINED, Picture, class_colors, fit, label, sheet, styled

THUMB = 58  # longer side of a thumbnail in the picture [px]
Floats = NDArray[np.float64]


def project(z: Tensor) -> tuple[Floats, tuple[float, float]]:
    """Embeddings [N, D] on their two principal directions [N, 2], and the share of variance of each."""
    x = z.detach().double()
    x = x - x.mean(0)
    _, vectors = torch.linalg.eigh(x.T @ x)
    axes = vectors[:, -2:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    eigenvalues = eigenspectrum(z)
    shares = eigenvalues[:2] / eigenvalues.sum().clamp(min=1e-300)
    return (x @ axes).numpy(), (float(shares[0]), float(shares[1]))


def apart(points: Floats, gap: float, most: int, seed: int = 0) -> list[int]:
    """Rows of points [N, 2] in pixels, at most `most`, no two of which are nearer than `gap` in both axes."""
    chosen: list[int] = []
    for row in np.random.default_rng(seed).permutation(len(points)):
        if all(np.abs(points[row] - points[other]).max() >= gap for other in chosen):
            chosen.append(int(row))
        if len(chosen) == most:
            break
    return chosen


@styled
def map_sheet(
    z: Tensor, thumbnails: Sequence[Picture], labels: Sequence[int] | None = None, names: Sequence[str] | None = None
) -> Figure:
    """All embeddings as points, some with their images.

    Args:
        z: Embeddings [N, D].
        thumbnails: One image per embedding, uint8 [H, W, 3].
        labels: Classes, -1 where unknown; they color the points and frame the thumbnails.
        names: The name of each class.
    """
    figure, axes = sheet(1, 1, 8.2)
    place: Axes = axes[0, 0]
    points, shares = project(z)
    colors = class_colors(labels) if labels is not None else {}
    scatter(place, points, labels, names, colors)
    place.set_title(f"Map of {len(points):,} embeddings: images that lie close are alike to the encoder")
    place.set_xlabel(f"first principal component ({shares[0]:.1%} of the variance)")
    place.set_ylabel(f"second principal component ({shares[1]:.1%})")
    place.margins(0.06)
    if len(colors) > 1:
        figure.legend(loc="outside lower center", ncols=5, title="class")
    figure.draw_without_rendering()  # fixes the layout, so that distances are known in pixels
    in_pixels = place.transData.transform(points)
    for row in apart(in_pixels, THUMB + 12, 170):
        y = -1 if labels is None else int(labels[row])
        edge = colors[y][0] if y in colors else (OTHER if colors else "#888888")
        picture = OffsetImage(fit(thumbnails[row], THUMB), zoom=72 / DPI, interpolation="nearest")
        style = {"edgecolor": edge, "linewidth": 1.8}
        place.add_artist(AnnotationBbox(picture, tuple(points[row]), pad=0.12, bboxprops=style, zorder=3))
    return figure


def scatter(
    axes: Axes,
    points: Floats,
    labels: Sequence[int] | None,
    names: Sequence[str] | None,
    colors: dict[int, tuple[str, str]],
) -> None:
    """The points [N, 2], by class where classes are known."""
    if not colors or labels is None:
        axes.scatter(*points.T, s=14, color=TRAINED, alpha=0.45, linewidth=0)
        return
    classes = np.asarray(labels)
    rest = ~np.isin(classes, list(colors))
    if rest.any():
        axes.scatter(*points[rest].T, s=12, color=OTHER, alpha=0.5, linewidth=0, label="other classes")
    for y, (color, marker) in colors.items():
        name = names[y] if names is not None and y < len(names) else str(y)
        inside = points[classes == y]
        axes.scatter(*inside.T, s=20, color=color, marker=marker, alpha=0.65, linewidth=0, label=label(name, 18))
