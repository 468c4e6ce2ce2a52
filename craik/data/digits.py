"""Moving digits: handwriting that drifts across the frame and bounces off its edges, with everything known about it.

The Moving MNIST of Srivastava et al. 2015 (arXiv 1502.04681) and, with `stochastic`, that of Denton and Fergus 2018
(arXiv 1802.07687), where a digit leaves the edge in a random direction: there the past does not tell the future.
"""

from dataclasses import dataclass, field

import numpy as np

from craik.data.strokes import draw_digits

NAMES = tuple("0123456789")
GLYPH = 28 / 64  # side of a digit, as a fraction of the side of the frame
SPEED = (0.030, 0.065)  # of the side of the frame, per frame
_CHUNK = 250  # videos whose motion is drawn at once; also the unit of seeding, so more videos never change the first


@dataclass(frozen=True, slots=True, eq=False)
class MovingDigits:
    """Videos of D digits each, drawn when they are asked for.

    Attributes:
        digit: int64 [N, D].
        x: center of each digit in each frame, as a fraction of the side, float32 [N, T, D].
        y: as `x`, downward.
        vx: what it moves by until the next frame where no edge is in between, float32 [N, T, D].
        vy: as `vx`.
        seed: of the hands that write, as passed to numpy's default_rng before the number of the video.
    """

    digit: np.ndarray
    x: np.ndarray
    y: np.ndarray
    vx: np.ndarray
    vy: np.ndarray
    seed: tuple[int, ...]
    drawn: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.digit)

    @property
    def frames(self) -> int:
        """T, frames of a video."""
        return self.x.shape[1]

    @property
    def factors(self) -> dict[str, np.ndarray]:
        """What each video shows, by name; of a single digit without the axis D."""
        names = ("digit", "x", "y", "vx", "vy")
        found = {name: getattr(self, name) for name in names}
        return {name: v[..., 0] for name, v in found.items()} if self.digit.shape[1] == 1 else found

    def render(self, row: int, numbers: np.ndarray, side: int) -> np.ndarray:
        """Some frames of a video: numbers int64 [T'], uint8 [T', S, S, 3] with S `side` px."""
        ink = np.zeros((len(numbers), side + 1, side + 1), dtype=np.float32)
        size = round(GLYPH * side)
        for number, glyph in enumerate(self._glyphs(row, size)):
            left = self.x[row, numbers, number] * side - size / 2
            top = self.y[row, numbers, number] * side - size / 2
            for at, (i, j) in enumerate(zip(np.floor(top).astype(int), np.floor(left).astype(int), strict=True)):
                place = ink[at, i : i + size + 1, j : j + size + 1]
                np.maximum(place, _shift(glyph, top[at] - i, left[at] - j), out=place)
        gray = np.rint(ink[:, :side, :side]).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=-1)

    def _glyphs(self, row: int, size: int) -> np.ndarray:
        """Ink of the digits of a video, uint8 [D, size, size]; each video has a hand of its own."""
        if (row, size) not in self.drawn:
            rng = np.random.default_rng([*self.seed, row])
            self.drawn[row, size] = draw_digits(self.digit[row], size, rng)
        return self.drawn[row, size]


def _shift(glyph: np.ndarray, down: float, right: float) -> np.ndarray:
    """Ink [s, s] moved by a fraction of a pixel, float32 [s + 1, s + 1]."""
    size = len(glyph)
    out = np.zeros((size + 1, size + 1), dtype=np.float32)
    for i, weight_i in ((0, 1 - down), (1, down)):
        for j, weight_j in ((0, 1 - right), (1, right)):
            out[i : i + size, j : j + size] += np.float32(weight_i * weight_j) * glyph
    return out


def moving_digits(
    n: int, frames: int = 20, *, digits: int = 1, stochastic: bool = False, seed: int = 0, stream: int = 0
) -> MovingDigits:
    """Draws where digits are; their pixels come from `render`.

    Args:
        n: videos N.
        frames: of a video T.
        digits: in a video D.
        stochastic: leave an edge in a random direction at a random speed, instead of as light leaves a mirror.
        seed: the same seed gives the same videos; a larger `n` or more `frames` only append.
        stream: streams of one seed share no video (train, val, test).
    """
    parts = [_drift(frames, digits, stochastic, [seed, stream, c]) for c in range(-(-n // _CHUNK))]
    digit, x, y, vx, vy = (np.concatenate([part[i] for part in parts])[:n] for i in range(5))
    return MovingDigits(digit, x, y, vx, vy, (seed, stream, 1 << 20))


def _drift(frames: int, digits: int, stochastic: bool, seed: list[int]) -> tuple[np.ndarray, ...]:
    """Identity [n, D], center x and y, and velocity in x and y [n, T, D] of a chunk of videos."""
    rng = np.random.default_rng(seed)
    shape = (_CHUNK, digits)
    digit = rng.integers(10, size=shape)
    low, high = GLYPH / 2, 1 - GLYPH / 2
    at = rng.uniform(low, high, (*shape, 2))
    velocity = _velocity(rng, shape)
    places, velocities = [], []
    for _ in range(frames):
        places.append(at)
        velocities.append(velocity)
        at = at + velocity
        out = (at < low) | (at > high)
        at = np.where(at < low, 2 * low - at, np.where(at > high, 2 * high - at, at))
        bounced = np.where(out, -velocity, velocity)
        if stochastic:
            fresh = _velocity(rng, shape)
            inward = np.where(out, np.abs(fresh) * np.sign(bounced), fresh)
            bounced = np.where(out.any(-1, keepdims=True), inward, bounced)
        velocity = bounced
    x, y = np.moveaxis(np.stack(places, 1).astype(np.float32), -1, 0)
    vx, vy = np.moveaxis(np.stack(velocities, 1).astype(np.float32), -1, 0)
    return digit, x, y, vx, vy


def _velocity(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Directions and speeds at random, [n, D, 2]."""
    angle, speed = rng.uniform(0, 2 * np.pi, shape), rng.uniform(*SPEED, shape)
    return np.stack([speed * np.cos(angle), speed * np.sin(angle)], axis=-1)
