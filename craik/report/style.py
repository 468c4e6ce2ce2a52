"""How pictures look: one palette, one type size, one way to make and to write them. No pyplot, no global figure."""

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import TextToPath
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
"""An image [H, W, 3]."""

TRAINED = "#0072B2"
RANDOM = "#6b6b6b"
BAD = "#D55E00"
GOOD = "#009E73"
INK = "#1a1a1a"
CYCLE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8B6F00", "#444444")
"""Colors of Okabe and Ito, told apart by people who see few colors; yellow, too light on white, is darkened."""
CLASSES = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#661100")
"""The muted colors of Paul Tol, for up to ten classes; more are gray."""
OTHER = "#B0B0B0"
MARKERS = "osD^vP*Xph"
"""Shapes beside the colors of classes, so that color is not all that tells them apart."""

WIDTH = 10.0  # of every picture [inches]
DPI = 150  # 1500 px wide; type of 10 pt is 14 px high where the picture is shown 1000 px wide
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "legend.fontsize": 9,
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

styled = matplotlib.rc_context(STYLE)
"""Decorator: draws in this style and leaves that of the caller's program alone."""


def sheet(rows: int, columns: int, height: float, width: float = WIDTH) -> tuple[Figure, NDArray[Any]]:
    """A figure of so many inches with axes [rows, columns]."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.02, hspace=0.03)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    axes: NDArray[Any] = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def picture_sheet(
    rows: int, columns: int, title: str, above: float = 0.26, below: float = 0.06, bottom: float = 0.08
) -> tuple[Figure, NDArray[Any]]:
    """A figure of square cells for pictures, axes [rows, columns]; every place is known, so no layout is searched.

    Args:
        rows: Lines of cells.
        columns: Cells in a line.
        title: Of the sheet.
        above: Room above each cell for a line of text [inches].
        below: Room below it [inches].
        bottom: Room below everything [inches].
    """
    margin, gap, head = 0.1, 0.12, 0.42
    side = (WIDTH - 2 * margin - (columns - 1) * gap) / columns
    height = head + rows * (above + side + below) + bottom
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    axes = np.empty((rows, columns), dtype=object)
    for row in range(rows):
        top = height - head - row * (above + side + below) - above
        for column in range(columns):
            box = ((margin + column * (side + gap)) / WIDTH, (top - side) / height, side / WIDTH, side / height)
            axes[row, column] = figure.add_axes(box)
            axes[row, column].set_axis_off()
    figure.text(margin / WIDTH, 1 - 0.1 / height, title, va="top", fontsize=12.5, fontweight="bold")
    return figure, axes


def headline(figure: Figure, title: str) -> None:
    """The title of a whole sheet, at its left."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=12.5, fontweight="bold")


def png(figure: Figure) -> bytes:
    """A figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def show(axes: Axes, picture: NDArray[Any], title: str = "", color: str = INK, **options: Any) -> Any:
    """A picture [H, W, 3], or a map [H, W], with square pixels and no axis."""
    image = axes.imshow(picture, interpolation="nearest", **options)
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=9.5, fontweight="normal", loc="center", color=color, pad=4)
    return image


def frame(axes: Axes, color: str, width: float = 3.0, style: str = "-") -> None:
    """A frame around a picture."""
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=color, linewidth=width, linestyle=style)


def label(text: str, longest: int = 28, points: float = float("inf"), size: float = 10.0) -> str:
    """Text from outside, safe to draw: cut in its middle, no mathematics, no letter that the font lacks.

    Args:
        text: What to draw.
        longest: Most letters.
        points: Most width in type of `size` [pt].
        size: Size of the type [pt].
    """
    known = glyphs()
    clean = "".join(c if ord(c) in known else "?" for c in " ".join(text.split()))
    kept = min(len(clean), longest)
    while kept > 1 and width_of(cut(clean, kept), size) > points:
        kept -= 1
    return cut(clean, kept).replace("$", r"\$")


def cut(text: str, longest: int) -> str:
    """Text of at most `longest` letters; what is left out of its middle is an ellipsis."""
    if len(text) <= longest:
        return text
    head = longest // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def width_of(text: str, size: float) -> float:
    """Width of a line of text [pt]."""
    width, _, _ = TextToPath().get_text_width_height_descent(
        text, FontProperties(family=STYLE["font.family"], size=size), False
    )
    return float(width)


@cache
def glyphs() -> frozenset[int]:
    """Code points of the font in use."""
    return frozenset(get_font(findfont(STYLE["font.family"])).get_charmap())


def enlarge(picture: Picture, side: int) -> Picture:
    """A picture at least `side` px high: small ones with whole, hard pixels, large ones as they are."""
    factor = max(1, round(side / len(picture)))
    return picture.repeat(factor, 0).repeat(factor, 1)


def fit(picture: Picture, side: int) -> Picture:
    """A picture whose longer side is `side` px, its aspect kept."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    kind = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize(size, kind))


def spread_over(count: int, wanted: int) -> list[int]:
    """`wanted` numbers spread evenly over 0 ... count - 1."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, wanted))}) if count else []


def rgb(color: str) -> NDArray[np.float64]:
    """A color such as #0072B2 as [3] in [0, 255]."""
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float64)


def class_colors(labels: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Color and marker of the ten most frequent classes; all others share gray."""
    classes, counts = np.unique([y for y in labels if y >= 0], return_counts=True)
    order = sorted(zip(-counts, classes, strict=True))[: len(CLASSES)]
    kept = sorted(int(y) for _, y in order)
    return {y: (CLASSES[i], MARKERS[i]) for i, y in enumerate(kept)}
