"""What is in a set of videos: how long, how fast, how coded, and where they are damaged."""

import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
from PIL import Image

from craik.data.clips import ClipPixels
from craik.data.footage import Footage
from craik.data.images import ImageData, Rows

_TIMED = 24  # videos that reading is timed on, and the middle of which is looked at
_CLIP = 16  # frames of each of them
Three = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Times:
    """Lengths and rates of videos.

    Attributes:
        seconds: shortest, median and longest [s]; stills do not count.
        fps: frames per second of the slowest, the median and the fastest.
        total_s: all together [s].
        codecs: names of the codings, "image" for stills, and how many videos have each, most frequent first.
        unsteady: videos with a variable frame rate.
        damaged: of the few that were looked at, those that cannot be decoded in their middle, and why.
        reading: clips of 16 frames in a row that are decoded in a second, of those few; None where there are none.
    """

    seconds: Three
    fps: Three
    total_s: float
    codecs: tuple[tuple[str, int], ...]
    unsteady: int
    damaged: tuple[str, ...]
    reading: float | None


def measure(videos: ImageData) -> Times:
    """Looks at the time stamps of all videos, and decodes a clip from the middle of a few."""
    footage, rows = footage_of(videos)
    tracks = [footage.track(row) for row in rows]
    moving = [track for track in tracks if not track.still]
    seconds, rates = [track.seconds for track in moving], [track.fps for track in moving]
    some = [i for i in np.linspace(0, len(rows) - 1, min(_TIMED, len(rows))).astype(int) if not tracks[i].still]
    began = time.perf_counter()
    stamps = [tracks[i].stamps[_middle(len(tracks[i]))] for i in some]
    found = footage.read([rows[i] for i in some], stamps, videos.side)
    took = time.perf_counter() - began
    return Times(
        seconds=_three(seconds),
        fps=_three(rates),
        total_s=float(sum(seconds)),
        codecs=tuple(Counter(track.codec for track in tracks).most_common()),
        unsteady=sum(not track.steady for track in moving),
        damaged=tuple(f"{videos.paths[i]}: {f}" for i, f in zip(some, found, strict=True) if isinstance(f, str)),
        reading=len(some) / took if some else None,
    )


def stills(videos: ImageData, row: int, num: int) -> tuple[list[np.ndarray], list[float]]:
    """Frames spread over a video, in its own aspect, uint8 [H, W, 3] each, and when they are shown [s].

    A video that cannot be decoded there gives none.
    """
    footage, rows = footage_of(videos)
    track = footage.track(rows[row])
    stamps = track.stamps[np.linspace(0, len(track) - 1, num).astype(np.int64)]
    (frames,) = footage.read([rows[row]], [stamps], videos.side)
    if isinstance(frames, str):
        return [], []
    height, width = videos.sizes[row].tolist()
    scale = videos.side / max(height, width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    pictures = [np.asarray(Image.fromarray(frame).resize(size)) for frame in frames]
    return pictures, ((stamps - track.stamps[0]) * track.tick).tolist()


def footage_of(videos: ImageData) -> tuple[Footage, list[int]]:
    """The footage behind clips, and the video of each clip.

    Raises:
        ValueError: These are no clips of footage.
    """
    pixels, rows = videos.pixels, np.arange(len(videos))
    if isinstance(pixels, Rows):
        rows, pixels = pixels.rows, pixels.base
    if not isinstance(pixels, ClipPixels):
        raise ValueError(f"{videos.name} holds no footage")
    return pixels.footage, (rows // pixels.clip.per_file).tolist()


def _middle(count: int) -> np.ndarray:
    """Numbers of up to 16 frames in a row from the middle of a video, int64."""
    first = max(0, (count - _CLIP) // 2)
    return np.arange(first, min(first + _CLIP, count))


def _three(values: list[float]) -> Three:
    if not values:
        return (0.0, 0.0, 0.0)
    return float(min(values)), float(np.median(values)), float(max(values))
