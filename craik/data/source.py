"""Where images come from: one function that looks at what a path is."""

import difflib
import re
from pathlib import Path

from craik.data.archive import open_tar, open_zip
from craik.data.folder import open_folder
from craik.data.hub import open_hub
from craik.data.labels import LabelSpec, apply_labels
from craik.data.listing import IMAGE_SUFFIXES, Entry, Ignored, Source, from_listing, is_hidden, list_images
from craik.data.parquet import open_parquet
from craik.data.toy import open_toy
from craik.errors import UsageError

__all__ = ["Ignored", "LabelSpec", "Source", "open_source"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def open_source(path: str, *, labels: LabelSpec | None = None, split: str | None = None) -> Source:
    """Opens a data set without decoding an image.

    Args:
        path: a folder, .zip, .tar(.gz), .parquet or a folder of parquet files, one image,
            `toy:shapes?n=4000&size=32&seed=0`, or a Hugging Face data set as `hf:NAME` or `OWNER/NAME`.
        labels: where labels are, when sub-folders or the data's own column do not say it.
        split: train, val or test, where the data has these as folders, files or toy splits.

    Raises:
        UsageError: no such data, nothing to read in it, no such label column or split.
    """
    if not path.strip():
        raise UsageError("the path of the data is empty. Give a folder, an archive, a parquet file, or toy:shapes.")
    if labels is not None and labels.split_column is None and labels.split is not None:
        split = split or labels.split
    source = _open(path, labels, split if labels is None or labels.split_column is None else None)
    if labels is not None and labels.file is not None:
        source = apply_labels(source, labels)
    return source


def _open(path: str, labels: LabelSpec | None, split: str | None) -> Source:
    if path.startswith("toy:"):
        return open_toy(path, split)
    if path.startswith("hf:"):
        return open_hub(path.removeprefix("hf:"), labels, split)
    place = Path(path).expanduser()
    if not place.exists():
        if _HUB_ID.fullmatch(path) and not place.parent.exists():
            return open_hub(path, labels, split)
        raise _no_such(path, place)
    if tables := _tables(place):
        return open_parquet(tables, f"{path.rstrip('/')}/" if place.is_dir() else path, labels, split)
    _refuse_columns(path, labels)
    name = place.name.lower()
    if place.is_dir():
        return open_folder(place, f"{path.rstrip('/')}/", split)
    if name.endswith(".zip"):
        return open_zip(place, path, split)
    if name.endswith(_TAR_SUFFIXES):
        return open_tar(place, path, split)
    if place.suffix.lower() in IMAGE_SUFFIXES:
        return _open_one(place, path)
    raise UsageError(
        f"{path}: not data that can be read. Give a folder of images, a .zip, .tar, .tar.gz or .parquet file."
    )


def _tables(place: Path) -> list[Path]:
    """A parquet file itself, or those of a folder without image files."""
    if not place.is_dir():
        return [place] if place.suffix.lower() == ".parquet" else []
    tables = _shown(place, "*.parquet")
    return tables if tables and not any(f.suffix.lower() in IMAGE_SUFFIXES for f in _shown(place, "*")) else []


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


def _open_one(place: Path, name: str) -> Source:
    status = place.stat()
    entry = Entry(place.name, status.st_size, time=status.st_mtime_ns)
    return from_listing(name, list_images([entry], lambda _: b""), lambda _: place, str(place.resolve()), None)


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
