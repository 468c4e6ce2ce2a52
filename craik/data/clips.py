"""Clips of videos as data: what `load_images` is for images. Frames are decoded when a batch asks for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from craik.data.cache import num_cores
from craik.data.clip import Clip, Rule
from craik.data.episode_video import require_video
from craik.data.footage import Footage, Tracks, VideoFiles, survey_source
from craik.data.images import ImageData, Skipped, limited, refuse_bad, refuse_unlabeled, spread
from craik.data.labels import LabelSpec
from craik.data.listing import VIDEOS, Source, digest
from craik.data.source import open_source
from craik.errors import UsageError

_TRIES = 3  # other places in a file, then other files, before a batch is given up


@dataclass(frozen=True, slots=True, eq=False)
class ClipPixels:
    """Clips by their number, as `Pixels`: per_file clips of the first video, then those of the second, ...

    Attributes:
        footage: the videos.
        clip: how clips are cut out of them.
        side: S, the side of the canvas [px].
        late: videos that could not be decoded though they had seemed fine, and why; grows while clips are drawn.
    """

    footage: Footage
    clip: Clip
    side: int
    late: dict[int, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, T, S, S, 3)."""
        return (len(self), self.clip.frames, self.side, self.side, 3)

    def __len__(self) -> int:
        return len(self.footage) * self.clip.per_file

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """The clips from the middle of each part of the video, uint8 [B, T, S, S, 3]; the same every time.

        Raises:
            UsageError: A video that cannot be decoded there.
        """
        rows = np.atleast_1d(np.asarray(index, dtype=np.int64)).tolist()
        out = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        for at, frames in enumerate(self._read(rows, [0.5] * len(rows))):
            if isinstance(frames, str):
                raise UsageError(f"{self._name(rows[at])}: {frames}. Repair the file or remove it.")
            out[at] = frames
        return out

    def draw(self, index: np.ndarray, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Clips from places drawn at random, uint8 [B, T, S, S, 3], and the numbers of the clips, int64 [B].

        A place follows from seed, epoch and the number of the clip alone. Where the video is damaged another place is
        drawn, then another video.

        Raises:
            UsageError: None of these can be decoded.
        """
        rows = np.array(index, dtype=np.int64)
        out = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        missing = np.arange(len(rows))
        for attempt in range(2 * _TRIES):
            if attempt >= _TRIES:
                rows[missing] = [self._rng(seed, epoch, r, attempt).integers(len(self)) for r in rows[missing]]
            places = [float(self._rng(seed, epoch, row, attempt).random()) for row in rows[missing]]
            found = self._read(rows[missing].tolist(), places)
            for at, frames in zip(missing, found, strict=True):
                if isinstance(frames, str):
                    self.late.setdefault(int(rows[at]) // self.clip.per_file, frames)
                else:
                    out[at] = frames
            missing = np.array([a for a, f in zip(missing, found, strict=True) if isinstance(f, str)], dtype=np.int64)
            if not len(missing):
                return out, rows
        raise UsageError(
            f"{2 * _TRIES} clips in a row cannot be decoded, the last from {self._name(int(rows[missing[0]]))}: "
            f"{next(reversed(self.late.values()))}. Is the data still where it was?"
        )

    def some(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As indexing, without what cannot be decoded: uint8 [M, T, S, S, 3], and which clips these are, int64 [M]."""
        found = self._read(rows.tolist(), [0.5] * len(rows))
        good = [at for at, frames in enumerate(found) if isinstance(frames, np.ndarray)]
        for row, frames in zip(rows.tolist(), found, strict=True):
            if isinstance(frames, str):
                self.late.setdefault(row // self.clip.per_file, frames)
        if not good:
            raise UsageError(f"{self._name(int(rows[0]))}: {found[0]}, and so the others. Repair the files.")
        return np.stack([np.asarray(found[at]) for at in good]), rows[good]

    def _name(self, row: int) -> str:
        return self.footage.name(row // self.clip.per_file)

    @staticmethod
    def _rng(seed: int, epoch: int, row: int, attempt: int) -> np.random.Generator:
        return np.random.default_rng([seed, epoch, int(row), attempt])

    def _read(self, rows: Sequence[int], places: Sequence[float]) -> list[np.ndarray | str]:
        """Clips that begin at some place, in [0, 1), of the part of the video that is theirs."""
        share, stamps = self.clip.per_file, []
        for row, place in zip(rows, places, strict=True):
            track = self.footage.track(row // share)
            stamps.append(track.stamps[self.clip.pick(track, (row % share + place) / share)])
        return self.footage.read([row // share for row in rows], stamps, self.side)


def load_clips(
    path: str,
    *,
    clip: Clip,
    view: int,
    labels: LabelSpec | None = None,
    split: str | None = None,
    limit: int | None = None,
    max_bad_fraction: float = 0.05,
    workers: int | None = None,
    progress: bool = True,
    labels_required: bool = False,
) -> ImageData:
    """Clips of all videos of a data set. Their pixels are uint8 [N, T, S, S, 3], and each row is one clip.

    Args:
        path: as `open_source`; also toy:digits and toy:physics.
        clip: how clips are cut out of videos.
        view: side of what the model sees [px]; canvases keep a quarter more where the videos have it, for crops.
        labels: where labels are, when the data itself does not say it.
        split: train, val or test, where the data has these.
        limit: use only so many videos, spread evenly at random over the data.
        max_bad_fraction: how many of the video files may be unreadable.
        workers: processes that decode; by default one per core.
        progress: show a progress bar when it takes long.
        labels_required: refuse data without labels.

    Raises:
        UsageError: PyAV is missing, no data, too many unreadable files, all files too short, no labels where they are
            needed, a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: use at least 1 video")
    if path.startswith("toy:") and not path.startswith("toy:shapes"):
        from craik.data.toy_video import load_toy_video

        return limited(load_toy_video(path, clip, view, split), limit)
    source = open_source(path, labels=labels, split=split, medium=VIDEOS)
    if labels_required and source.labels is None:
        raise refuse_unlabeled(source.name, "videos")
    require_video(f"{path} holds videos")
    if limit is not None and limit < len(source):
        source = source.take(spread(len(source), limit))
    tracks = survey_source(source, workers=workers, progress=progress)
    refuse_bad(source, tracks.reasons, max_bad_fraction, "video")
    return _gather(source, tracks, clip, view, workers or num_cores())


def hold(clips: ImageData, rows: np.ndarray) -> ImageData:
    """Some clips in memory, decoded once; without those that cannot be decoded, which are noted as late.

    Raises:
        UsageError: None of them can be decoded.
    """
    pixels = clips.pixels
    if not isinstance(pixels, ClipPixels):
        chosen = clips.subset(rows)
        return replace(chosen, pixels=chosen.take(np.arange(len(chosen))))
    canvases, good = pixels.some(np.asarray(rows, dtype=np.int64))
    return replace(clips.subset(good), pixels=canvases)


def _gather(source: Source, tracks: Tracks, clip: Clip, view: int, num_workers: int) -> ImageData:
    reasons = [reason or _too_short(tracks, row, clip) for row, reason in enumerate(tracks.reasons)]
    good = np.array([row for row, reason in enumerate(reasons) if not reason], dtype=np.int64)
    if not len(good):
        raise UsageError(
            f"{source.name}: none of {len(source):,} videos is long enough for {clip.frames} frames at {clip.fps:g} "
            f"frames per second, such as {source.paths[0]} ({reasons[0]}). Use fewer frames or more per second."
        )
    kept, found = source.take(good), Tracks.gather([tracks[row] for row in good.tolist()])
    side = min(int(np.median(found.sizes.min(1))), round(1.25 * view))
    skipped = tuple(Skipped(source.paths[row], reason) for row, reason in enumerate(reasons) if reason)
    rows = np.repeat(np.arange(len(good)), clip.per_file)
    return ImageData(
        pixels=ClipPixels(VideoFiles(kept, found, num_workers), clip, max(side, 1)),
        sizes=found.sizes[rows],
        name=source.name,
        paths=[kept.paths[row] for row in rows.tolist()],
        labels=None if kept.labels is None else kept.labels[rows],
        class_names=source.class_names,
        skipped=skipped,
        ignored=source.ignored,
        notes=(*source.notes, *_notes(found, tracks, reasons, clip)),
        fingerprint=digest(source.content, repr(clip), str(side), *(f"{s.path}\0{s.reason}" for s in skipped)),
        noun="video" if clip.per_file == 1 else "clip",
        about=_about(found),
    )


def _too_short(tracks: Tracks, row: int, clip: Clip) -> str:
    track = tracks[row]
    if clip.places(track):
        return ""
    return f"too short: {track.seconds:.2f} s, and {clip.frames} frames at {clip.fps:g} fps span {clip.seconds:.2f} s"


def _about(found: Tracks) -> str:
    """How long the videos are, and at which rate: `3.2 s at 12.5 fps median`."""
    moving = [track for track in (found[row] for row in range(len(found))) if not track.still]
    if not moving:
        return "stills"
    seconds, rate = (float(np.median([getattr(t, name) for t in moving])) for name in ("seconds", "fps"))
    return f"{seconds:.1f} s at {rate:.3g} fps median"


def _notes(found: Tracks, every: Tracks, reasons: Sequence[str], clip: Clip) -> list[str]:
    """What people should know of the videos before they train on them."""
    tracks = [found[row] for row in range(len(found))]
    short = sum(bool(reason) and not bad for reason, bad in zip(reasons, every.reasons, strict=True))
    stills = sum(track.still for track in tracks)
    slow = sum(not t.still and t.fps < 0.95 * clip.fps for t in tracks)
    held = (
        sum(not t.still and t.seconds < clip.seconds for t in tracks) if clip.repeat or clip.rule is Rule.VJEPA else 0
    )
    lines = {
        f"{short:,} of {len(reasons):,} videos are shorter than a clip ({clip.seconds:.2f} s) and left out": short,
        f"{stills:,} stills: each fills its clip with one image": stills,
        f"{slow:,} videos have fewer than {clip.fps:g} frames per second: frames repeat in their clips": slow,
        f"{held:,} videos are shorter than a clip ({clip.seconds:.2f} s) and hold their last frame": held,
    }
    return [line for line, count in lines.items() if count]
