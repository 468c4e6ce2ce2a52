"""Recordings with one row per step in parquet files: images as bytes, actions and states as lists of numbers."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from craik.data.parquet import MediaRows, open_table
from craik.data.recording import Columns, Recording, discrete_space, resized, taken
from craik.data.trajectory import Trajectory
from craik.errors import UsageError

ROLES = ("actions", "states", "rewards", "done")


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Every row of some files, but for the images.

    Attributes:
        names: of all columns.
        values: [rows, ...] of the columns that are numbers, by what they are.
        order: of each episode its rows, by step.
        numbers: what each episode is called.
    """

    names: tuple[str, ...]
    values: dict[str, np.ndarray]
    order: tuple[np.ndarray, ...]
    numbers: tuple[object, ...]


def open_rows(files: Sequence[Path], name: str, columns: Columns) -> Recording:
    """A recording in parquet files.

    Raises:
        UsageError: No images or no episodes in it, or a damaged file.
    """
    tables = [open_table(path) for path in files]
    schema = tables[0].schema_arrow
    images = [field.name for field in schema if _holds_images(field)]
    if not images:
        have = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise UsageError(f"{name}: no column with images, but {have}. Expected bytes of PNG or JPEG files.")
    camera = columns.find("frames", images, name) or images[0]
    roles = {role: columns.find(role, schema.names, name) for role in (*ROLES, "episode", "step")}
    steps = read_steps(tables, name, roles)
    notes = taken("parquet", {"frames": camera, **roles}, steps.names)
    return of_images(MediaRows(name, tables, camera, files[0].parent), steps, name, "parquet", columns, notes)


def of_images(
    images: MediaRows,
    steps: Steps,
    name: str,
    layout: str,
    columns: Columns,
    notes: tuple[str, ...],
) -> Recording:
    """A recording whose frames are images in a column."""

    def read(index: int) -> Trajectory:
        frames = [_picture(images.read(int(row)), f"{name}, row {row}") for row in steps.order[index]]
        if len({frame.shape for frame in frames}) > 1 and columns.size is None:
            raise UsageError(f"{name}: images of several sizes in one episode; scale them with --size 64")
        if columns.size is not None:
            frames = [resized(frame[None], columns.size)[0] for frame in frames]
        return trajectory(steps, index, np.stack(frames))

    return Recording(
        name,
        layout,
        [f"{name} episode {number}" for number in steps.numbers],
        read,
        discrete_space(steps.values["actions"]) if "actions" in steps.values else None,
        None,
        notes,
    )


def trajectory(steps: Steps, index: int, frames: np.ndarray) -> Trajectory:
    """An episode of these frames."""
    rows = steps.order[index]
    return Trajectory(frames, *(steps.values[role][rows] if role in steps.values else None for role in ROLES))


def read_steps(tables: Sequence[pq.ParquetFile], name: str, roles: dict[str, str | None]) -> Steps:
    """Reads the columns of numbers, and finds the episodes.

    Raises:
        UsageError: There is no column with the number of the episode, or a column is no numbers.
    """
    schema = tables[0].schema_arrow
    if roles["episode"] is None:
        raise UsageError(
            f"{name}: no column with the number of the episode, but {', '.join(schema.names)}. "
            "Expected `episode` or `episode_index`, one row per step."
        )
    used = {role: column for role, column in roles.items() if column is not None}
    for file in tables:
        if missing := sorted(set(used.values()) - set(file.schema_arrow.names)):
            have = ", ".join(file.schema_arrow.names)
            raise UsageError(f"{name}: a file without {missing[0]!r}, but {have}. All files need the same columns.")
    try:
        read = [file.read(columns=list(used.values())) for file in tables]
        table = pa.concat_tables(read)
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"{name}: the files cannot be read together ({first}). Import them one by one.") from None
    values = {role: _numbers(table.column(column), name, column) for role, column in used.items()}
    episode = values.pop("episode")
    step = values.pop("step", np.arange(len(episode)))
    _, begin, group = np.unique(episode, return_index=True, return_inverse=True)
    order = np.lexsort((step, group))
    cuts = np.cumsum(np.bincount(group))[:-1]
    return Steps(tuple(schema.names), values, tuple(np.split(order, cuts)), tuple(episode[begin].tolist()))


def _numbers(column: pa.ChunkedArray, name: str, called: str) -> np.ndarray:
    """A column of numbers [rows], or of lists of equally many numbers [rows, K]."""
    kind = column.type
    if column.null_count:
        raise UsageError(f"{name}: {column.null_count} rows have no {called!r}. Leave their episodes out.")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        rows = column.to_pylist()
        if len({len(row) for row in rows}) > 1:
            sizes = sorted({len(row) for row in rows})
            raise UsageError(f"{name}: {called!r} has {sizes[0]} to {sizes[-1]} numbers; every row needs as many")
        return np.array(rows)
    values: np.ndarray = column.to_numpy()
    if values.dtype.kind not in "iufb" and called not in ("episode", "episode_id", "traj", "traj_id", "trajectory"):
        raise UsageError(f"{name}: {called!r} is of type {kind}; expected numbers")
    return values


def _holds_images(field: pa.Field) -> bool:
    kind = field.type
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_bytes(kind.field(at).type)
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _picture(data: bytes | Path, where: str) -> np.ndarray:
    try:
        with Image.open(data if isinstance(data, Path) else io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise UsageError(f"{where}: not a readable image ({error}). Leave its episode out.") from None
