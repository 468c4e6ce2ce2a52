"""Frames of video files, through PyAV: the optional part of imports that needs `craik[video]`."""

from pathlib import Path

import numpy as np

from craik.errors import UsageError


def require_video(what: str) -> None:
    """Tells early, before any work, that PyAV is missing.

    Raises:
        UsageError: It is.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        raise UsageError(f"{what}; reading them needs PyAV: pip install 'craik[video]'") from None


def read_video(path: Path, begin_s: float, end_s: float, fps: float) -> np.ndarray:
    """The frames of a video from `begin_s` to before `end_s`, uint8 [N, H, W, 3].

    Args:
        path: The file.
        begin_s: Time of the first frame [s].
        end_s: Time behind the last frame [s]; may be infinite.
        fps: Frames per second, for the tolerance of half a frame.

    Raises:
        UsageError: The file is missing or cannot be decoded, or has no such frames.
    """
    import av

    slack = 0.5 / fps
    frames = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if begin_s > 1.0 and stream.time_base is not None:
                container.seek(int((begin_s - slack) / stream.time_base), stream=stream)  # to the key frame before
            for frame in container.decode(stream):
                if frame.time is None or frame.time < begin_s - slack:
                    continue
                if frame.time >= end_s - slack:
                    break
                frames.append(frame.to_ndarray(format="rgb24"))
    except (OSError, IndexError, av.error.FFmpegError) as error:
        raise UsageError(f"{path}: not a readable video ({error}). Download the data set again.") from None
    if not frames:
        raise UsageError(f"{path}: no frame from {begin_s:g} to {end_s:g} s. Download the data set again.")
    return np.stack(frames)
