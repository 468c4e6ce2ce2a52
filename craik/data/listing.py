"""A list of names becomes a source of images or videos: which files are, which class, which split.

Folders and archives share these rules, so the same files give the same data however they are packed.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from craik.errors import UsageError

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .gif .webp .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .jp2 .j2k .jpx .avif .ico"
    " .sgi .qoi".split()
)
HEIC_SUFFIXES = frozenset({".heic", ".heif"})
VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .gif .mpg .mpeg .wmv .flv .3gp .ogv .ts .mts .m2ts".split())
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, slots=True)
class Ignored:
    """What lay beside the images and was left alone.

    Attributes:
        hidden: hidden folders and files (`.name`, `__MACOSX`).
        others: files of other kinds, as (suffix, count), most frequent first.
    """

    hidden: int = 0
    others: tuple[tuple[str, int], ...] = ()

    @property
    def files(self) -> int:
        """The number of files of other kinds."""
        return sum(count for _, count in self.others)


_NOTHING = Ignored()


def _looks_like_image(head: bytes) -> bool:
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _looks_like_video(head: bytes) -> bool:
    return (
        head.startswith((b"\x1aE\xdf\xa3", b"GIF8"))
        or (head[4:8] == b"ftyp" and head[8:12] not in (b"avif", b"heic", b"heix", b"mif1"))
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
    )


@dataclass(frozen=True, slots=True)
class Medium:
    """What data is made of, and how its files are told from others.

    Attributes:
        noun: what people call one of them.
        suffixes: of files, in lower case.
        columns: of tables, the most likely first.
        known: judges a file without a suffix by its first bytes.
        formats: for people.
    """

    noun: str
    suffixes: frozenset[str]
    columns: tuple[str, ...]
    known: Callable[[bytes], bool]
    formats: str


IMAGES = Medium(
    "image",
    IMAGE_SUFFIXES,
    ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "picture", "photo"),
    _looks_like_image,
    "JPEG, PNG, WebP, TIFF or GIF",
)
VIDEOS = Medium(
    "video",
    VIDEO_SUFFIXES,
    ("video", "clip", "mp4", "webm", "avi", "mkv", "gif", "video_bytes"),
    _looks_like_video,
    "mp4, mkv, webm, avi or gif",
)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where images or videos come from, before any of them is decoded.

    Attributes:
        name: what people call it.
        paths: for each image, or video, a stable name that is shown to people.
        read: gives image, or video, `i` as the bytes of a file, as the path of one, or as an opened image.
        identity: changes whenever the files may have changed (place, sizes, times): the key of the cache.
        content: as `identity`, but the same on another machine and after a copy: for checks on resume.
        labels: int64 [N], -1 where an image has none; None without labels.
        class_names: the name of each label.
        ignored: what was left alone.
        notes: lines for people.
    """

    name: str
    paths: Sequence[str]
    read: Callable[[int], "bytes | Path | Image.Image"]
    identity: str
    content: str
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    ignored: Ignored = _NOTHING
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def raw(self, index: int) -> "bytes | Path | Image.Image":
        """Image `index`, not yet decoded: bytes of a file, its path, or an opened image."""
        return self.read(index)

    def take(self, indices: np.ndarray) -> "Source":
        """The source of only these images, in this order."""
        rows = np.asarray(indices, dtype=np.int64)
        read = self.read
        return replace(
            self,
            paths=[self.paths[i] for i in rows.tolist()],
            read=lambda i: read(int(rows[i])),
            labels=None if self.labels is None else self.labels[rows],
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a folder or an archive: its POSIX name inside, size [bytes], and the key that reads it."""

    name: str
    size: int
    key: int = 0
    time: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a medium among some entries, sorted by name, and what was left alone."""

    files: tuple[Entry, ...]
    ignored: Ignored
    medium: Medium = IMAGES


def is_hidden(part: str) -> bool:
    """Whether a folder or file of this name is left alone."""
    return part.startswith(".") or part == "__MACOSX"


def list_files(
    entries: Iterable[Entry], head: Callable[[Entry], bytes], medium: Medium = IMAGES, hidden: int = 0
) -> Listing:
    """Picks the files of a medium by suffix; a file without a suffix is judged by its first bytes.

    Where videos are wanted and there is none, images are picked: stills, which last as long as a clip does.

    Args:
        entries: all files.
        head: reads the first bytes of a file.
        medium: what is wanted.
        hidden: hidden folders that were already left out.
    """
    entries = list(entries)
    files, others, hidden_names = [], Counter[str](), set[str]()
    for entry in entries:
        parts = entry.name.split("/")
        veil = next((depth for depth, part in enumerate(parts) if is_hidden(part)), None)
        if veil is not None:
            hidden_names.add("/".join(parts[: veil + 1]))
            continue
        suffix = PurePosixPath(entry.name).suffix.lower()
        if suffix in medium.suffixes or (not suffix and medium.known(head(entry))):
            files.append(entry)
        else:
            others[suffix or "no suffix"] += 1
    if not files and medium is VIDEOS and IMAGE_SUFFIXES & set(others):
        return replace(list_files(entries, head, IMAGES, hidden), medium=VIDEOS)
    files.sort(key=lambda entry: entry.name.split("/"))
    return Listing(tuple(files), Ignored(hidden + len(hidden_names), tuple(others.most_common())), medium)


def refuse_empty(name: str, ignored: Ignored, medium: Medium = IMAGES) -> UsageError:
    """The error for a source without one file of the medium."""
    kinds = ", ".join(f"{suffix} {count:,}" for suffix, count in ignored.others[:4])
    found = f"{name}: 0 {medium.noun}s in {ignored.files:,} files" + (f" ({kinds})." if kinds else ".")
    suffixes = {suffix for suffix, _ in ignored.others}
    if suffixes & HEIC_SUFFIXES:
        return UsageError(
            f"{found} HEIC photos have to be converted first: magick mogrify -format jpg *.heic "
            "(ImageMagick), or on macOS: sips -s format jpeg *.heic --out jpeg/"
        )
    if suffixes & {".zip", ".tar", ".gz", ".tgz"}:
        return UsageError(f"{found} Give an archive by its own path: --data {name}NAME.zip")
    if medium is IMAGES and suffixes & VIDEO_SUFFIXES:
        return UsageError(
            f"{found} These are videos: train a video model on them (craik recipes), or cut frames: "
            "ffmpeg -i CLIP -r 1 frames/%05d.jpg"
        )
    return UsageError(f"{found} Give a folder, .zip, .tar or .parquet that holds {medium.formats}.")


def from_listing(
    name: str,
    listing: Listing,
    read: Callable[[Entry], "bytes | Path"],
    identity: str,
    split: str | None,
    *,
    split_option: str = "--split",
) -> Source:
    """Makes a source of the files of a folder or an archive.

    When the first-level folders are splits (train/, val/, test/), one of them is used: `split`, or `train`.
    The class of a file is its first-level folder below; folders that wrap everything do not count.

    Raises:
        UsageError: no file of the medium; no such split.
    """
    if not listing.files:
        raise refuse_empty(name, listing.ignored, listing.medium)
    images, skip, notes = list(listing.files), 0, tuple[str, ...]()
    if split is not None or _have_splits(images, _wrapping(images)):
        images, skip, notes = _choose_split(name, images, split, split_option)
    labels, class_names = _classes(images, skip)
    files = tuple(images)
    return Source(
        name=name,
        paths=[entry.name for entry in files],
        read=lambda i: read(files[i]),
        identity=digest(identity, *(f"{e.name}\0{e.size}\0{e.time}" for e in files)),
        content=digest(*(f"{e.name}\0{e.size}" for e in files)),
        labels=labels,
        class_names=class_names,
        ignored=listing.ignored,
        notes=notes,
    )


def digest(*parts: str) -> str:
    """A short hash of some texts."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(part.encode("utf-8", "surrogateescape"))
        state.update(b"\n")
    return state.hexdigest()


def split_of(name: str) -> str | None:
    """The split (train, val, test) that a folder or file name stands for, if any."""
    return _SPLITS.get(name.lower())


def _wrapping(images: Sequence[Entry]) -> int:
    """How many leading folders all images share."""
    first, last = images[0].name.split("/")[:-1], images[-1].name.split("/")[:-1]
    depth = 0
    while depth < min(len(first), len(last)) and first[depth] == last[depth]:
        depth += 1
    return depth  # the names are sorted, so the first and the last differ where any two do


def _have_splits(images: Sequence[Entry], depth: int) -> bool:
    folders = {entry.name.split("/")[depth] for entry in images if entry.name.count("/") > depth}
    return len(folders) > 1 and all(split_of(folder) for folder in folders)


def _choose_split(
    name: str, images: Sequence[Entry], split: str | None, option: str
) -> tuple[list[Entry], int, tuple[str, ...]]:
    depth = _wrapping(images)
    found: dict[str, list[Entry]] = {}
    for entry in images:
        parts = entry.name.split("/")
        if len(parts) > depth + 1 and (kind := split_of(parts[depth])):
            found.setdefault(kind, []).append(entry)
    wanted = split_of(split or "train") or split
    if wanted not in found and split is None:
        return list(images), depth, ()
    if wanted not in found:
        have = ", ".join(sorted(found)) or "no train/, val/ or test/ folder"
        raise UsageError(f"{name}: no split {split!r} here, but {have}. Leave {option} out or name one of these.")
    rest = sorted(set(found) - {wanted})
    note = f"{name}: using its {wanted} split; {option} {rest[0]} takes the other" if rest and not split else ""
    return found[str(wanted)], depth + 1, (note,) if note else ()


def _classes(images: Sequence[Entry], skip: int) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    depth = max(_wrapping(images), skip)
    parts = [entry.name.split("/") for entry in images]
    if any(len(path) <= depth + 1 for path in parts):
        return None, None  # images beside the folders, or no folders: the folders are no classes
    class_names = tuple(sorted({path[depth] for path in parts}))
    number = {folder: label for label, folder in enumerate(class_names)}
    return np.array([number[path[depth]] for path in parts], dtype=np.int64), class_names
