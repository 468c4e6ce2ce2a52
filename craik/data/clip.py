"""Clips: which frames of a video are looked at. Pure arithmetic on time stamps."""

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from craik.data.video import Track


class Rule(Enum):
    """How frames are picked."""

    TIME = "time"
    """By time stamps: the frame that is on the screen every 1 / fps seconds, whatever the frame rate of the file."""
    VJEPA = "vjepa"
    """As V-JEPA picks them, by frame numbers: frames are floor(ceil(rate) / fps) apart, stretched so that the last lies
    at the end of the window, and a short file repeats its last frame."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Clips that a model of videos is trained on and used with."""

    frames: int
    """Frames of a clip T."""
    fps: float = 4.0
    """Frames per second of the clip, not of the file."""
    per_file: int = 1
    """Clips of a file in each epoch, each from its own equal part of the places where one can begin."""
    rule: Rule = Rule.TIME
    """How frames are picked."""
    repeat: bool = False
    """Let files that are too short hold their last frame; otherwise they are skipped and counted. The rule of V-JEPA
    always does. A still image lasts as long as one likes."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.per_file < 1 or not 0 < self.fps < math.inf:
            raise ValueError(f"clips of {self.frames} frames at {self.fps:g} fps, {self.per_file} a file: use above 0")

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return (self.frames - 1) / self.fps

    def places(self, track: Track) -> int:
        """How many frames of a file a clip can begin at; 0 where it is too short."""
        if self.rule is Rule.VJEPA:
            return max(1, len(track) - self.frames * frame_step(track, self.fps) + 1)
        if track.still:
            return 1
        latest = track.end - self.seconds / track.tick - tolerance(track)
        fitting = int(np.searchsorted(track.stamps, latest, side="right"))
        return max(fitting, 1) if self.repeat else fitting

    def pick(self, track: Track, place: float) -> np.ndarray:
        """Numbers of the frames of a clip, int64 [T], ascending.

        Args:
            track: The file.
            place: Where the clip begins among all places where it can, in [0, 1).

        Raises:
            ValueError: If the file is too short.
        """
        count = self.places(track)
        if not count:
            raise ValueError(f"{track.seconds:.2f} s are too short for {self.frames} frames at {self.fps:g} fps")
        first = min(int(place * count), count - 1)
        if self.rule is Rule.VJEPA:
            return pick_as_vjepa(len(track), self.frames, frame_step(track, self.fps), first)
        return pick_by_time(track, self.frames, self.fps, first)


def pick_by_time(track: Track, frames: int, fps: float, first: int) -> np.ndarray:
    """Frames that are on the screen every 1 / fps seconds from frame `first` on, int64 [T].

    A frame counts as on the screen half a frame early, as time stamps are rounded: without that, every other clip of
    30 frames per second in a file that counts milliseconds would show a frame twice and leave one out.
    """
    wanted = track.stamps[first] + np.arange(frames) / (fps * track.tick)
    shown = np.searchsorted(track.stamps, wanted + min(tolerance(track), 0.5 / (fps * track.tick)), side="right") - 1
    return np.clip(shown, first, len(track) - 1).astype(np.int64)


def tolerance(track: Track) -> float:
    """Half of the usual time between two frames [ticks]."""
    gap = float(np.median(np.diff(track.stamps))) if len(track) > 1 else float(track.end - track.stamps[0])
    return gap / 2


def frame_step(track: Track, fps: float) -> int:
    """Frames of the file from one of the clip to the next, as V-JEPA 2 counts: floor(ceil(rate) / fps), at least 1."""
    rate = round(track.fps, 6)  # 30.000000001 is no 31
    return max(1, math.floor(math.ceil(rate) / fps))


def pick_as_vjepa(count: int, frames: int, step: int, first: int) -> np.ndarray:
    """Frame numbers as V-JEPA draws them, int64 [T].

    The window has frames * step frames of the file, and its first and last point are both taken: the distance is
    step * T / (T - 1), a little more than the step. A shorter file gives a frame each step and repeats the last one.

    Args:
        count: Frames of the file.
        frames: Frames of the clip T.
        step: Frames of the file from one to the next.
        first: Where the window begins.
    """
    length = frames * step
    if count >= length:
        return np.clip(np.linspace(first, first + length, frames), first, first + length - 1).astype(np.int64)
    fitting = max(1, count // step)
    numbers = np.full(frames, count - 1, dtype=np.int64)
    numbers[:fitting] = np.clip(np.linspace(0, count, fitting), 0, count - 1).astype(np.int64)
    return numbers
