"""A table of paths as data: csv with a header, or lines of `path label` as video data sets come."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from craik.data.labels import LabelSpec, number_labels
from craik.data.listing import IMAGES, Medium, Source, digest
from craik.data.parquet import located
from craik.errors import UsageError

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_DELIMITERS = ",;\t "
_PATHS = ("path", "video", "clip", "image", "file", "filename", "file_name")


def open_listed(path: Path, name: str, spec: LabelSpec | None, split: str | None, medium: Medium = IMAGES) -> Source:
    """The files that a table names, with their labels; relative to its folder, else to the working folder.

    With a header, columns have the names that `spec` gives (path, label). Without one, each line is a path, and behind
    a comma, tab or space a label. Files that are not there are found out when they are read.

    Raises:
        UsageError: Unreadable table; no such column; no row.
    """
    spec = spec or LabelSpec()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: cannot be read as a table of paths ({error}). Save it as csv.") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise UsageError(f"{name}: 0 {medium.noun}s, for it has no rows. Write lines of path,label.")
    if any(_names_file(lines[0].rpartition(mark)[0] or lines[0], medium) for mark in _DELIMITERS):
        rows = [_plain(line, medium) for line in lines]
        paths, splits = [row[0] for row in rows], None
        labels: list[object] = [row[1] for row in rows]
    else:
        paths, labels, splits = _by_header(name, lines, spec)
    numbers, class_names = number_labels(labels)
    files = [located(file, path.parent) for file in paths]
    stats = [file.stat() if file.is_file() else None for file in files]
    source = Source(
        name=name,
        paths=paths,
        read=lambda i: files[i],
        identity=digest(*(f"{f}\0{s and (s.st_size, s.st_mtime_ns)}" for f, s in zip(files, stats, strict=True))),
        content=digest(*(f"{p}\0{s and s.st_size}" for p, s in zip(paths, stats, strict=True))),
        labels=numbers,
        class_names=class_names,
    )
    return _keep_split(source, splits, spec.split if spec.split_column else split)


def _names_file(text: str, medium: Medium) -> bool:
    return PurePosixPath(text.strip().strip('"')).suffix.lower() in medium.suffixes | IMAGES.suffixes


def _plain(line: str, medium: Medium) -> tuple[str, str | None]:
    """Path and label of a line without columns; the label is what stands behind the last delimiter."""
    text = line.strip()
    if _names_file(text, medium):
        return text.strip('"'), None
    at = max(text.rfind(mark) for mark in _DELIMITERS)
    return text[:at].strip().strip('"'), text[at + 1 :].strip()


def _by_header(name: str, lines: Sequence[str], spec: LabelSpec) -> tuple[list[str], list[object], list[str] | None]:
    """Paths, labels and splits of a table with a header."""
    delimiter = max(",;\t", key=lines[0].count)
    delimiter = delimiter if delimiter in lines[0] else " "
    rows = list(csv.DictReader(lines, delimiter=delimiter))
    have = list(rows[0]) if rows else lines[0].split(delimiter)
    wanted = (spec.path_column, *_PATHS) if spec.path_column == LabelSpec().path_column else (spec.path_column,)
    column = next((c for c in wanted if c in have), None)
    if column is None or not rows:
        raise UsageError(
            f"{name}: no column {spec.path_column!r} with paths, but {', '.join(have)}. Name it with --path-column, or "
            "write lines of path,label."
        )
    if spec.label_column != LabelSpec().label_column and spec.label_column not in have:
        raise UsageError(f"{name}: no column {spec.label_column!r}, but {', '.join(have)}.")
    chosen = spec.split_column or "split"
    if spec.split_column and spec.split_column not in have:
        raise UsageError(f"{name}: no column {spec.split_column!r}, but {', '.join(have)}.")
    splits = [str(row[chosen]) for row in rows] if chosen in have else None
    return [str(row[column]) for row in rows], [row.get(spec.label_column) for row in rows], splits


def _keep_split(source: Source, splits: Sequence[str] | None, split: str | None) -> Source:
    """The rows of a split; of all, with a note, where none is asked for."""
    if split is None:
        several = sorted(set(splits or ()))
        note = f"{source.name}: all splits together ({', '.join(several)}); choose one with --split"
        return replace(source, notes=(note,)) if len(several) > 1 else source
    if splits is None:
        raise UsageError(f"{source.name}: no split {split!r}, for it has no column of splits. Leave --split out.")
    rows = np.flatnonzero([value == split for value in splits])
    if not len(rows):
        raise UsageError(f"{source.name}: no row of split {split!r}, but {', '.join(sorted(set(splits)))}.")
    return source.take(rows)
