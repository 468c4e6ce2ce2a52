"""Recordings in the layout of LeRobot: meta/info.json, data/**/*.parquet, and frames as images or in video files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from craik.data.episode_video import read_video, require_video
from craik.data.import_rows import Steps, of_images, read_steps, trajectory
from craik.data.parquet import MediaRows, open_table
from craik.data.recording import Columns, Recording, discrete_space, resized, taken
from craik.data.trajectory import Trajectory
from craik.errors import UsageError

INFO = Path("meta") / "info.json"


@dataclass(frozen=True, slots=True)
class Film:
    """Where the frames of an episode are: a video file, and the seconds of it."""

    path: Path
    begin_s: float
    end_s: float


def is_lerobot(folder: Path) -> bool:
    """Whether a folder is laid out as LeRobot does it."""
    return (folder / INFO).is_file()


def open_lerobot(folder: Path, columns: Columns) -> Recording:
    """A LeRobot data set, version 2 or 3.

    Raises:
        UsageError: No frames or rows in it, or its frames are in video files and PyAV is not installed.
    """
    info = _info(folder)
    features: Mapping[str, Any] = info["features"]
    cameras = [key for key, value in features.items() if value.get("dtype") in ("image", "video")]
    if not cameras:
        raise UsageError(f"{folder}: no feature of type image or video, but {', '.join(features)}. Frames are needed.")
    camera = columns.find("frames", cameras, str(folder)) or cameras[0]
    files = sorted((folder / "data").rglob("*.parquet"))
    if not files:
        raise UsageError(f"{folder}/data: no .parquet file. Download the data set again, with its data folder.")
    if films := features[camera]["dtype"] == "video":
        require_video(f"{folder}: its frames ({camera}) are in video files")
    tables = [open_table(path) for path in files]
    names = tables[0].schema_arrow.names
    roles = {role: columns.find(role, names, str(folder)) for role in ("actions", "states", "rewards", "done")}
    steps = read_steps(tables, str(folder), {**roles, "episode": "episode_index", "step": "frame_index"})
    layout = f"LeRobot {info.get('codebase_version', '')}".strip()
    notes = taken(layout, {"frames": camera, **roles}, features)
    if not films:
        images = MediaRows(str(folder), tables, camera, folder)
        return of_images(images, steps, str(folder), layout, columns, notes)
    return _of_films(folder, info, steps, layout, camera, columns, notes)


def _of_films(
    folder: Path,
    info: Mapping[str, Any],
    steps: Steps,
    layout: str,
    camera: str,
    columns: Columns,
    notes: tuple[str, ...],
) -> Recording:
    """A recording whose frames are in video files."""
    films = _films(folder, info, camera, steps)

    def read(index: int) -> Trajectory:
        film, wanted = films[index], len(steps.order[index])
        frames = read_video(film.path, film.begin_s, film.end_s, float(info["fps"]))
        if len(frames) != wanted:
            raise UsageError(
                f"{film.path}: {len(frames)} frames for {wanted} rows of episode {steps.numbers[index]}. "
                "Download the data set again."
            )
        return trajectory(steps, index, resized(frames, columns.size))

    space = discrete_space(steps.values["actions"]) if "actions" in steps.values else None
    return Recording(str(folder), layout, [f"episode {n}" for n in steps.numbers], read, space, None, notes)


def _films(folder: Path, info: Mapping[str, Any], camera: str, steps: Steps) -> list[Film]:
    """The film of each episode: a file of its own (version 2), or some seconds of a longer one (version 3)."""
    template = str(info["video_path"])
    if "{episode_index" in template:
        size = int(info.get("chunks_size", 1000))
        paths = [
            template.format(episode_chunk=int(n) // size, episode_index=int(n), video_key=camera)  # type: ignore[call-overload]
            for n in steps.numbers
        ]
        return [Film(folder / path, 0.0, float("inf")) for path in paths]
    found: dict[int, Film] = {}
    keys = [f"videos/{camera}/{part}" for part in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")]
    for path in sorted((folder / "meta" / "episodes").rglob("*.parquet")):
        for row in pq.read_table(path, columns=["episode_index", *keys]).to_pylist():
            chunk, file, begin, end = (row[key] for key in keys)
            place = folder / template.format(video_key=camera, chunk_index=chunk, file_index=file)
            found[row["episode_index"]] = Film(place, begin, end)
    if missing := [n for n in steps.numbers if n not in found]:
        raise UsageError(f"{folder}/meta/episodes: nothing about episode {missing[0]}. Download the data set again.")
    return [found[int(n)] for n in steps.numbers]  # type: ignore[call-overload]


def _info(folder: Path) -> Mapping[str, Any]:
    try:
        info: Mapping[str, Any] = json.loads((folder / INFO).read_text(encoding="utf-8"))
        if not isinstance(info["features"], dict):
            raise TypeError("`features` is no table")
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder / INFO}: damaged ({error}). Download the data set again.") from None
    return info
