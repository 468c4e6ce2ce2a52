"""What is in a set of episodes, and what is wrong with it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from craik.data.episode import Episodes
from craik.data.episode_layout import FILES, Moments

PAIRS = 1500  # neighboring frames that are compared
READING_S = 0.5  # how long reading is timed [s]
WINDOW = 4  # frames of a window while it is


@dataclass(frozen=True, slots=True)
class Range:
    """Of a column."""

    name: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found."""

    episodes: int
    frames: int
    shortest: int
    """Frames in an episode."""
    median: int
    longest: int
    frame: tuple[int, int, int]
    storage: str
    disk_bytes: int
    reading: float
    """Frames per second, of random windows."""
    moving: float
    """Share of frames that differ from the frame before."""
    actions: Moments | None
    """Of the actions that can be seen; None without actions, and where they are discrete."""
    counts: tuple[int, ...]
    """How often each discrete action was taken."""
    open_ends: int
    """Episodes with N - 1 actions for N frames."""
    nan_actions: int
    nan_states: int
    nan_rewards: int
    states: tuple[Range, ...]
    lags: tuple[float, float, float] | None
    """Correlation of the size of an action with the change of the frame before it, after it, and one later."""
    problems: tuple[str, ...]
    """What a person should look at."""


def survey(episodes: Episodes, seed: int = 0) -> Survey:
    """Looks at every number, and at some of the frames."""
    data, lengths = episodes, episodes.lengths
    known, lost, ends = _actions(data)
    rng = np.random.default_rng(seed)
    moving, lags = _motion(data, rng)
    counts = np.bincount(known[:, 0].astype(np.int64), minlength=data.action_size) if data.discrete else ()
    found = Survey(
        episodes=len(data),
        frames=data.num_frames,
        shortest=int(lengths.min()),
        median=int(np.median(lengths)),
        longest=int(lengths.max()),
        frame=data.layout.frame,
        storage=data.layout.storage,
        disk_bytes=sum((data.folder / f).stat().st_size for f in FILES if (data.folder / f).is_file()),
        reading=_speed(data, rng),
        moving=moving,
        actions=None if data.actions is None or data.discrete else Moments.of(known),
        counts=tuple(int(n) for n in counts),
        open_ends=ends,
        nan_actions=lost,
        nan_states=0 if data.states is None else int(np.isnan(data.states[data.every_row]).any(axis=1).sum()),
        nan_rewards=0 if data.rewards is None else int(np.isnan(data.rewards[data.every_row[~_last(data)]]).sum()),
        states=_ranges(data),
        lags=lags,
        problems=(),
    )
    return replace(found, problems=tuple(_doubts(found, data)))


def _last(data: Episodes) -> np.ndarray:
    """Which of the rows are the last of their episode, bool [frames]."""
    last = np.zeros(data.num_frames, dtype=bool)
    last[np.cumsum(data.lengths) - 1] = True
    return last


def _actions(data: Episodes) -> tuple[np.ndarray, int, int]:
    """Actions between two frames that are numbers [n, A], how many are not, and how many episodes end without one."""
    if data.actions is None:
        return np.empty((0, 1), dtype=np.float32), 0, 0
    last, values = _last(data), data.actions[data.every_row]
    good = np.isfinite(values).all(axis=1)
    return values[good & ~last], int((~good & ~last).sum()), int((~good & last).sum())


def _ranges(data: Episodes) -> tuple[Range, ...]:
    if data.states is None:
        return ()
    values = data.states[data.every_row]
    names = data.layout.state_names or ()
    some = [(name, column[np.isfinite(column)]) for name, column in zip(names, values.T, strict=True)]
    return tuple(Range(name, float(c.min()), float(c.max())) for name, c in some if len(c))


def _motion(data: Episodes, rng: np.random.Generator) -> tuple[float, tuple[float, float, float] | None]:
    """Share of neighboring frames that differ, and which actions go with the change."""
    pairs = data.every_row[~_last(data)]
    if not len(pairs):
        return 0.0, None
    rows = np.sort(rng.choice(pairs, min(PAIRS, len(pairs)), replace=False))
    before, after = data.frames.read(rows), data.frames.read(rows + 1)
    change = np.abs(after.astype(np.int16) - before).reshape(len(rows), -1)
    moving = float((change.max(axis=1) > (0 if data.layout.storage == "raw" else 16)).mean())
    if data.actions is None or data.discrete:
        return moving, None
    inner = np.isin(rows - 1, pairs) & np.isin(rows + 1, pairs)  # an action before, and one after, in the same episode
    if inner.sum() < 50:
        return moving, None
    scale = np.nanstd(data.actions[pairs], axis=0) + 1e-9
    sizes = [np.linalg.norm(data.actions[rows[inner] + lag] / scale, axis=1) for lag in (1, 0, -1)]
    mean = change[inner].mean(axis=1)
    if mean.std() < 1e-9 or any(not np.isfinite(size).all() or size.std() < 1e-9 for size in sizes):
        return moving, None
    first, second, third = (float(np.corrcoef(size, mean)[0, 1]) for size in sizes)
    return moving, (first, second, third)


def _speed(data: Episodes, rng: np.random.Generator) -> float:
    """Frames per second, of random windows, read in batches of 32."""
    room = np.maximum(data.lengths - WINDOW + 1, 0)
    if not room.any():
        return 0.0
    frames, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < READING_S:
        episode = rng.choice(len(data), 32, p=room / room.sum())
        start = data.table[episode, 0] + rng.integers(room[episode])
        frames += data.frames.read(start[:, None] + np.arange(WINDOW)).shape[0] * WINDOW
    return frames / passed


def _doubts(found: Survey, data: Episodes) -> Iterator[str]:
    """What a person should look at, and what to do about it."""
    last = data.layout.origins[-1] if data.layout.origins else None
    if last is not None and (last.wanted or 0) > data.layout.episodes:
        yield f"the collection is not finished, {data.layout.episodes:,} of {last.wanted:,} episodes: start it again"
    if found.nan_actions:
        yield f"{found.nan_actions:,} actions between two frames are NaN: training refuses them, leave the episodes out"
    if found.nan_rewards:
        yield f"{found.nan_rewards:,} rewards are NaN"
    if found.nan_states:
        yield f"{found.nan_states:,} states have NaN: a probe cannot use these columns"
    if found.shortest < WINDOW:
        short = int((data.lengths < WINDOW).sum())
        yield f"{short:,} episodes have fewer than {WINDOW} frames: they are too short for windows of {WINDOW}"
    if found.moving < 0.5:
        yield f"only {found.moving:.0%} of the frames differ from the one before: a frame skip may help"
    if found.actions is not None:
        still = [i for i, s in enumerate(found.actions.std) if s < 1e-6]
        if still:
            yield f"action {', '.join(map(str, still))} never changes, so its effect cannot be learned"
        space = data.layout.action
        if space is not None and space.low is not None and space.high is not None:
            outside = np.less(found.actions.low, np.array(space.low) - 1e-4).any()
            if outside or np.greater(found.actions.high, np.array(space.high) + 1e-4).any():
                yield "some actions lie outside the bounds that the environment has"
    if found.lags is not None and max(found.lags[0], found.lags[2]) > max(found.lags[1], 0.0) + 0.15:
        late = found.lags[2] > found.lags[0]
        yield (
            f"the frame changes one step {'after' if late else 'before'} the action that goes with it (correlation "
            f"{max(found.lags[0], found.lags[2]):.2f}, in place {found.lags[1]:.2f}): actions[t] has to be the one "
            "between frame t and t+1; shift the actions and import again"
        )
