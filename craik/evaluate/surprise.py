"""Surprise over time: how far what comes next is from what a model of videos expected.

A window slides over the frames. The model sees the first of them, its context, and predicts the representation of all
that follow; surprise is the mean absolute difference to what its target encoder, which reads the whole window, makes
of them. The number alone says little: it is read beside the band of ordinary clips (`calibrate`).

Source: Garrido et al. 2025, "Intuitive physics understanding emerges from self-supervised pretraining on natural
videos" (arXiv 2502.11831): windows of 16 frames, 2, 4, 6, 8 or 10 of them context, stride 2.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from craik.core.batch import Batch, Part
from craik.core.jepa import Latents
from craik.core.mask import Mask
from craik.core.precision import full_precision
from craik.core.tokens import Grid
from craik.data.augment import normalize
from craik.data.view import as_volume, center_square
from craik.errors import UsageError

STRIDE = 2  # frames from one window to the next
EIGHTHS = (1, 2, 3, 4, 5)  # of a window that the published contexts have
LEVEL = 0.99  # share of ordinary windows that lie below the threshold
Frame = NDArray[np.uint8] | Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Onlooker:
    """A model that expects what comes next, as far as surprise is concerned; `onlooker` makes one of a loaded model."""

    latents: Callable[[Batch], Latents]
    """Predictions and goals of a batch, as `Recipe.latents` gives them."""
    grid: Grid
    """Tokens (t, h, w) of a window."""
    frames: int
    """Of a window T."""
    side: int
    """Of the square that the model sees [px]."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    device: torch.device | str = "cpu"

    @property
    def tubelet(self) -> int:
        """Frames of a token."""
        return self.frames // self.grid.shape[0]

    @property
    def contexts(self) -> tuple[int, ...]:
        """Published context lengths [frames], of a window of this length and rounded up to whole tokens."""
        wanted = {-(-self.frames * k // (8 * self.tubelet)) * self.tubelet for k in EIGHTHS}
        return tuple(sorted(c for c in wanted if c < self.frames))

    def check(self, context: int) -> None:
        """Refuse a context that is not made of whole tokens, or leaves nothing to predict.

        Raises:
            UsageError: If it is such.
        """
        if not 0 < context < self.frames or context % self.tubelet:
            raise UsageError(
                f"a context of {context} frames: give a multiple of {self.tubelet} below {self.frames}, such as "
                f"{', '.join(map(str, self.contexts))}"
            )

    @torch.inference_mode()
    def look(self, windows: Tensor, contexts: Sequence[int]) -> list[Tensor]:
        """Error of every token that is predicted, for each context length.

        Args:
            windows: uint8, or float in [0, 1], [B, T, 3, H, W]; seen through the center square.
            contexts: Frames that are seen.

        Returns:
            For each context float32 [B, t, h, w] on the CPU, t tokens of time long: absolute difference between
            prediction and goal, mean over features.
        """
        x = normalize(center_square(windows.to(self.device), self.side), self.mean, self.std)
        masks = tuple(past_and_future(self.grid, c // self.tubelet, len(x)).to(x.device) for c in contexts)
        seen = self.latents(Batch((Part(as_volume(x), masks),)))
        maps = []
        for pred, goal in zip(seen.pred, seen.goal, strict=True):
            error = (full_precision(pred[:, 0]) - full_precision(goal.x)).abs().mean(-1)  # [B, K]
            maps.append(error.unflatten(1, (-1, *self.grid.shape[1:])).float().cpu())
        return maps

    def __call__(self, windows: Tensor, contexts: Sequence[int]) -> Tensor:
        """Surprise at windows [B, T, 3, H, W], mean over all that is predicted, [B, C]."""
        return torch.stack([error.flatten(1).mean(1) for error in self.look(windows, contexts)], 1)


def onlooker(model: Any) -> Onlooker:
    """The onlooker of a model that `craik.load` gave.

    Raises:
        UsageError: If it is not a model of videos that predicts what is hidden.
    """
    recipe = model.recipe
    if recipe.clip is None:
        raise UsageError(
            f"{model.source} ({model.name}) was not trained on videos, so it expects nothing of them. Train one: "
            "craik train vjepa2:tiny --data CLIPS --out runs/video. A world model has its own test in: craik report RUN"
        )
    if recipe.latents is None:
        raise UsageError(f"{model.source} ({model.name}) predicts nothing, so nothing can surprise it: use vjepa2")
    frames, view = recipe.clip.frames, recipe.view
    grid = model.encoder.grid((frames, view.size, view.size))
    latents = partial(recipe.latents, recipe.model)
    return Onlooker(latents, grid, frames, view.size, view.mean, view.std, model.device)


def past_and_future(grid: Grid, seen: int, batch: int) -> Mask:
    """All tokens of the first `seen` times of a grid (t, h, w) as context, all later ones as target."""
    first = seen * grid.num_tokens // grid.shape[0]
    everything = torch.arange(grid.num_tokens).expand(batch, -1)
    return Mask(everything[:, :first], everything[:, None, first:])


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """What one window says. Frames are counted from 0, the first of the stream."""

    begin: int
    """First frame of the window, and of the context."""
    first: int
    """First frame that was predicted."""
    stop: int
    """One behind the last frame that was predicted."""
    surprise: float
    """Mean of `patches` [1]."""
    patches: Tensor
    """Error of each token that was predicted, float32 [t, h, w]."""
    tubelet: int
    """Frames of a token."""
    held: int = 0
    """Frames by which the stream was too short for a window: its last one was held for so long."""


def over_time(
    who: Onlooker,
    frames: Iterable[Frame],
    *,
    context: int | None = None,
    stride: int = STRIDE,
    together: int = 1,
) -> Iterator[Moment]:
    """Surprise at each window of a stream of frames, as soon as it is full.

    No more than a window and `together` x stride frames are held, however long the stream is. Up to stride - 1 frames
    at its end fill no window. A stream shorter than a window is judged by what there is of it: its last frame is held
    for the target encoder, and tokens that show nothing else do not count.

    Args:
        who: Who looks.
        frames: uint8 [H, W, 3] arrays, as cameras give them, or tensors [3, H, W], all of one size, as many per second
            as the model was trained with.
        context: Frames seen of each window; by default half of it, in whole tokens.
        stride: Frames from one window to the next.
        together: Windows looked at in one go; above 1 is faster on files, and later on a live stream.

    Raises:
        UsageError: A context or a stride out of range, or a stream with nothing to predict.
    """
    seen = middle(who) if context is None else context
    who.check(seen)
    if stride < 1 or together < 1:
        raise UsageError(f"stride {stride}, {together} windows together: give at least 1")
    waiting: list[tuple[int, Tensor, int]] = []
    for window in windows(frames, who.frames, stride):
        waiting.append(window)
        if len(waiting) == together:
            yield from moments(who, waiting, seen)
            waiting = []
    if waiting:
        yield from moments(who, waiting, seen)


def middle(who: Onlooker) -> int:
    """Half of a window, in whole tokens [frames]."""
    return max(1, who.grid.shape[0] // 2) * who.tubelet


def windows(frames: Iterable[Frame], length: int, stride: int) -> Iterator[tuple[int, Tensor, int]]:
    """First frame, frames [T, 3, H, W], and the number of frames held at the end, of each window of a stream."""
    kept: deque[Tensor] = deque(maxlen=length)
    count = 0
    for frame in frames:
        kept.append(as_tensor(frame))
        count += 1
        if count >= length and (count - length) % stride == 0:
            yield count - length, torch.stack(list(kept)), 0
    if 0 < count < length:
        yield 0, torch.stack([*kept, *[kept[-1]] * (length - count)]), length - count


def as_tensor(frame: Frame) -> Tensor:
    """A frame as a tensor [3, H, W] of its own memory: a camera may write over its buffer."""
    if isinstance(frame, np.ndarray):
        frame = torch.from_numpy(np.array(frame)).movedim(-1, 0)
    if frame.ndim != 3 or frame.shape[0] not in (1, 3):
        raise UsageError(f"a frame of shape {list(frame.shape)}: give uint8 arrays [H, W, 3] or tensors [3, H, W]")
    return frame


def moments(who: Onlooker, some: Sequence[tuple[int, Tensor, int]], context: int) -> Iterator[Moment]:
    """Surprise at some windows.

    Raises:
        UsageError: If a stream has ended within the context.
    """
    (maps,) = who.look(torch.stack([frames for _, frames, _ in some]), [context])
    for (begin, _, held), patches in zip(some, maps, strict=True):
        there = who.frames - held - context
        if there <= 0:
            raise UsageError(
                f"{who.frames - held} frames, and the model is to see {context} before it predicts: give a longer "
                "clip, a shorter context (--context), or more frames per second (--fps)"
            )
        real = patches[: -(-there // who.tubelet)]
        yield Moment(begin, begin + context, begin + context + there, float(real.mean()), real, who.tubelet, held)


@dataclass(frozen=True, slots=True)
class Band:
    """What ordinary windows surprise a model by."""

    low: float
    """As many lie below as lie above `high`."""
    median: float
    high: float
    """The threshold: a share of `level` lies below."""
    patch_median: float
    """Of single tokens."""
    patch_high: float
    """A share of `level` of single tokens lies below."""
    level: float
    num_windows: int

    @property
    def settled(self) -> bool:
        """Whether there were windows enough for at least two to be expected above the threshold."""
        return round(self.num_windows * (1 - self.level), 6) >= 2


def calibrate(who: Onlooker, ordinary: Iterable[Tensor], *, context: int | None = None, level: float = LEVEL) -> Band:
    """The band of ordinary clips, which should not have been trained on.

    Args:
        who: Who looks.
        ordinary: Windows [B, T, 3, H, W], as `Onlooker.look` takes them, batch after batch.
        context: As for `over_time`.
        level: Share of them below the threshold.

    Raises:
        UsageError: If there are fewer than 8 windows, or level is no share.
    """
    if not 0.5 < level < 1:
        raise UsageError(f"level {level:g}: give a share of ordinary windows above 0.5 and below 1, such as {LEVEL}")
    found = [who.look(some, [middle(who) if context is None else context])[0] for some in ordinary]
    if sum(map(len, found)) < 8:
        raise UsageError(f"{sum(map(len, found))} ordinary windows tell no band: give at least 8")
    patches = torch.cat(found).double()
    at = torch.tensor([1 - level, 0.5, level], dtype=torch.float64)
    low, median, high = torch.quantile(patches.flatten(1).mean(1), at).tolist()
    _, patch_median, patch_high = np.quantile(patches.numpy(), at.numpy()).tolist()
    return Band(low, median, high, patch_median, patch_high, level, len(patches))


@dataclass(frozen=True, slots=True)
class Event:
    """Windows in a row above a threshold."""

    begin: int
    """First frame predicted by the first of them."""
    stop: int
    """One behind the last frame of the last of them."""
    peak: int
    """First frame of the token of time that surprised most, in the window that surprised most."""
    surprise: float
    """Of that window."""
    y: float
    """Center of its most surprising patch, as a fraction of the square that the model sees, from above."""
    x: float
    """From the left."""


def events(stream: Iterable[Moment], threshold: float) -> Iterator[Event]:
    """Runs of moments above a threshold, each as soon as it is over; holds two moments at most."""
    begin, stop, peak = 0, 0, None
    for moment in stream:
        if moment.surprise > threshold:
            begin, stop = (moment.first if peak is None else begin), moment.stop
            peak = moment if peak is None or moment.surprise > peak.surprise else peak
        elif peak is not None:
            yield event(begin, stop, peak)
            peak = None
    if peak is not None:
        yield event(begin, stop, peak)


def event(begin: int, stop: int, peak: Moment) -> Event:
    """An event of which the window that surprised most is known."""
    time = int(peak.patches.mean((1, 2)).argmax())
    _, height, width = peak.patches.shape
    row, column = divmod(int(peak.patches[time].argmax()), width)
    y, x = (row + 0.5) / height, (column + 0.5) / width
    return Event(begin, stop, peak.first + time * peak.tubelet, peak.surprise, y, x)


class HeatMap:
    """Error of each patch in each frame, mean over all windows that predicted it."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._counts: list[int] = []

    def add(self, moment: Moment) -> None:
        """Count a window in."""
        for frame in range(moment.first, moment.stop):
            while len(self._sums) <= frame:
                self._sums.append(torch.zeros(moment.patches.shape[1:]))
                self._counts.append(0)
            self._sums[frame] += moment.patches[(frame - moment.first) // moment.tubelet]
            self._counts[frame] += 1

    def of(self, frame: int) -> Tensor | None:
        """Errors [h, w] of a frame; None where it was never predicted."""
        known = frame < len(self._counts) and self._counts[frame] > 0
        return self._sums[frame] / self._counts[frame] if known else None
