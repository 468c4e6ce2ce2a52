"""Images or videos in parquet files: `image` or `video` as struct<bytes, path>, as plain bytes, or as paths."""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as pq

from craik.data.labels import LabelSpec, number_labels, own_column
from craik.data.listing import IMAGES, Medium, Source, digest, split_of
from craik.errors import UsageError

_HELD = 4 << 30  # compressed images kept in memory while the files are read [bytes]
_PATH_COLUMNS = ("path", "file", "filename", "file_name")


def open_parquet(
    files: Sequence[Path], name: str, spec: LabelSpec | None, split: str | None, medium: Medium = IMAGES
) -> Source:
    """Reads the names and labels of the rows of some parquet files; images stay in the files until asked for.

    A column of texts is one of paths, relative to the folder of the parquet file or to the working folder.

    Raises:
        UsageError: an unreadable file; no column of images, or videos; no such label column or split.
    """
    chosen, notes = _choose_split(name, files, split)
    tables = [open_table(path) for path in chosen]
    schema = tables[0].schema_arrow
    column = _media_column(str(chosen[0]), schema, medium)
    spec = spec or LabelSpec()
    columns = _columns(name, schema, spec)
    _refuse_strangers(name, chosen, tables, [column, *columns.values()])
    rows = [_read_columns(table, name, column, columns) for table in tables]
    paths = [path for file, names in zip(chosen, rows, strict=True) for path in _paths(file, names)]
    labels, class_names = _labels(schema, rows, columns)
    if not paths:
        raise UsageError(f"{name}: 0 {medium.noun}s, for it has no rows. Download or write it again.")
    groups = MediaRows(name, tables, column, chosen[0].parent)
    stats = [path.stat() for path in chosen]
    places = [f"{p.resolve()}\0{s.st_size}\0{s.st_mtime_ns}" for p, s in zip(chosen, stats, strict=True)]
    source = Source(
        name=name,
        paths=paths,
        read=groups.read,
        identity=digest(column, *places),
        content=digest(column, *(f"{p.name}\0{s.st_size}" for p, s in zip(chosen, stats, strict=True)), *paths),
        labels=labels,
        class_names=class_names,
        notes=notes,
    )
    if spec.split_column and spec.split and spec.file is None:
        return _keep_split(source, spec, [value for row in rows for value in row[spec.split_column]])
    return source


class MediaRows:
    """Images or videos by row number, with the row groups read last kept in memory."""

    def __init__(self, name: str, tables: Sequence[pq.ParquetFile], column: str, folder: Path) -> None:
        """Reads `column` of the rows of all files together; `name` is what people call them, `folder` has them."""
        self.name, self.folder = name, folder
        self.places = [(table, g) for table in tables for g in range(table.num_row_groups)]
        sizes = [table.metadata.row_group(g).num_rows for table, g in self.places]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.column = column
        self.lock = threading.Lock()
        self.held: OrderedDict[int, pyarrow.ChunkedArray] = OrderedDict()
        self.held_bytes = 0

    def read(self, index: int) -> bytes | Path:
        """The bytes of a file, or its path where the table has only that; no bytes where the row has none."""
        group = int(np.searchsorted(self.starts, index, side="right")) - 1
        with self.lock:
            value = self._group(group)[index - int(self.starts[group])].as_py()
        if isinstance(value, dict):
            value = value["bytes"] if value["bytes"] is not None else value.get("path")
        return located(value, self.folder) if isinstance(value, str) and value else value or b""

    def _group(self, group: int) -> pyarrow.ChunkedArray:
        if group in self.held:
            return self.held[group]
        table, number = self.places[group]
        try:
            values = table.read_row_group(number, columns=[self.column]).column(0)
        except (pyarrow.ArrowException, OSError) as error:
            raise damaged(self.name, error) from None
        self.held[group] = values
        self.held_bytes += values.nbytes
        while self.held_bytes > _HELD and len(self.held) > 1:
            _, old = self.held.popitem(last=False)
            self.held_bytes -= old.nbytes
        return values


def located(path: str, folder: Path) -> Path:
    """A file that a table names: relative to the folder of the table, else to the working folder."""
    beside = folder / Path(path).expanduser()
    return beside if beside.exists() else Path(path).expanduser()


def damaged(name: str, error: Exception) -> UsageError:
    """The error for a file that begins well and cannot be read on."""
    return UsageError(f"{name}: damaged parquet file ({error}). Download or write it again.")


def open_table(path: Path) -> pq.ParquetFile:
    """Opens a parquet file.

    Raises:
        UsageError: It is none, or damaged.
    """
    try:
        return pq.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"{path}: not a readable parquet file ({first}). Download or write it again.") from None


def _is_bytes(kind: pyarrow.DataType) -> bool:
    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _is_text(kind: pyarrow.DataType) -> bool:
    return pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)


def _media_column(name: str, schema: pyarrow.Schema, medium: Medium) -> str:
    def holds_files(field: pyarrow.Field) -> bool:
        if pyarrow.types.is_struct(field.type):
            at = field.type.get_field_index("bytes")
            kind = field.type.field(at).type if at >= 0 else None
            return kind is not None and (_is_bytes(kind) or pyarrow.types.is_null(kind))  # null: paths alone
        return _is_bytes(field.type)

    found = [field.name for field in schema if holds_files(field)]
    texts = {field.name for field in schema if _is_text(field.type)}
    named = [column for column in medium.columns if column in found]
    paths = [c for c in (*medium.columns, f"{medium.noun}_path", *_PATH_COLUMNS) if c in texts]
    if not found and not paths:
        have = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise UsageError(
            f"{name}: no {medium.noun} column, but {have}. "
            f"Expected `{medium.noun}` as struct<bytes, path>, as binary, or as paths."
        )
    return (named or found or paths)[0]


def _columns(name: str, schema: pyarrow.Schema, spec: LabelSpec) -> dict[str, str]:
    """Which columns to read beside the images: what each is for, and its name."""
    have = schema.names
    columns = {}
    if spec.file is None:
        if (label := own_column(name, have, spec)) is not None:
            columns["label"] = label
            if f"{label}_name" in have:
                columns["names"] = f"{label}_name"
        if spec.split_column:
            if spec.split_column not in have:
                raise UsageError(f"{name}: no column {spec.split_column!r}, but {', '.join(have)}.")
            columns["split"] = spec.split_column
    return columns


def _refuse_strangers(name: str, files: Sequence[Path], tables: Sequence[pq.ParquetFile], wanted: list[str]) -> None:
    """Several files are one data set when each has the columns that are read from the first."""
    for path, table in zip(files, tables, strict=True):
        if missing := [column for column in wanted if column not in table.schema_arrow.names]:
            raise UsageError(
                f"{name}: {path} has no column {missing[0]!r}, which {files[0]} has, so they are not one data set. "
                f"Give one file by its own path: {files[0]}"
            )


def _read_columns(table: pq.ParquetFile, name: str, column: str, columns: dict[str, str]) -> dict[str, list[object]]:
    """The values of each column, by its use and by its own name, and `path` of each image."""
    image = table.schema_arrow.field(column)
    has_path = pyarrow.types.is_struct(image.type) and image.type.get_field_index("path") >= 0
    wanted = [*columns.values(), *([f"{column}.path"] if has_path else [])]
    try:
        read = table.read(columns=wanted)
    except (pyarrow.ArrowException, OSError) as error:
        raise damaged(name, error) from None
    values = {use: read.column(own).to_pylist() for use, own in columns.items()}
    values |= {own: values[use] for use, own in columns.items()}
    if has_path:
        values["path"] = [entry and entry["path"] for entry in read.column(column).to_pylist()]
    else:
        values["path"] = [None] * table.metadata.num_rows
    return values


def _paths(file: Path, rows: dict[str, list[object]]) -> list[str]:
    given = rows["path"]
    if None in given or len(set(given)) < len(given):
        return [f"{file.name}#{row}" + (f" {path}" if path else "") for row, path in enumerate(given)]
    return [str(path) for path in given]


def _labels(
    schema: pyarrow.Schema, rows: Sequence[dict[str, list[object]]], columns: dict[str, str]
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    if "label" not in columns:
        return None, None
    values = [value for row in rows for value in row["label"]]
    names = [value for row in rows for value in row["names"]] if "names" in columns else None
    labels, class_names = number_labels(values, names)
    declared = _declared_names(schema, columns["label"])
    if labels is not None and names is None and declared and labels.max() < len(declared):
        class_names = declared
    return labels, class_names


def _declared_names(schema: pyarrow.Schema, column: str) -> tuple[str, ...] | None:
    """The class names in the `huggingface` metadata of the file, if there are any."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _choose_split(name: str, files: Sequence[Path], split: str | None) -> tuple[list[Path], tuple[str, ...]]:
    """Files named train-00000-of-00002.parquet, test.parquet, … belong to splits; one split is read."""
    found: dict[str, list[Path]] = {}
    for path in sorted(files):
        first = re.split(r"[-_.]", path.stem)[0]
        found.setdefault(split_of(first) or split_of(path.parent.name) or "", []).append(path)
    if split is None:
        if len(found) < 2 or "train" not in found:
            return sorted(files), ()
        rest = sorted(kind for kind in found if kind not in ("train", ""))
        note = f"{name}: using its train split; --split {rest[0]} takes the other" if rest else ""
        return found["train"], (note,) if note else ()
    wanted = split_of(split) or split
    if wanted not in found:
        if len(files) == 1:
            return list(files), ()  # one file is its own split
        have = ", ".join(sorted(kind for kind in found if kind)) or "no split in the file names"
        raise UsageError(f"{name}: no split {split!r} here, but {have}. Leave --split out or name one of these.")
    return found[wanted], ()


def _keep_split(source: Source, spec: LabelSpec, splits: Sequence[object]) -> Source:
    rows = np.flatnonzero([str(value) == spec.split for value in splits])
    if not len(rows):
        have = ", ".join(sorted({str(value) for value in splits}))
        raise UsageError(f"{source.name}: no row of split {spec.split!r}; {spec.split_column!r} says {have}.")
    return source.take(rows)
