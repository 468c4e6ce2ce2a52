"""Other people's recordings into episodes: one function that looks at what a path is, and one that copies it."""

from collections.abc import Callable
from pathlib import Path

from craik.data.episode_layout import Origin, Storage, is_episodes
from craik.data.episode_writer import Mode, Writer
from craik.data.import_arrays import open_npz
from craik.data.import_hdf5 import SUFFIXES as HDF5
from craik.data.import_hdf5 import open_hdf5
from craik.data.import_lerobot import is_lerobot, open_lerobot
from craik.data.import_rows import open_rows
from craik.data.listing import is_hidden
from craik.data.recording import Columns, Recording
from craik.errors import UsageError

_COMMIT = 256 << 20  # frames imported between two commits [bytes]


def open_recording(path: str, columns: Columns | None = None) -> Recording:
    """Looks at what a path is: .npz, .h5, .hdf5, .parquet, a folder of these, or a LeRobot data set.

    Raises:
        UsageError: No such file, nothing that can be read, or parts that do not go together.
    """
    place, columns = Path(path).expanduser(), columns or Columns()
    if not place.exists():
        raise UsageError(f"{path}: no such file or folder. Give a recording: .npz, .h5, .parquet or a LeRobot folder.")
    if place.is_dir():
        if is_lerobot(place):
            return open_lerobot(place, columns)
        if is_episodes(place):
            raise UsageError(f"{path} holds episodes in the layout of craik already: craik inspect {path}")
    readers = {(".npz",): open_npz, HDF5: open_hdf5, (".parquet",): open_rows}
    for suffixes, reader in readers.items():
        if files := _files(place, suffixes):
            return reader(files, path, columns)
    inside = sorted({file.suffix or file.name for file in place.rglob("*") if file.is_file()}) if place.is_dir() else []
    what = f" (it holds {', '.join(inside[:6])})" if inside else ""
    raise UsageError(
        f"{path}: no recording that can be read{what}. Give .npz, .h5 or .hdf5, .parquet with one row per step, "
        "or a LeRobot folder with meta/info.json."
    )


def import_recording(
    recording: Recording,
    folder: Path | str,
    mode: Mode = "error",
    *,
    storage: Storage = "raw",
    advance: Callable[[int, int], None] = lambda episodes, frames: None,
) -> tuple[int, int]:
    """Copies a recording into a folder of episodes.

    Args:
        recording: What `open_recording` found.
        folder: Where to.
        mode: What to do with episodes that are there.
        storage: How frames are stored in a new folder.
        advance: Told the episodes and frames that were copied.

    Returns:
        Number of episodes and of frames that were added.

    Raises:
        UsageError: An episode is not what it has to be; those before it are kept.
    """
    origin = Origin(recording.name, settings={"layout": recording.layout})
    episodes = frames = held = 0
    with Writer(
        folder,
        mode,
        origin=origin,
        storage=storage,
        action=recording.action,
        state_names=recording.state_names,
    ) as writer:
        for index, name in enumerate(recording.episodes):
            trajectory = recording.read(index)
            writer.add(trajectory, name)
            episodes, frames, held = episodes + 1, frames + len(trajectory), held + trajectory.frames.nbytes
            if held > _COMMIT:
                writer.commit()
                held = 0
            advance(episodes, frames)
    return episodes, frames


def _files(place: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if place.is_file():
        return [place] if place.suffix.lower() in suffixes else []
    found = (file for file in place.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
    return sorted(file for file in found if not any(map(is_hidden, file.relative_to(place).parts)))
