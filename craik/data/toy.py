"""Procedural images with known factors: what a representation should hold, and what it should drop.

Each image shows one shape of one color at some place, size and rotation, before a backdrop of some pattern,
lightness and noise. The shape is the label; backdrop and noise are nuisance.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl

import numpy as np
from PIL import Image

from craik.data.listing import Source, digest
from craik.errors import UsageError

SHAPES = ("disk", "square", "triangle", "star", "cross", "ring")
COLORS = ("red", "orange", "yellow", "green", "cyan", "blue", "violet", "pink")
PATTERNS = ("plain", "gradient", "stripes", "checks", "clouds")
PALETTE = np.array(
    [
        *([0.88, 0.22, 0.20], [0.95, 0.55, 0.15], [0.93, 0.83, 0.25], [0.25, 0.68, 0.33]),
        *([0.22, 0.75, 0.80], [0.20, 0.38, 0.85], [0.52, 0.28, 0.78], [0.95, 0.52, 0.72]),
    ],
    dtype=np.float32,
)
_CHUNK = 250  # images drawn at once; also the unit of seeding, so more images never change the first ones
SPLITS = {"train": 0, "val": 1, "test": 2}
_OPTIONS = ("n", "size", "seed", "split")


@dataclass(frozen=True, slots=True)
class ToySpec:
    """How many images of which size [px], from which seed; splits never share an image."""

    n: int = 4000
    size: int | None = None
    seed: int = 0
    split: str = "train"


def parse_toy(path: str, split: str | None = None) -> ToySpec:
    """Reads `toy:shapes?n=4000&size=32&seed=0&split=test`.

    Raises:
        UsageError: another toy set; an unknown option; a value out of range.
    """
    kind = path.removeprefix("toy:").partition("?")[0]
    if kind in ("digits", "physics"):
        raise UsageError(f"{path}: these are videos; train a video model on them (craik recipes), or use toy:shapes")
    if kind != "shapes":
        raise UsageError(f"{path}: no such toy data. Use toy:shapes, or toy:shapes?n=4000&size=32&seed=0")
    options = ToyOptions.read(path, _OPTIONS)
    size = options.whole("size", least=8) if "size" in options.values else None
    return ToySpec(options.whole("n", 4000), size, options.whole("seed", 0, least=0), options.split(split))


@dataclass(frozen=True, slots=True)
class ToyOptions:
    """What stands behind the question mark of a toy: `toy:shapes?n=4000&size=32`."""

    path: str
    values: dict[str, str]

    @classmethod
    def read(cls, path: str, known: tuple[str, ...]) -> "ToyOptions":
        """The options of a path.

        Raises:
            UsageError: One that is not known.
        """
        values = dict(parse_qsl(path.partition("?")[2], keep_blank_values=True))
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
                raise UsageError(f"{path}: unknown option {key!r}. {hint}")
        return cls(path, values)

    def whole(self, key: str, default: int = 1, least: int = 1) -> int:
        """A whole number.

        Raises:
            UsageError: It is none, or too small.
        """
        text = self.values.get(key, str(default))
        if not text.isdecimal() or int(text) < least:
            name = self.path.partition("?")[0]
            raise UsageError(f"{self.path}: {key}={text} has to be a whole number, such as {name}?n=4000&size=32")
        return int(text)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of some words, the first by default.

        Raises:
            UsageError: Another word.
        """
        text = self.values.get(key, choices[0])
        if text not in choices:
            raise UsageError(f"{self.path}: {key}={text} has to be one of {', '.join(choices)}.")
        return text

    def split(self, asked: str | None) -> str:
        """The split: that of the path, else what was asked for, else train.

        Raises:
            UsageError: No such split.
        """
        chosen = self.values.get("split", asked or "train")
        if chosen not in SPLITS:
            raise UsageError(f"{self.path}: split={chosen} has to be one of {', '.join(SPLITS)}.")
        return chosen


def open_toy(path: str, split: str | None = None) -> Source:
    """The toy data as a source of images; `draw_toy` draws them all at once, which is faster."""
    spec = parse_toy(path, split)
    images, factors = draw_toy(spec)
    identity = digest("toy:shapes", str(spec.n), str(spec.size or 32), str(spec.seed), spec.split)
    return Source(
        name=path,
        paths=[f"{spec.split}/{row:06d}" for row in range(spec.n)],
        read=lambda i: Image.fromarray(images[i]),
        identity=identity,
        content=identity,
        labels=factors["shape"],
        class_names=SHAPES,
    )


def draw_toy(spec: ToySpec) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws the images of a `ToySpec`: as `shapes`."""
    return shapes(spec.n, spec.size or 32, spec.seed, stream=SPLITS[spec.split])


def shapes(n: int, size: int, seed: int = 0, *, stream: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws toy images.

    Args:
        n: number of images N.
        size: side S [px].
        seed: the same seed gives the same images; a larger `n` only appends.
        stream: streams of one seed share no image (train, val, test).

    Returns:
        images: uint8 [N, S, S, 3].
        factors: each [N]. int64: shape, color, pattern. float32: x and y of the center and size (radius) as
            fractions of the side, rotation [rad], backdrop (lightness), noise (standard deviation, of 1).
    """
    images, parts = np.empty((n, size, size, 3), dtype=np.uint8), []
    for number, start in enumerate(range(0, n, _CHUNK)):
        rng = np.random.default_rng([seed, stream, number])
        factors = _draw_factors(rng, _CHUNK)
        stop = min(start + _CHUNK, n)
        images[start:stop] = _render(factors, size, rng)[: stop - start]
        parts.append({name: values[: stop - start] for name, values in factors.items()})
    return images, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _draw_factors(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    def uniform(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, n).astype(np.float32)

    size = uniform(0.14, 0.34)
    room = 0.5 - 0.9 * size  # the shape stays almost whole inside the image
    return {
        "shape": rng.integers(len(SHAPES), size=n),
        "color": rng.integers(len(COLORS), size=n),
        "x": 0.5 + room * uniform(-1.0, 1.0),
        "y": 0.5 + room * uniform(-1.0, 1.0),
        "size": size,
        "rotation": uniform(-0.6, 0.6),  # less than half the turn that maps the star to itself
        "pattern": rng.integers(len(PATTERNS), size=n),
        "backdrop": uniform(0.15, 0.85),
        "noise": uniform(0.0, 0.12),
    }


def _render(factors: dict[str, np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """Paints images uint8 [n, S, S, 3] from factors, anti-aliased by the distance to the outline."""
    n = len(factors["shape"])
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    dx = axis[None, None, :] - factors["x"][:, None, None]
    dy = axis[None, :, None] - factors["y"][:, None, None]
    cos, sin = np.cos(factors["rotation"])[:, None, None], np.sin(factors["rotation"])[:, None, None]
    radius = factors["size"][:, None, None]
    u, v = (cos * dx + sin * dy) / radius, (cos * dy - sin * dx) / radius
    distance = np.empty((n, size, size), dtype=np.float32)
    for kind, outline in enumerate(OUTLINES):
        rows = np.flatnonzero(factors["shape"] == kind)
        distance[rows] = outline(u[rows], v[rows])
    cover = np.clip(0.5 - distance * radius * size, 0.0, 1.0)[..., None]
    glow = (1.0 - 0.16 * v)[..., None]  # lit from above
    paint = np.clip(PALETTE[factors["color"]][:, None, None, :] * glow, 0.0, 1.0)
    image = _backdrop(factors, size, rng)
    image += cover * (paint - image)
    image += factors["noise"][:, None, None, None] * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)


def _backdrop(factors: dict[str, np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """Muted backgrounds, float32 [n, S, S, 3], around the lightness that the factor says."""
    n = len(factors["pattern"])
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    angle = rng.uniform(0.0, np.pi, (n, 1, 1)).astype(np.float32)
    phase = rng.uniform(0.0, 1.0, (n, 1, 1)).astype(np.float32)
    waves = rng.uniform(2.5, 6.0, (n, 1, 1)).astype(np.float32)
    x, y = axis[None, None, :], axis[None, :, None]
    along = np.cos(angle) * x + np.sin(angle) * y
    across = np.cos(angle) * y - np.sin(angle) * x
    relief = np.zeros((n, size, size), dtype=np.float32)
    painters: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "gradient": lambda r: 2.0 * (along[r] - along[r].mean(axis=(1, 2), keepdims=True)),
        "stripes": lambda r: _soft_square(waves[r] * along[r] + phase[r]),
        "checks": lambda r: _soft_square(waves[r] * along[r] + phase[r]) * _soft_square(waves[r] * across[r]),
        "clouds": lambda r: _clouds(len(r), size, rng),
    }
    for kind, name in enumerate(PATTERNS):
        rows = np.flatnonzero(factors["pattern"] == kind)
        if name in painters and len(rows):
            relief[rows] = painters[name](rows)
    tint = rng.uniform(-0.06, 0.06, (n, 1, 1, 3)).astype(np.float32)
    return factors["backdrop"][:, None, None, None] + tint + 0.10 * relief[..., None]


def _soft_square(turns: np.ndarray) -> np.ndarray:
    return np.tanh(3.0 * np.sin(2.0 * np.pi * turns))


def _clouds(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise: a coarse grid of random heights, blown up bilinearly; [n, S, S] in about [-1, 1]."""
    cells = 5
    heights = rng.uniform(-1.5, 1.5, (n, cells + 1, cells + 1)).astype(np.float32)
    at = (np.arange(size, dtype=np.float32) + 0.5) / size * cells
    low = at.astype(np.int64)
    part = at - low
    weights = np.zeros((size, cells + 1), dtype=np.float32)
    weights[np.arange(size), low] = 1.0 - part
    weights[np.arange(size), low + 1] += part
    return weights @ heights @ weights.T


# Distance to the outline of a shape of radius 1, negative inside; exact near the outline, where it is used.


def _disk(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, v) - 0.9


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) - 0.78


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    half = np.float32(0.5)
    return np.maximum(v, np.float32(3**0.5 / 2) * np.abs(u) - half * v) - half


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Five points: the wedge of one half point, reached by folding the angle."""
    fifth = np.float32(2.0 * np.pi / 5.0)
    angle = np.arctan2(u, -v)
    angle = np.abs(angle - fifth * np.round(angle / fifth))
    length = np.hypot(u, v)
    x, y = length * np.cos(angle), length * np.sin(angle)
    # The edge from the point (1, 0) to the notch at radius 0.45, half a fifth further.
    notch = 0.45 * np.array([np.cos(np.pi / 5.0), np.sin(np.pi / 5.0)])
    normal = np.array([notch[1], 1.0 - notch[0]])
    normal = (normal / np.hypot(*normal)).astype(np.float32)
    return (x - np.float32(1.0)) * normal[0] + y * normal[1]


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    long, short = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
    return np.maximum(long - 0.92, short - 0.3)


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(u, v) - 0.7) - 0.22


OUTLINES: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    *(_disk, _square, _triangle),
    *(_star, _cross, _ring),
)
