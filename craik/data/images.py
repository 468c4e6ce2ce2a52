"""Images as arrays: decoded once, squashed to one canvas size, kept in a memory-mapped cache."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from craik.data.cache import Decoded, decode_source
from craik.data.labels import LabelSpec
from craik.data.listing import Ignored, Source, digest
from craik.data.source import open_source
from craik.data.toy import SHAPES, draw_toy, parse_toy
from craik.errors import UsageError

_NOTHING = Ignored()


class Pixels(Protocol):
    """What holds canvases: a numpy array, a memory map, or an object that decodes when it is indexed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S, S, 3), or (N, T, S, S, 3) of clips."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """uint8 [B, S, S, 3], or [B, T, S, S, 3], of the images, or clips, that an int64 [B] names."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of other pixels, without a copy."""

    base: Pixels
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S, S, 3), or (N, T, S, S, 3) of clips."""
        return (len(self.rows), *self.base.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return self.base[self.rows[index]]


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """A set of images on canvases of one size, or of clips of T such images each (see `clips.load_clips`).

    The whole image is squashed to the square canvas, its aspect not kept; `sizes` remembers the original, so
    that crops can be drawn in the geometry of the original and resampled from the canvas.

    Attributes:
        pixels: uint8 [N, S, S, 3], or [N, T, S, S, 3] of clips, indexed by int64 arrays; memory-mapped, in memory, or
            decoded on demand.
        sizes: int32 [N, 2], (height, width) of the upright originals [px].
        name: what people call the data.
        paths: for each image a name that is shown to people.
        labels: int64 [N], -1 where an image has none; None without labels.
        class_names: the name of each label.
        factors: for toy data, what each image shows; each [N].
        skipped: image files that could not be read.
        ignored: hidden folders and files of other kinds.
        notes: lines for people, warnings among them.
        fingerprint: the same for the same files at the same S, on any machine.
        noun: what people call one of them.
        about: how long and fast videos are.
    """

    pixels: Pixels
    sizes: np.ndarray
    name: str
    paths: Sequence[str]
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    factors: dict[str, np.ndarray] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    ignored: Ignored = _NOTHING
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    noun: str = "image"
    about: str = ""

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def side(self) -> int:
        """S, the side of the canvas [px]."""
        return self.pixels.shape[-2]

    @property
    def moving(self) -> bool:
        """Whether these are clips."""
        return len(self.pixels.shape) == 5

    @property
    def length(self) -> int:
        """Frames of a clip T; 1 of images."""
        return self.pixels.shape[1] if self.moving else 1

    @property
    def num_classes(self) -> int:
        """The number of classes, 0 without labels."""
        return len(self.class_names or ())

    def class_of(self, row: int) -> str | None:
        """Name of the class of an image; None where it has none."""
        if self.labels is None or self.class_names is None or self.labels[row] < 0:
            return None
        return self.class_names[int(self.labels[row])]

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The canvases of these images, uint8 [B, S, S, 3], or [B, T, S, S, 3] of clips."""
        return np.asarray(self.pixels[np.asarray(indices, dtype=np.int64)])

    def subset(self, indices: np.ndarray) -> "ImageData":
        """These images alone, in this order, without a copy of their pixels."""
        rows = np.asarray(indices, dtype=np.int64)
        base = self.pixels
        pixels = Rows(base.base, base.rows[rows]) if isinstance(base, Rows) else Rows(base, rows)
        return replace(
            self,
            pixels=pixels,
            sizes=self.sizes[rows],
            paths=[self.paths[i] for i in rows.tolist()],
            labels=None if self.labels is None else self.labels[rows],
            factors={name: values[rows] for name, values in self.factors.items()},
            fingerprint=digest(self.fingerprint, rows.tobytes().hex()),
        )

    def labeled(self) -> "ImageData":
        """The images that have a label; none without labels."""
        has = np.zeros(len(self), dtype=bool) if self.labels is None else self.labels >= 0
        return self if has.all() else self.subset(np.flatnonzero(has))

    def split(self, fraction: float, seed: int) -> tuple["ImageData", "ImageData"]:
        """Splits at random, each class in proportion; the first part holds `fraction` of the images."""
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"fraction has to lie between 0 and 1, not {fraction}")
        rng = np.random.default_rng(seed)
        groups = np.zeros(len(self), dtype=np.int64) if self.labels is None else self.labels
        order = rng.permutation(len(self))
        order = order[np.argsort(groups[order], kind="stable")]
        # Walking through the classes in order, each image adds `fraction`; whole numbers go to the first part.
        whole = np.floor(np.arange(1, len(self) + 1) * fraction + 0.5)
        first = np.diff(whole, prepend=0.0) > 0
        return self.subset(np.sort(order[first])), self.subset(np.sort(order[~first]))

    def summary(self) -> str:
        """One line: `photos/: 4,812 images (3 unreadable, 1 hidden ignored), 640x480 median, 10 classes`."""
        asides = [
            *([f"{len(self.skipped):,} unreadable"] if self.skipped else []),
            *([f"{_count(self.ignored.hidden, 'hidden item')} ignored"] if self.ignored.hidden else []),
            *([f"{_count(self.ignored.files, 'other file')} ignored"] if self.ignored.files else []),
        ]
        height, width = np.median(self.sizes, axis=0).astype(int) if len(self) else (0, 0)
        line = f"{self.name}: {_count(len(self), self.noun)}"
        line += f" ({'; '.join(asides)})" if asides else ""
        line += f", {width}x{height}" + ("" if (self.sizes == self.sizes[:1]).all() else " median")
        line += f", {self.about}" if self.about else ""
        if self.labels is None:
            return f"{line}, no labels"
        present = np.unique(self.labels[self.labels >= 0])  # numbers from 0 on may have gaps
        return f"{line}, {_count(len(present), 'class')}"


def load_images(
    path: str,
    *,
    size: int,
    labels: LabelSpec | None = None,
    split: str | None = None,
    limit: int | None = None,
    max_bad_fraction: float = 0.05,
    workers: int | None = None,
    cache_dir: str | None = None,
    progress: bool = True,
    labels_required: bool = False,
) -> ImageData:
    """Loads every image of a data set onto canvases; the second time from the cache.

    Args:
        path: as `open_source`.
        size: S, the side of the canvas [px].
        labels: where labels are, when the data itself does not say it.
        split: train, val or test, where the data has these.
        limit: use only so many images, spread evenly at random over the data.
        max_bad_fraction: how many of the image files may be unreadable.
        workers: processes that decode; by default one per core.
        cache_dir: where decoded images are kept; by default `$CRAIK_CACHE` or `~/.cache/craik`.
        progress: show a progress bar when it takes long.
        labels_required: refuse data without labels.

    Raises:
        UsageError: no data, too many unreadable files, no labels where they are needed, a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: use at least 1 image")
    if path.startswith("toy:"):
        return limited(_load_toy(path, size, split), limit)
    source = open_source(path, labels=labels, split=split)
    if labels_required and source.labels is None:
        raise refuse_unlabeled(source.name, "images")
    if limit is not None and limit < len(source):
        source = source.take(spread(len(source), limit))
    decoded = decode_source(source, size, workers=workers, cache_dir=cache_dir, progress=progress)
    refuse_bad(source, decoded.reasons, max_bad_fraction, "image")
    return _gather(source, decoded, size)


def refuse_unlabeled(name: str, plural: str) -> UsageError:
    """The error for data without labels where they are needed."""
    return UsageError(
        f"{name}: no labels. Sort the {plural} into class sub-folders, or give --labels FILE.csv "
        "(columns path,label; other names with --path-column and --label-column). "
        "Without labels: craik probe RUN --test PATH --unsupervised"
    )


def _gather(source: Source, decoded: Decoded, size: int) -> ImageData:
    good = np.flatnonzero([not reason for reason in decoded.reasons])
    skipped = tuple(Skipped(source.paths[i], r) for i, r in enumerate(decoded.reasons) if r)
    labels, notes = source.labels, (*source.notes, *decoded.notes)
    return ImageData(
        pixels=decoded.pixels if len(good) == len(source) else Rows(decoded.pixels, good),
        sizes=decoded.sizes[good],
        name=source.name,
        paths=[source.paths[i] for i in good.tolist()] if skipped else source.paths,
        labels=None if labels is None else labels[good],
        class_names=source.class_names,
        skipped=skipped,
        ignored=source.ignored,
        notes=notes,
        fingerprint=digest(source.content, str(size), *(f"{s.path}\0{s.reason}" for s in skipped)),
    )


def _load_toy(path: str, size: int, split: str | None) -> ImageData:
    spec = parse_toy(path, split)
    if spec.size is not None and spec.size != size:
        raise UsageError(f"{path}: size={spec.size}, but the recipe wants {size} px. Leave size= out.")
    spec = replace(spec, size=size)
    images, factors = draw_toy(spec)
    return ImageData(
        pixels=images,
        sizes=np.full((spec.n, 2), size, dtype=np.int32),
        name=path,
        paths=[f"{spec.split}/{row:06d}" for row in range(spec.n)],
        labels=factors["shape"],
        class_names=SHAPES,
        factors=factors,
        fingerprint=digest("toy:shapes", repr(spec)),
    )


def limited(data: ImageData, limit: int | None) -> ImageData:
    """At most so many of the images."""
    return data if limit is None or limit >= len(data) else data.subset(spread(len(data), limit))


def spread(count: int, limit: int) -> np.ndarray:
    """`limit` of `count` rows, at random but always the same, in order."""
    return np.sort(np.random.default_rng(0).permutation(count)[:limit])


def refuse_bad(source: Source, reasons: Sequence[str], allowed: float, noun: str) -> None:
    """Refuses a source of which too many files cannot be read.

    Raises:
        UsageError: None can be read, or more than the fraction `allowed` cannot.
    """
    bad = [(path, reason) for path, reason in zip(source.paths, reasons, strict=True) if reason]
    shown = "; ".join(f"{path} ({reason})" for path, reason in bad[:3])
    if len(bad) == len(source):
        raise UsageError(f"{source.name}: none of {len(source):,} {noun} files can be read: {shown}.")
    if len(bad) > allowed * len(source):
        raise UsageError(
            f"{source.name}: {len(bad):,} of {len(source):,} {noun} files ({len(bad) / len(source):.1%}) "
            f"cannot be read, more than {allowed:.0%}: {shown}. Repair or remove them, or allow more with "
            f"--max-bad-fraction {min(1.0, np.ceil(100 * len(bad) / len(source)) / 100):g}."
        )


def _count(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"
