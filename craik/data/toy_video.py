"""Toy videos by name: toy:digits and toy:physics. Their frames are drawn when a batch asks for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from craik.data.clip import Clip
from craik.data.clips import ClipPixels
from craik.data.digits import NAMES, MovingDigits, moving_digits
from craik.data.images import ImageData
from craik.data.listing import digest
from craik.data.physics import FRAMES, PROPERTIES, clip_of, property_of
from craik.data.toy import SPLITS, ToyOptions
from craik.data.video import Track
from craik.errors import UsageError

_COMMON = ("n", "size", "frames", "seed", "split")


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Videos that are drawn, as `Footage`: T frames each, as many per second as a clip has.

    Attributes:
        render: from a video, frame numbers int64 [T'] and a side S [px] to uint8 [T', S, S, 3].
        count: of videos N.
        frames: of each T.
        fps: frames per second.
    """

    render: Callable[[int, np.ndarray, int], np.ndarray]
    count: int
    frames: int
    fps: float

    def __len__(self) -> int:
        return self.count

    def name(self, row: int) -> str:
        """The number of a video."""
        return f"{row:06d}"

    def track(self, row: int) -> Track:
        """Time stamps that are the numbers of the frames."""
        return Track(np.arange(self.frames), 1.0 / self.fps, self.frames, 64, 64, "drawn")

    def read(self, rows: Sequence[int], stamps: Sequence[np.ndarray], side: int) -> list[np.ndarray | str]:
        """Frames of some videos."""
        return [self.render(row, at, side) for row, at in zip(rows, stamps, strict=True)]


def load_toy_video(path: str, clip: Clip, view: int, split: str | None = None) -> ImageData:
    """The clips of a toy: their pixels are uint8 [N, T, S, S, 3] with S `view`.

    `toy:digits?n=2000&digits=1&bounce=mirror&frames=20&seed=0&split=train`: labels are the digits, or pairs of them;
    bounce=random makes the future uncertain. `toy:physics?n=2000&clips=possible&frames=24`: labels are the property
    that a scene is about; clips=both adds the impossible ones (`physics.physics_pairs` gives them as pairs).

    `factors` tell what each whole video shows; those that change have an axis of its frames.

    Raises:
        UsageError: No such toy, an unknown option, or a value out of range.
    """
    kind = path.removeprefix("toy:").partition("?")[0]
    if kind not in _TOYS:
        raise UsageError(f"{path}: no such toy video. Use toy:digits or toy:physics, or toy:shapes for images.")
    own, default, load = _TOYS[kind]
    options = ToyOptions.read(path, (*_COMMON, *own))
    if "size" in options.values and options.whole("size") != view:
        raise UsageError(f"{path}: size={options.values['size']}, but the recipe wants {view} px. Leave size= out.")
    frames = options.whole("frames", max(default, clip.frames))
    if frames < clip.frames:
        raise UsageError(f"{path}: frames={frames}, but a clip of the recipe has {clip.frames}. Leave frames= out.")
    chosen = options.split(split)
    drawn, labels, names, factors = load(options, frames, clip.fps, SPLITS[chosen])
    rows = np.repeat(np.arange(len(drawn)), clip.per_file)
    return ImageData(
        pixels=ClipPixels(drawn, clip, view),
        sizes=np.full((len(rows), 2), view, dtype=np.int32),
        name=path,
        paths=[f"{chosen}/{row:06d}" for row in rows.tolist()],
        labels=labels[rows],
        class_names=names,
        factors={name: values[rows] for name, values in factors.items()},
        fingerprint=digest(f"toy:{kind}", repr(sorted(options.values.items())), chosen, str(frames), repr(clip)),
        noun="video" if clip.per_file == 1 else "clip",
        about=f"{frames} frames",
    )


_Made = tuple[Drawn, np.ndarray, tuple[str, ...], dict[str, np.ndarray]]


def _digits(options: ToyOptions, frames: int, fps: float, stream: int) -> _Made:
    digits, stochastic = options.whole("digits"), options.choice("bounce", ("mirror", "random")) == "random"
    if digits > 2:
        raise UsageError(f"{options.path}: digits={digits} has to be 1 or 2.")
    seed, n = options.whole("seed", 0, least=0), options.whole("n", 2000)
    made: MovingDigits = moving_digits(n, frames, digits=digits, stochastic=stochastic, seed=seed, stream=stream)
    labels, names = made.digit[:, 0], NAMES
    if digits == 2:
        pairs = [f"{a}+{b}" for a in range(10) for b in range(a, 10)]
        number = {pair: label for label, pair in enumerate(pairs)}
        labels = np.array([number[f"{min(pair)}+{max(pair)}"] for pair in made.digit.tolist()], dtype=np.int64)
        names = tuple(pairs)
    return Drawn(made.render, len(made), frames, fps), labels, names, made.factors


def _physics(options: ToyOptions, frames: int, fps: float, stream: int) -> _Made:
    if not FRAMES[0] <= frames <= FRAMES[1]:
        raise UsageError(f"{options.path}: clips of physics have {FRAMES[0]} to {FRAMES[1]} frames, not {frames}.")
    each = 2 if options.choice("clips", ("possible", "both")) == "possible" else 4
    n, seed = options.whole("n", 2000), (options.whole("seed", 0, least=0), stream)

    def render(row: int, numbers: np.ndarray, side: int) -> np.ndarray:
        return clip_of(row // each, row % each, numbers, frames, side, seed)

    rows = np.arange(n)
    kinds = property_of(rows // each)
    factors = {"property": kinds, "possible": rows % each < 2, "quadruplet": rows // each}
    return Drawn(render, n, frames, fps), kinds, PROPERTIES, factors


_TOYS: dict[str, tuple[tuple[str, ...], int, Callable[[ToyOptions, int, float, int], _Made]]] = {
    "digits": (("digits", "bounce"), 20, _digits),
    "physics": (("clips",), 24, _physics),
}
"""Options of its own, usual number of frames, and maker of each toy."""
