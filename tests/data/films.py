"""Video files for tests, written with PyAV: each frame tells its number by its brightness."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'craik[video]'")

CODECS = {".mp4": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4", ".gif": "gif"}
STEP = 6  # brightness from one frame to the next


def write_film(
    path: Path,
    frames: int = 40,
    *,
    fps: int = 20,
    size: tuple[int, int] = (64, 48),
    gop: int = 10,
    times_ms: list[int] | None = None,
    turned: int | None = None,
    aspect: Fraction | None = None,
    offset: int = 0,
) -> Path:
    """A video of (width, height) `size` px; its frame t has brightness offset + 6 t and a white upper left corner.

    Args:
        path: its suffix chooses container and codec.
        frames: how many.
        fps: frames per second.
        size: width and height [px].
        gop: frames from one key frame to the next.
        times_ms: when each frame is shown, instead of at a constant rate [ms].
        turned: counterclockwise turn by which a player has to turn it [degrees].
        aspect: width over height of a pixel.
        offset: brightness of the first frame.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix], rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if path.suffix == ".gif" else "yuv420p"
        stream.gop_size = gop
        if CODECS[path.suffix] == "libx264":
            stream.options = {"qp": "1"}  # small steps of brightness are not to be lost
        if aspect is not None:
            stream.sample_aspect_ratio = aspect
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if turned is not None:
            stream.set_display_rotation(turned)
        for number in range(frames):
            image = np.full((size[1], size[0], 3), min(offset + STEP * number, 255), dtype=np.uint8)
            image[: size[1] // 2, : size[0] // 2] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """Half a second of silence, and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        for number in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, 1024 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers_in(frames: np.ndarray) -> list[int]:
    """Which frames these are, uint8 [T, S, S, 3], by their brightness in the lower right corner."""
    side = frames.shape[1]
    gray = frames[:, 3 * side // 4 :, 3 * side // 4 :].mean((1, 2, 3))
    return np.rint(gray / STEP).astype(int).tolist()
