"""Small episodes whose frames say where they are from: pixel (0, 0) holds episode, frame and zero."""

from pathlib import Path

import numpy as np

from craik.data.episode import Episodes
from craik.data.episode_layout import Storage
from craik.data.episode_writer import Writer
from craik.data.trajectory import Trajectory


def make(number: int, num: int, *, side: int = 8, columns: bool = True) -> Trajectory:
    """An episode of `num` frames; actions[t] is (number, t), states[t] is (number, t, 7), rewards[t] is t."""
    frames = np.zeros((num, side, side, 3), dtype=np.uint8)
    frames[:, :, :, 0], frames[:, :, :, 1] = number, np.arange(num)[:, None, None]
    frames[:, :, :, 2] = np.arange(side)[:, None]  # rows differ from columns
    actions = np.stack([np.full(num - 1, number), np.arange(num - 1)], axis=1).astype(np.float32)
    if not columns:
        return Trajectory(frames, actions)
    states = np.stack([np.full(num, number), np.arange(num), np.full(num, 7)], axis=1)
    return Trajectory(frames, actions, states, np.arange(num - 1), np.arange(num - 1) == num - 2)


def write(folder: Path, lengths: tuple[int, ...] = (5, 9, 3), storage: Storage = "raw") -> Episodes:
    """Episodes of these lengths."""
    with Writer(folder, storage=storage, quality=95) as writer:
        for number, num in enumerate(lengths):
            writer.add(make(number, num))
    return Episodes.open(folder)
