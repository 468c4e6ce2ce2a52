"""A whole video as a stream of frames at the rate of a model, decoded piece by piece."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from craik.data.augment import resize_center_crop
from craik.data.clip import Clip, Rule, frame_step, pick_by_time
from craik.data.clips import ClipPixels, load_clips
from craik.data.episode_video import require_video
from craik.data.video import Track, UnreadableVideo, read_frames, survey
from craik.errors import UsageError
from craik.evaluate.features import read
from craik.evaluate.surprise import Band, Onlooker, calibrate

PIECE = 64  # frames decoded at once
SHOWN = 256  # side of the frames of a file [px], where it has so many
MOST_TOYS = 64
WINDOWS = 256  # ordinary windows that a band is made of
PER_FILE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Reel:
    """A video, seen through the square in its middle.

    Attributes:
        name: what people call it.
        track: when its frames are shown.
        canvases: from time stamps int64 [T] and a side S [px] to whole frames squashed to uint8 [T, S, S, 3].
        numbers: the frames that are looked at, int64 [F].
        fps: how many of these are shown in a second.
        side: of the square [px].
    """

    name: str
    track: Track
    canvases: Callable[[np.ndarray, int], np.ndarray]
    numbers: np.ndarray
    fps: float
    side: int

    def __len__(self) -> int:
        return len(self.numbers)

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame, uint8 [S, S, 3]; no more than `PIECE` are in memory.

        Raises:
            UsageError: If the video is damaged.
        """
        size = torch.tensor([[self.track.height, self.track.width]])
        side = self.side if self.track.height == self.track.width else 2 * self.side
        for start in range(0, len(self), PIECE):
            stamps = self.track.stamps[self.numbers[start : start + PIECE]]
            try:
                canvases = torch.from_numpy(np.ascontiguousarray(self.canvases(stamps, side)))
            except UnreadableVideo as error:
                raise UsageError(f"{self.name}: {error.reason}. Repair the file") from None
            squares = resize_center_crop(canvases.movedim(-1, 1).unsqueeze(0), size, self.side)[0]
            yield from squares.mul(255).round().byte().movedim(1, -1).numpy()


def open_reels(path: str, clip: Clip, view: int) -> list[Reel]:
    """The video of a file, or the test videos of a toy, such as toy:physics?n=3&clips=both.

    Args:
        path: The file or the toy.
        clip: How a model wants its frames: the rate and the rule by which they are picked.
        view: Side of what the model sees [px].

    Raises:
        UsageError: No such file, no video in it, or a picture that stands still.
    """
    if path.startswith("toy:"):
        return toy_reels(path, clip, view)
    file = Path(path).expanduser()
    if file.is_dir():
        raise UsageError(f"{path} is a folder: give its files, such as {path.rstrip('/')}/*.mp4")
    if not file.is_file():
        raise UsageError(f"{path}: no such file")
    require_video(f"{path} may be a video")
    try:
        track = survey(file)
    except UnreadableVideo as error:
        raise UsageError(f"{path}: cannot be read as a video ({error.reason})") from None
    if track.still:
        raise UsageError(f"{path} is a picture, and nothing comes next in it: give a video")
    numbers, fps = at_rate(track, clip)
    side = max(view, min(SHOWN, track.height, track.width))
    return [Reel(str(path), track, lambda stamps, side: read_frames(file, stamps, side), numbers, fps, side)]


def at_rate(track: Track, clip: Clip) -> tuple[np.ndarray, float]:
    """The frames of a whole video as the clips of a model have them, int64 [F], and how many there are in a second."""
    if clip.rule is Rule.VJEPA:
        step = frame_step(track, clip.fps)
        return np.arange(0, len(track), step), track.fps / step
    count = max(1, int(track.seconds * clip.fps + 1e-6))
    return pick_by_time(track, count, clip.fps, 0), clip.fps


def toy_reels(path: str, clip: Clip, view: int) -> list[Reel]:
    """The videos of a toy; those of its test split, unless the path names another."""
    clips = load_clips(path, clip=replace(clip, frames=1, per_file=1), view=view, split="test")
    pixels = clips.pixels
    if not isinstance(pixels, ClipPixels) or len(clips) > MOST_TOYS:
        raise UsageError(f"{path} has {len(clips):,} videos: say how few, such as {path.partition('?')[0]}?n=4")
    footage = pixels.footage

    def reel(row: int) -> Reel:
        def canvases(stamps: np.ndarray, side: int) -> np.ndarray:
            (found,) = footage.read([row], [stamps], side)
            assert isinstance(found, np.ndarray)
            return found

        track = footage.track(row)
        name = f"{path.removeprefix('toy:').partition('?')[0]}-{row}"
        return Reel(name, track, canvases, np.arange(len(track)), clip.fps, view)

    return [reel(row) for row in range(len(clips))]


def ordinary_band(
    who: Onlooker, path: str, clip: Clip, *, split: str | None, context: int, level: float
) -> tuple[Band, str]:
    """The band of the clips of a data set, and of what it is made, in words.

    Args:
        who: Who looks.
        path: As `load_clips`.
        clip: As for `open_reels`; windows have as many frames as `who` wants.
        split: Of the data, where it has several.
        context: As for `over_time`.
        level: Share of ordinary windows below the threshold.

    Raises:
        UsageError: As `load_clips` and `calibrate`.
    """
    toy = path.startswith("toy:")
    wanted = replace(clip, frames=who.frames, per_file=1 if toy else PER_FILE)
    videos = load_clips(path, clip=wanted, view=who.side, split=split, limit=WINDOWS // wanted.per_file)
    batches = (resize_center_crop(x, sizes, who.side) for _, x, sizes in read(videos, 16))
    band = calibrate(who, batches, context=context, level=level)
    return band, f"{band.num_windows} windows of {path}" + ("" if split is None else f", split {split}")
