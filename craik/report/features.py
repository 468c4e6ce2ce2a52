"""Features as colors: the first three principal components of tokens as red, green and blue."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from craik.report.style import Picture, enlarge, picture_sheet, show, styled

Floats = NDArray[np.float32]
KEEP = 0.8  # a stored basis is used as long as it explains this share of what a fresh one does


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Three directions of feature space and the range of values along each."""

    mean: Floats
    """[D]."""
    axes: Floats
    """Orthonormal rows, [3, D]."""
    low: Floats
    """Values that are drawn as 0, [3]."""
    high: Floats
    """Values that are drawn as 1, [3]."""

    @classmethod
    def of(cls, tokens: Floats) -> "Basis":
        """The principal components of tokens [M, D]; signs make the largest entry of each positive."""
        if tokens.ndim != 2 or tokens.shape[1] < 3 or len(tokens) < 3:
            raise ValueError(f"three components want tokens [M, D] with M and D of at least 3, got {tokens.shape}")
        x = tokens.astype(np.float64)
        mean = x.mean(0)
        _, vectors = np.linalg.eigh(np.cov(x - mean, rowvar=False))
        axes = vectors[:, ::-1][:, :3].T
        signs = np.sign(axes[np.arange(3), np.abs(axes).argmax(1)])
        return cls.ranged(x, mean, axes * signs[:, None])

    @classmethod
    def ranged(cls, x: NDArray[np.float64], mean: NDArray[np.float64], axes: NDArray[np.float64]) -> "Basis":
        """A basis whose ranges leave out the outermost hundredth of tokens [M, D] at each end."""
        low, high = np.quantile((x - mean) @ axes.T, (0.01, 0.99), axis=0)
        parts = (mean, axes, low, np.maximum(high, low + 1e-12))
        return cls(*(part.astype(np.float32) for part in parts))

    def colors(self, tokens: Floats) -> Floats:
        """Tokens [..., D] as colors [..., 3] in [0, 1]."""
        z = (tokens - self.mean) @ self.axes.T
        return np.clip((z - self.low) / (self.high - self.low), 0, 1).astype(np.float32)

    def explained(self, tokens: Floats) -> float:
        """Share of the variance of tokens [M, D] along the three axes."""
        x = (tokens - tokens.mean(0)).astype(np.float64)
        return float(np.square(x @ self.axes.T).sum() / max(np.square(x).sum(), 1e-300))

    def matched(self, tokens: Floats, old: "Basis") -> "Basis":
        """This basis, its axes put in the order and sign of those of an old one that they are most like."""
        x = tokens.astype(np.float64)
        mine, theirs = (np.asarray((x - x.mean(0)) @ b.axes.T) for b in (self, old))
        like = mine.T @ theirs / np.maximum(np.outer(norm(mine), norm(theirs)), 1e-12)
        orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
        best = max(orders, key=lambda order: sum(abs(like[order[i], i]) for i in range(3)))
        signs = np.array([np.sign(like[best[i], i]) or 1.0 for i in range(3)])
        return self.ranged(x, x.mean(0), self.axes[list(best)].astype(np.float64) * signs[:, None])

    def to_bytes(self) -> bytes:
        """As an .npz file."""
        buffer = io.BytesIO()
        np.savez(buffer, mean=self.mean, axes=self.axes, low=self.low, high=self.high)
        return buffer.getvalue()

    @classmethod
    def read(cls, path: Path) -> "Basis | None":
        """A stored basis; None where there is none that can be read."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                parts = [stored[name] for name in ("mean", "axes", "low", "high")]
        except (OSError, ValueError, KeyError, EOFError):
            return None
        return cls(*parts)


def norm(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length of each column."""
    return np.sqrt(np.square(x).sum(0))


def stable_basis(tokens: Floats, stored: Basis | None) -> tuple[Basis, bool]:
    """The stored basis where it still fits tokens [M, D], else a fresh one with colors as alike as can be.

    Early in training features turn so fast that an old basis shows little of them.

    Returns:
        The basis, and whether it is the stored one.
    """
    fresh = Basis.of(tokens)
    if stored is None or stored.mean.shape != fresh.mean.shape:
        return fresh, False
    if stored.explained(tokens) >= KEEP * fresh.explained(tokens):
        return stored, True
    return fresh.matched(tokens, stored), False


@styled
def feature_sheet(pictures: list[Picture], maps: dict[str, list[Floats]]) -> Figure:
    """Each image beside its feature maps.

    Args:
        pictures: What the encoder saw, each uint8 [S, S, 3].
        maps: By the name of the encoder, one map of colors [h, w, 3] per picture.
    """
    blocks = 2 if len(pictures) > 4 else 1  # side by side, to use the width
    rows, columns = -(-len(pictures) // blocks), 1 + len(maps)
    title = "Features as colors: first three principal components of the tokens as red, green, blue"
    figure, axes = picture_sheet(rows, blocks * columns, title)
    for number, picture in enumerate(pictures):
        block, row = divmod(number, rows)
        places = axes[row, block * columns : (block + 1) * columns]
        show(places[0], enlarge(picture, 240), "image")
        for place, (name, colors) in zip(places[1:], maps.items(), strict=True):
            show(place, upsample(colors[number], 240), name)
    return figure


def upsample(colors: Floats, side: int) -> Floats:
    """A map [h, w, 3] enlarged to about `side` px with hard cells: no detail is made up."""
    factor = max(1, round(side / len(colors)))
    return colors.repeat(factor, 0).repeat(factor, 1)
