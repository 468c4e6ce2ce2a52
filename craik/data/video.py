"""One video file, as a person would see it: its frames by their time stamps, upright, RGB, on a square canvas.

What cannot be decoded raises `UnreadableVideo` with the reason, and nothing else ever leaves this module. PyAV is
imported where it is needed: it is the extra `video`.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from craik.data.decode import MAX_PIXELS, UnreadableImage, decode_canvas

Raw = bytes | Path | Image.Image
LEAP_S = 4.0  # frames further apart than this are reached by seeking, not by decoding what lies between [s]
_STILL = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*", b"\x00\x00\x00\x0cjP  ")


class UnreadableVideo(Exception):
    """The file holds no video that can be shown; `reason` says why in a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """When each frame of a file is shown, without one of them decoded.

    Attributes:
        stamps: of the frames in the order in which they are shown, int64 [F], in ticks.
        tick: length of a tick [s].
        end: when the last frame goes [ticks].
        height: of the upright picture with square pixels [px].
        width: as `height`.
        codec: name of the coding; "image" for a still image, which lasts as long as one likes.
    """

    stamps: np.ndarray
    tick: float
    end: int
    height: int
    width: int
    codec: str

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def still(self) -> bool:
        """Whether it is a single image."""
        return self.codec == "image"

    @property
    def seconds(self) -> float:
        """From the first frame to the end of the last one."""
        return float(self.end - self.stamps[0]) * self.tick

    @property
    def fps(self) -> float:
        """Frames per second on average; 0 for a still."""
        return 0.0 if self.still or self.seconds <= 0 else len(self) / self.seconds

    @property
    def steady(self) -> bool:
        """Whether all frames last equally long, up to the rounding of time stamps."""
        gaps = np.diff(self.stamps)
        return not len(gaps) or bool(np.abs(gaps - np.median(gaps)).max() <= max(2.0, 0.1 * np.median(gaps)))


def survey(raw: Raw) -> Track:
    """Reads the time stamps of a file, and decodes its first frame and one near its end.

    Raises:
        UnreadableVideo: Empty, no video in it, or it cannot be decoded.
    """
    if is_still(raw):
        with _image_errors():
            _, (height, width) = decode_canvas(raw, 8)
        return Track(np.zeros(1, np.int64), 1.0, 1, height, width, "image")
    with _opened(raw) as (container, stream):
        stamps, last, keys = _stamps(container, stream)
        tick = float(stream.time_base)
        frames = [_first(container, stream, at) for at in (stamps[0], max(keys, default=stamps[0]))]
        height, width = _upright(frames[0], stream)
        if height * width > MAX_PIXELS:
            raise UnreadableVideo(f"frames of {width} x {height} pixels")
        codec = stream.codec_context.name
    return Track(stamps, tick, int(stamps[-1] + last), height, width, codec)


def read_frames(raw: Raw, stamps: np.ndarray, side: int) -> np.ndarray:
    """Decodes some frames: seeks to the key frame before the first and decodes from there on.

    Damaged packets are passed over and show the frame before them, as players do.

    Args:
        raw: bytes of a file, its path, or an opened image.
        stamps: of the frames wanted, int64 [T], in ticks, ascending; equal ones are decoded once.
        side: S, side of the canvas that each whole frame is squashed to [px].

    Returns:
        uint8 [T, S, S, 3].

    Raises:
        UnreadableVideo: The file cannot be opened, or more than half of these frames are lost.
    """
    if is_still(raw):
        with _image_errors():
            canvas, _ = decode_canvas(raw, side)
        return np.repeat(canvas[None], len(stamps), axis=0)
    wanted, back = np.unique(stamps, return_inverse=True)
    out = np.empty((len(wanted), side, side, 3), dtype=np.uint8)
    with _opened(raw) as (container, stream):
        leaps = np.flatnonzero(np.diff(wanted) * float(stream.time_base) > LEAP_S) + 1
        lost = 0
        for part in np.split(np.arange(len(wanted)), leaps):
            lost += _fill(container, stream, wanted[part], out[part[0] : part[-1] + 1])
    if 2 * lost > len(wanted):
        raise UnreadableVideo(f"{lost} of {len(wanted)} frames cannot be decoded")
    return out[back]


def is_still(raw: Raw) -> bool:
    """Whether a file is an image that does not move; a GIF may."""
    if isinstance(raw, Image.Image):
        return True
    if isinstance(raw, Path):
        try:
            with open(raw, "rb") as file:
                head = file.read(16)
        except OSError as error:
            raise UnreadableVideo(error.strerror or "cannot be opened") from None
    else:
        head = raw[:16]
    if not head:
        raise UnreadableVideo("empty file")
    return head.startswith(_STILL) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or head[4:12] == b"ftypavif"


@contextmanager
def _image_errors() -> Iterator[None]:
    try:
        yield
    except UnreadableImage as error:
        raise UnreadableVideo(error.reason) from None


@contextmanager
def _opened(raw: Any) -> Iterator[tuple[Any, Any]]:
    """The container and its first stream of moving pictures; errors of the library become reasons."""
    import av

    try:
        # A list of addresses is a video to the library: only what is in the file itself is ever read.
        options = {"protocol_whitelist": "file"} if isinstance(raw, Path) else {}
        source = str(raw) if isinstance(raw, Path) else BytesIO(raw)
        with closing(av.open(source, options=options, metadata_errors="ignore")) as container:
            pictures = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not pictures:
                audio = ", only sound" if container.streams.audio else ""
                raise UnreadableVideo(f"no video stream{audio}")
            stream = pictures[0]
            if stream.time_base is None:
                raise UnreadableVideo("no time stamps")
            stream.codec_context.thread_count = 1  # files are decoded side by side instead
            for other in container.streams:
                if other is not stream:
                    other.discard = av.stream.Discard.all
            yield container, stream
    except (av.error.FFmpegError, EOFError) as error:
        raise UnreadableVideo(_reason(error)) from None
    except (OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, MemoryError) as error:
        raise UnreadableVideo(_reason(error)) from None


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return "damaged file, or not a video" if "Invalid data" in text else " ".join(text.split())[:120].lower()


def _stamps(container: Any, stream: Any) -> tuple[np.ndarray, int, list[int]]:
    """Time stamps of all frames in order, how long the last one lasts [ticks], and those of the key frames."""
    found: dict[int, int] = {}
    keys = []
    for packet in container.demux(stream):
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or not packet.size or packet.is_discard:
            continue
        found[stamp] = packet.duration or 0
        if packet.is_keyframe:
            keys.append(stamp)
    if not found:
        raise UnreadableVideo("no frames")
    stamps = np.array(sorted(found), dtype=np.int64)
    usual = int(np.median(np.diff(stamps))) if len(stamps) > 1 else 0
    last = found[int(stamps[-1])] or usual
    if not last and stream.average_rate:
        last = round(1 / float(stream.average_rate * stream.time_base))
    return stamps, max(last, 1), keys


def _frames(container: Any, stream: Any, begin: int) -> Iterator[Any]:
    """Frames from the key frame at or before a time stamp on; packets that are damaged are passed over."""
    import av

    container.seek(int(begin), stream=stream)
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


def _stamp(frame: Any) -> int | None:
    stamp: int | None = frame.dts if frame.pts is None else frame.pts
    return stamp


def _first(container: Any, stream: Any, begin: int) -> Any:
    for frame in _frames(container, stream, begin):
        return frame
    raise UnreadableVideo("its frames cannot be decoded")


def _fill(container: Any, stream: Any, wanted: np.ndarray, out: np.ndarray) -> int:
    """Writes the frames shown at ascending time stamps [T] to `out` [T, S, S, 3]; the number that were lost.

    Where seeking leads behind the first of them, as in files without an index, decoding starts anew at the front.
    """
    start = stream.start_time if stream.start_time is not None else 0
    for begin in (int(wanted[0]), min(start, int(wanted[0]))):
        lost = _fill_from(container, stream, begin, wanted, out)
        if lost is not None:
            return lost
    raise UnreadableVideo("its frames cannot be decoded")


def _fill_from(container: Any, stream: Any, begin: int, wanted: np.ndarray, out: np.ndarray) -> int | None:
    """As `_fill`; None where the first frame that comes lies behind the first that is wanted, or none comes."""
    from av.video.reformatter import VideoReformatter

    reformatter, at, lost, held = VideoReformatter(), 0, 0, None
    for frame in _frames(container, stream, begin):
        stamp = _stamp(frame)
        if stamp is None:
            continue
        while at < len(wanted) and wanted[at] < stamp:  # it was to be shown before this one: it is damaged
            if held is None:
                return None
            out[at], at, lost = _canvas(reformatter, held, out.shape[1]), at + 1, lost + 1
        if at < len(wanted) and wanted[at] == stamp:
            out[at], at = _canvas(reformatter, frame, out.shape[1]), at + 1
        held = frame
        if at == len(wanted):
            return lost
    if held is None:
        return None
    out[at:] = _canvas(reformatter, held, out.shape[1])
    return lost + len(wanted) - at


def _canvas(reformatter: Any, frame: Any, side: int) -> np.ndarray:
    """The whole frame squashed to uint8 [S, S, 3], and turned upright."""
    small = reformatter.reformat(frame, side, side, "rgb24", interpolation="BICUBIC", threads=1)
    return np.rot90(small.to_ndarray(), _quarters(frame))


def _quarters(frame: Any) -> int:
    """Counterclockwise quarter turns by which a player turns the frame."""
    return round((frame.rotation or 0) / 90) % 4


def _upright(frame: Any, stream: Any) -> tuple[int, int]:
    """(height, width) as a player shows it, with square pixels [px]."""
    aspect = stream.sample_aspect_ratio
    height, width = frame.height, round(frame.width * float(aspect)) if aspect else frame.width
    return (width, height) if _quarters(frame) % 2 else (height, width)
