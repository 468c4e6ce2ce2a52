"""Labels from a file (csv, tsv, json, jsonl, parquet) or a named column, and values into class numbers."""

import csv
import difflib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from craik.data.listing import Source
from craik.errors import UsageError

_USUAL_COLUMNS = ("label", "labels", "fine_label", "class")
MAX_CLASS_NUMBER = 100_000  # integer labels above this are names, not numbers


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """Where the labels are.

    Attributes:
        file: a csv, tsv, json, jsonl or parquet table with one row per image; None: the data's own column.
        path_column: the column of `file` with the path of the image (or only its file name).
        label_column: the column with the label, a number or a name.
        split_column: the column that says to which split a row belongs, if any.
        split: keep only the images of this split.
    """

    file: str | None = None
    path_column: str = "path"
    label_column: str = "label"
    split_column: str | None = None
    split: str | None = None


def own_column(name: str, have: Sequence[str], spec: LabelSpec) -> str | None:
    """The label column of data that brings its own: the one that was asked for, or one of the usual names.

    Raises:
        UsageError: The column that was asked for is not there.
    """
    if spec.label_column == LabelSpec().label_column:
        return next((column for column in _USUAL_COLUMNS if column in have), None)
    if spec.label_column in have:
        return spec.label_column
    near = difflib.get_close_matches(spec.label_column, have, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"{name}: no column {spec.label_column!r}, but {', '.join(have)}.{hint}")


def apply_labels(source: Source, spec: LabelSpec) -> Source:
    """Gives the images of a source the labels of `spec.file`, and keeps only the wanted split.

    Raises:
        UsageError: no such file or column; no row matches an image.
    """
    assert spec.file is not None
    rows = _read_rows(Path(spec.file))
    wanted = [spec.path_column, spec.label_column, *([spec.split_column] if spec.split_column else [])]
    _require_columns(spec, rows, wanted)
    value_of, split_of, disputed = _index_rows(rows, spec)
    keys = _match(source.paths, value_of)
    matched = sum(key is not None for key in keys)
    if not matched:
        raise UsageError(
            f"{spec.file}: none of its {len(value_of):,} paths is an image of {source.name} "
            f"(the file says {next(iter(value_of), '')!r}, the data {source.paths[0]!r}). "
            f"Name the right column with --path-column."
        )
    labels, names = number_labels([None if key is None else value_of[key] for key in keys])
    notes = source.notes
    if matched < len(source):
        notes = (
            *notes,
            f"{spec.file}: {len(source) - matched:,} of {len(source):,} images have no label there",
        )
    if disputed:
        notes = (
            *notes,
            f"{spec.file}: {len(disputed):,} paths have rows with different labels, such as {disputed[0]!r}; "
            "they count as unlabeled",
        )
    labeled = replace(source, labels=labels, class_names=names, notes=notes)
    if spec.split_column is None or spec.split is None:
        return labeled
    return _keep_split(labeled, spec, [None if key is None else split_of[key] for key in keys])


def number_labels(
    values: Sequence[object], names: Sequence[object] | None = None
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Turns label values into class numbers.

    Whole numbers from 0 keep their value; anything else is numbered in sorted order. -1, None, NaN (as pandas writes
    what is missing) and an empty text: no label.

    Args:
        values: numbers or texts, one per image.
        names: for each image the name of its class, when `values` are numbers.

    Returns:
        Labels int64 [N] and the name of each class; None, None when no value is given at all, or several per image.
    """
    if any(isinstance(value, list | dict) for value in values):
        return None, None  # several labels per image are no classes
    values = [_given(value) for value in values]
    numbers = [_whole(value) for value in values]
    known = [number for number in numbers if number is not None]
    texts = any(number is None and value is not None for number, value in zip(numbers, values, strict=True))
    if not texts and known and -1 <= min(known) and max(known) < MAX_CLASS_NUMBER:
        labels = np.array([-1 if number is None else number for number in numbers], dtype=np.int64)
        return (labels, _names(labels, names)) if labels.max() >= 0 else (None, None)
    given = [None if value is None else str(value) for value in values]
    class_names = tuple(sorted({value for value in given if value is not None}))
    if not class_names:
        return None, None
    number = {name: label for label, name in enumerate(class_names)}
    return np.array([-1 if v is None else number[v] for v in given], dtype=np.int64), class_names


def _names(labels: np.ndarray, names: Sequence[object] | None) -> tuple[str, ...]:
    found = [str(label) for label in range(int(labels.max()) + 1)]
    if names is not None:
        values, first = np.unique(labels, return_index=True)
        for value, row in zip(values, first, strict=True):
            if value >= 0 and names[row] is not None:
                found[value] = str(names[row])
    return tuple(found)


def _given(value: object) -> object:
    """The value, None where it says that there is none."""
    missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return None if missing else value


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (value.isdecimal() or value == "-1") and str(int(value)) == value:
        return int(value)  # "007" is a name, "7" a number
    return None


def _read_rows(path: Path) -> list[dict[str, object]]:
    """The rows of a table; a json object {path: label} counts as rows of path and label."""
    if not path.is_file():
        raise UsageError(f"--labels {path}: no such file. Give a csv, tsv, json or parquet file.")
    try:
        if path.suffix.lower() == ".parquet":
            return pyarrow.parquet.read_table(path).to_pylist()
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        elif path.suffix.lower() == ".json":
            rows = json.loads(text)
        else:
            return list(csv.DictReader(text.splitlines(), delimiter=_delimiter(path, text)))
    except (ValueError, OSError, csv.Error, pyarrow.ArrowException) as error:
        raise UsageError(f"--labels {path}: cannot be read as a table ({error}). Save it as csv.") from None
    if isinstance(rows, dict):
        rows = [{"path": key, "label": value} for key, value in rows.items()]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f'--labels {path}: expected a list of {{"path": ..., "label": ...}} or {{path: label}}.')
    return rows


def _delimiter(path: Path, text: str) -> str:
    first = text.partition("\n")[0]
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(",;\t", key=first.count)


def _require_columns(spec: LabelSpec, rows: Sequence[dict[str, object]], wanted: Sequence[str]) -> None:
    if not rows:
        raise UsageError(f"--labels {spec.file}: no rows. It needs columns {', '.join(wanted)}.")
    have = [str(column) for column in rows[0]]
    option = dict(zip(wanted, ("--path-column", "--label-column", "--split-column"), strict=False))
    for column in wanted:
        if column not in have:
            near = difflib.get_close_matches(column, have, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"--labels {spec.file}: no column {column!r}, but {', '.join(have)}.{hint} "
                f"Name the column with {option[column]}."
            )


def _index_rows(
    rows: Sequence[dict[str, object]], spec: LabelSpec
) -> tuple[dict[str, object], dict[str, object], list[str]]:
    """Label and split by path, and the paths whose rows say different labels; these have none."""
    value_of, split_of, disputed = dict[str, object](), dict[str, object](), dict[str, None]()
    for row in rows:
        key = _normal(str(row[spec.path_column]))
        value = _given(row[spec.label_column])
        if value_of.setdefault(key, value) != value:
            disputed[key] = None
        split_of[key] = row[spec.split_column] if spec.split_column else None
    return {**value_of, **disputed}, split_of, list(disputed)


def _normal(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./")


def _match(paths: Sequence[str], keys: dict[str, object]) -> list[str | None]:
    """For each image the key of its row: by its whole path, else by the longest ending that is unique."""
    ends: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for key in keys:
        parts = key.split("/")
        for start in range(len(parts)):
            end = "/".join(parts[start:])
            counts[end] += 1
            ends[end] = key
    images = Counter(path.rpartition("/")[2] for path in paths)

    def row_of(path: str) -> str | None:
        parts = _normal(path).split("/")
        for start in range(len(parts)):
            end = "/".join(parts[start:])
            alone = start < len(parts) - 1 or images[parts[-1]] == 1
            if counts[end] == 1 and (alone or end in keys):
                return ends[end]
            if end in keys and start == 0:
                return end
        return None

    return [row_of(path) for path in paths]


def _keep_split(source: Source, spec: LabelSpec, splits: Sequence[object]) -> Source:
    rows = np.flatnonzero([str(split) == spec.split for split in splits])
    if not len(rows):
        have = ", ".join(sorted({str(split) for split in splits if split is not None}))
        raise UsageError(f"{spec.file}: no image of split {spec.split!r}; column {spec.split_column!r} says {have}.")
    return source.take(rows)
