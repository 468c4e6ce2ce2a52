"""Where images and videos come from: one function that looks at what a path is."""

import difflib
import re
from pathlib import Path

from craik.data.archive import open_tar, open_zip
from craik.data.folder import open_folder
from craik.data.hub import open_hub
from craik.data.labels import LabelSpec, apply_labels
from craik.data.listed import TABLE_SUFFIXES, open_listed
from craik.data.listing import IMAGES, VIDEOS, Entry, Ignored, Medium, Source, from_listing, is_hidden, list_files
from craik.data.parquet import open_parquet
from craik.data.toy import open_toy
from craik.errors import UsageError

__all__ = ["Ignored", "LabelSpec", "Source", "open_source"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def open_source(
    path: str, *, labels: LabelSpec | None = None, split: str | None = None, medium: Medium = IMAGES
) -> Source:
    """Opens a data set without decoding anything.

    Args:
        path: a folder, .zip, .tar(.gz), .parquet or a folder of parquet files, a .csv of paths and labels, one file,
            `toy:shapes?n=4000&size=32&seed=0`, or a Hugging Face data set as `hf:NAME` or `OWNER/NAME`.
        labels: where labels are, when sub-folders or the data's own column do not say it.
        split: train, val or test, where the data has these as folders, files or toy splits.
        medium: what is looked for, `IMAGES` or `VIDEOS`; images count as videos that stand still.

    Raises:
        UsageError: no such data, nothing to read in it, no such label column or split.
    """
    if not path.strip():
        raise UsageError("the path of the data is empty. Give a folder, an archive, a parquet file, or toy:shapes.")
    if labels is not None and labels.split_column is None and labels.split is not None:
        split = split or labels.split
    source = _open(path, labels, split if labels is None or labels.split_column is None else None, medium)
    if labels is not None and labels.file is not None:
        source = apply_labels(source, labels)
    return source


def _open(path: str, labels: LabelSpec | None, split: str | None, medium: Medium) -> Source:
    if path.startswith("toy:"):
        return open_toy(path, split)
    if path.startswith("hf:"):
        return open_hub(path.removeprefix("hf:"), labels, split)
    place = Path(path).expanduser()
    if not place.exists():
        if _HUB_ID.fullmatch(path) and not place.parent.exists():
            return open_hub(path, labels, split)
        raise _no_such(path, place)
    if tables := _tables(place, medium):
        return open_parquet(tables, f"{path.rstrip('/')}/" if place.is_dir() else path, labels, split, medium)
    if place.suffix.lower() in TABLE_SUFFIXES and place.is_file():
        return open_listed(place, path, labels, split, medium)
    _refuse_columns(path, labels)
    name = place.name.lower()
    if place.is_dir():
        return open_folder(place, f"{path.rstrip('/')}/", split, medium)
    if name.endswith(".zip"):
        return open_zip(place, path, split, medium)
    if name.endswith(_TAR_SUFFIXES):
        return open_tar(place, path, split, medium)
    if place.suffix.lower() in medium.suffixes | IMAGES.suffixes:
        return _open_one(place, path, medium)
    raise UsageError(
        f"{path}: not data that can be read. Give a folder of {medium.noun}s, a .zip, .tar, .tar.gz or .parquet file."
    )


def holds_videos(path: str) -> bool:
    """Whether a path leads to videos rather than to images; nothing is read but names and first bytes."""
    if path.startswith("toy:"):
        return path.removeprefix("toy:").partition("?")[0] != "shapes"
    place = Path(path).expanduser()
    if not place.exists():
        return False
    if place.suffix.lower() == ".gif":
        return False  # one file that is as much an image
    try:
        source = open_source(path, medium=VIDEOS)
    except UsageError:
        return False
    if any(Path(name).suffix.lower() in VIDEOS.suffixes - {".gif"} for name in source.paths):
        return True
    first = source.raw(0)  # rows of a table may have no names
    if isinstance(first, Path):
        return first.suffix.lower() in VIDEOS.suffixes
    return isinstance(first, bytes) and VIDEOS.known(first[:16]) and not first.startswith(b"GIF8")


def _tables(place: Path, medium: Medium) -> list[Path]:
    """A parquet file itself, or those of a folder without files of the medium."""
    if not place.is_dir():
        return [place] if place.suffix.lower() == ".parquet" else []
    tables = _shown(place, "*.parquet")
    return tables if tables and not any(f.suffix.lower() in medium.suffixes for f in _shown(place, "*")) else []


def _shown(place: Path, pattern: str) -> list[Path]:
    """What matches below a folder and is not hidden."""
    return [file for file in place.rglob(pattern) if not any(map(is_hidden, file.relative_to(place).parts))]


def _refuse_columns(path: str, labels: LabelSpec | None) -> None:
    """Files have no columns: these are of a table that was not given."""
    if labels is None or labels.file is not None:
        return
    column = labels.split_column or labels.label_column
    if column != LabelSpec().label_column:
        raise UsageError(f"{path}: files, which have no column {column!r}. Give the table that has: --labels FILE.csv")


def _open_one(place: Path, name: str, medium: Medium) -> Source:
    status = place.stat()
    entry = Entry(place.name, status.st_size, time=status.st_mtime_ns)
    return from_listing(name, list_files([entry], lambda _: b"", medium), lambda _: place, str(place.resolve()), None)


def _no_such(path: str, place: Path) -> UsageError:
    parent = place.parent
    nearby = [item.name for item in parent.iterdir()] if parent.is_dir() else []
    near = difflib.get_close_matches(place.name, nearby, n=1)
    if near:
        found = parent / near[0]
        shown = f"{found}/" if found.is_dir() else str(found)
        shown = shown if found.is_absolute() or shown.startswith(".") else f"./{shown}"
        return UsageError(f"{path}: no such file or folder. Did you mean {shown} ?")
    if not parent.is_dir():
        return UsageError(f"{path}: no such file or folder; {parent}/ does not exist either. Check --data.")
    return UsageError(
        f"{path}: no such file or folder. Give an existing one, or --data toy:shapes to try without data."
    )
