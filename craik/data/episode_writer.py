"""Writing episodes so that nothing that is finished can be lost: killed at any moment, the folder stays readable."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

import numpy as np

from craik.data.episode_layout import FILES, META, Layout, Moments, Origin, Storage, is_episodes, read_layout
from craik.data.episode_layout import write_layout as write
from craik.data.frames import as_jpeg
from craik.data.growing import GrowingArray
from craik.data.trajectory import ActionSpace, Trajectory, aligned, space_of
from craik.errors import UsageError

Mode = Literal["error", "append", "overwrite"]


class Writer:
    """Adds episodes to a folder. What was added counts from the next `commit` on; leaving the `with` block commits.

    The first episode decides the layout of a new folder: frame size, action size, which columns there are.

    Attributes:
        folder: The data set.
        layout: What it holds, with the episodes that are not committed; None before the first one.
    """

    def __init__(
        self,
        folder: Path | str,
        mode: Mode = "error",
        *,
        origin: Origin | None = None,
        storage: Storage = "raw",
        quality: int = 95,
        action: ActionSpace | None = None,
        state_names: Sequence[str] | None = None,
    ) -> None:
        """Opens a folder for writing; no other writer can have it until `close`.

        Args:
            folder: Where to; made if need be.
            mode: What to do with episodes that are there: refuse, add to them, or delete them once the first new
                one is found to be good.
            origin: Where the episodes to come are from; None goes on with the last one.
            storage: How frames are stored in a new folder. JPEG loses detail, and takes a tenth of the space.
            quality: Of JPEG, 1 to 95.
            action: The actions there are, in a new folder; by default what the first episode looks like.
            state_names: Names of the columns of the states, in a new folder; s0, s1, ... by default.

        Raises:
            UsageError: There are episodes and mode is error, something else is in the folder, or somebody else
                is writing to it.
        """
        self.folder = Path(folder).expanduser()
        self.layout: Layout | None = None
        self._storage, self._quality, self._action, self._names = storage, quality, action, state_names
        self._columns: dict[str, GrowingArray] = {}
        self._jpegs: IO[bytes] | None = None
        self._moments: list[np.ndarray] = []
        present = claim(self.folder, mode)
        self._new = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.folder)
        if present and mode == "append":
            try:
                self._open(read_layout(self.folder))
            except (UsageError, OSError):
                self._release()
                raise
        self._origins: tuple[Origin, ...] = () if self.layout is None else self.layout.origins
        if origin is not None:
            self._origins = (*self._origins, replace(origin, first=self.episodes))

    @property
    def episodes(self) -> int:
        """How many there are, those included that are not committed."""
        return 0 if self.layout is None else self.layout.episodes

    @property
    def origin(self) -> Origin | None:
        """Where the episodes that are added now come from."""
        return self._origins[-1] if self._origins else None

    def add(self, trajectory: Trajectory, name: str | None = None) -> None:
        """Adds an episode, whole or not at all.

        Args:
            trajectory: The episode.
            name: What to call it in messages; `episode 12` by default.

        Raises:
            UsageError: It is not what it has to be, or does not go with the episodes that are there.
            OSError: It cannot be written, for example because the disk is full.
        """
        name = name or f"episode {self.episodes}"
        space = self._action if self.layout is None else self.layout.action
        episode = aligned(trajectory, name, space)
        if self.layout is None:
            if space is None and trajectory.actions is not None:
                space = space_of(trajectory.actions)
            layout = self._first(episode, space)
            for file in FILES[:-1]:  # what is replaced; meta.json first, so that there is never half a data set
                (self.folder / file).unlink(missing_ok=True)
            self._open(layout)
        assert self.layout is not None
        _check_same(episode, self.layout, name)
        before = self.layout
        try:
            self._append(episode)
        except OSError:
            self._rewind(before)
            raise
        rows, episodes = before.rows + len(episode), before.episodes + 1
        jpeg_bytes = self._jpegs.tell() if self._jpegs is not None else 0
        self.layout = replace(before, rows=rows, episodes=episodes, jpeg_bytes=jpeg_bytes)
        if episode.actions is not None:
            self._moments.append(episode.actions[:-1])  # what follows the last one is not seen

    def note(self, *, streams: int | None = None, wanted: int | None = None) -> None:
        """Notes with the origin, from the next commit on, how far the collection is.

        Args:
            streams: How many streams of random numbers it has used.
            wanted: How many episodes there are to be in the end.
        """
        if self._origins:
            last = self._origins[-1]
            streams, wanted = (last.streams if streams is None else streams, last.wanted if wanted is None else wanted)
            self._origins = (*self._origins[:-1], replace(last, streams=streams, wanted=wanted))

    def commit(self) -> None:
        """Makes everything that was added part of the data, at once.

        Raises:
            OSError: It cannot be written; the folder then holds what it held before.
        """
        if self.layout is None:
            return
        moments = self.layout.moments
        if self._moments and self.layout.action is not None and self.layout.action.kind == "box":
            new = Moments.of(np.concatenate(self._moments))
            moments = moments if new is None else new.joined(moments)
        if self._jpegs is not None:
            self._jpegs.flush()
        for column in self._columns.values():
            column.commit()
        layout = replace(self.layout, moments=moments, origins=self._origins)
        write(self.folder, layout)
        self.layout, self._moments = layout, []

    def close(self) -> None:
        """Commits, and lets go of the folder."""
        try:
            self.commit()
        finally:
            self._release()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _release(self) -> None:
        """Closes every file, lets the next writer in, and takes away a folder that was made for nothing."""
        with contextlib.suppress(OSError), contextlib.ExitStack() as closing:  # a full disk was told by commit
            for column in self._columns.values():
                closing.callback(column.close)
            if self._jpegs is not None:
                closing.callback(self._jpegs.close)
        if self._lock is not None:
            (self.folder / ".lock").unlink(missing_ok=True)
            self._lock.close()
        if self._new and self.layout is None:
            with contextlib.suppress(OSError):  # somebody has put something into it
                self.folder.rmdir()

    def _first(self, episode: Trajectory, space: ActionSpace | None) -> Layout:
        """The layout of a new folder."""
        height, width, channels = (int(n) for n in episode.frames.shape[1:])
        if self._storage == "jpeg" and channels not in (1, 3):
            raise UsageError(f"frames have {channels} channels, and JPEG holds 1 or 3. Store them raw.")
        names = self._names
        if episode.states is None:
            names = None
        elif names is None:
            names = tuple(f"s{i}" for i in range(episode.states.shape[1]))
        return Layout(
            frame=(height, width, channels),
            storage=self._storage,
            action=None if episode.actions is None else space,
            state_names=None if names is None else tuple(names),
            rewards=episode.rewards is not None,
            done=episode.done is not None,
        )

    def _open(self, layout: Layout) -> None:
        self.layout = layout
        columns = {**layout.columns(), "episodes": (np.dtype(np.int64), (2,))}
        for name, (dtype, shape) in columns.items():
            count = layout.episodes if name == "episodes" else layout.rows
            self._columns[name] = GrowingArray(self.folder / f"{name}.npy", dtype, shape, count)
        if layout.storage == "jpeg":
            self._jpegs = open(self.folder / "frames.jpg", "r+b" if layout.jpeg_bytes else "w+b")
            self._jpegs.truncate(layout.jpeg_bytes)
            self._jpegs.seek(layout.jpeg_bytes)

    def _append(self, episode: Trajectory) -> None:
        assert self.layout is not None
        columns = self._columns
        if self._jpegs is None:
            columns["frames"].append(episode.frames)
        else:
            ends = []
            for frame in episode.frames:
                self._jpegs.write(as_jpeg(frame, self._quality))
                ends.append(self._jpegs.tell())
            columns["jpegs"].append(np.array(ends))
        for name in ("actions", "states", "rewards", "done"):
            if name in columns:
                columns[name].append(getattr(episode, name))
        columns["episodes"].append(np.array([[self.layout.rows, len(episode)]]))

    def _rewind(self, layout: Layout) -> None:
        """Drops what an episode that could not be written whole has left."""
        for name, column in self._columns.items():
            column.rewind(layout.episodes if name == "episodes" else layout.rows)
        if self._jpegs is not None:
            self._jpegs.truncate(layout.jpeg_bytes)
            self._jpegs.seek(layout.jpeg_bytes)


def claim(folder: Path, mode: Mode) -> bool:
    """Whether a folder holds episodes already; nothing is changed.

    Raises:
        UsageError: It holds episodes and mode is error, or it holds something else.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the episodes (-o DATA)")
    if is_episodes(folder):
        if mode == "error":
            layout = read_layout(folder)
            raise UsageError(
                f"{folder} holds {layout.episodes:,} episodes already. "
                "Add to them with --append, replace them with --overwrite, or name another folder."
            )
        return True
    others = sorted(item.name for item in folder.iterdir() if item.name not in FILES)
    if others or (folder / META).exists():
        raise UsageError(f"{folder} holds other files ({', '.join([*others, META][:3])}); name a new folder (-o DATA)")
    return False


def _check_same(episode: Trajectory, layout: Layout, name: str) -> None:
    """Every episode has what the first one had."""
    if episode.frames.shape[1:] != layout.frame:
        raise UsageError(
            f"{name}: frames of {_by(episode.frames.shape[1:])}, but this data has {_by(layout.frame)}. "
            "All frames of a data set have one size."
        )
    have = {
        "actions": layout.action is not None,
        "states": layout.state_names is not None,
        "rewards": layout.rewards,
        "done": layout.done,
    }
    for column, wanted in have.items():
        if (getattr(episode, column) is not None) != wanted:
            text = f"no {column}, but the episodes before have them" if wanted else f"{column}, which others lack"
            raise UsageError(f"{name}: it has {text}. All episodes of a data set have the same columns.")
    if episode.states is not None and episode.states.shape[1] != len(layout.state_names or ()):
        raise UsageError(
            f"{name}: states of {episode.states.shape[1]} numbers, but this data has "
            f"{len(layout.state_names or ())} ({', '.join(layout.state_names or ())})"
        )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


def _locked(folder: Path) -> IO[bytes] | None:
    """A lock on the folder, held until it is closed or the process ends."""
    try:
        import fcntl
    except ImportError:  # Windows: nothing keeps a second writer out
        return None
    file = open(folder / ".lock", "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UsageError(f"{folder}: somebody else is writing to it. Wait for it, or name another folder.") from None
    return file
