"""Surprise of a run over a video: figures, a table, and pictures."""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from craik.api import Model
from craik.data.clip import Clip
from craik.errors import UsageError
from craik.evaluate.surprise import Band, Event, HeatMap, Moment, Onlooker, events, middle, onlooker, over_time
from craik.evaluate.surprise_reel import Reel, ordinary_band
from craik.report.annotated import canvases, write_video
from craik.report.heat_film import MOST, Cell, Curve, Ordinary, heat_film
from craik.report.style import png, spread_over
from craik.report_run.planned import model_data
from craik.train.run import Json, write_atomic

FOLDER = "surprise"
TOGETHER = 8  # windows looked at in one go


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """How to look at videos."""

    who: Onlooker
    clip: Clip
    """Rate and rule by which frames are picked."""
    context: int
    """Frames seen of a window."""
    stride: int
    """Frames from window to window."""
    band: Band | None
    threshold: float | None
    """Above it is an event; that of the band, unless it was given."""


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """What was found in a video."""

    reel: Reel
    moments: list[Moment]
    """Without their patches, which are in `heat`."""
    events: list[Event]
    heat: HeatMap

    def seconds(self, frame: float) -> float:
        """When a frame is shown, from the first one on [s]."""
        return frame / self.reel.fps

    @property
    def most(self) -> Moment:
        """The window that surprised most."""
        return max(self.moments, key=lambda moment: moment.surprise)

    @property
    def rows(self) -> list[Json]:
        """A row per window: frames counted from 0, of the rate at which the model looks, and seconds."""
        return [
            {
                "window_s": round(self.seconds(m.begin), 4),
                "predicted_from_s": round(self.seconds(m.first), 4),
                "predicted_to_s": round(self.seconds(m.stop), 4),
                "surprise": m.surprise,
            }
            for m in self.moments
        ]

    @property
    def event_rows(self) -> list[Json]:
        """Events, in seconds."""
        return [
            {
                "clip": self.reel.name,
                "begin_s": round(self.seconds(e.begin), 4),
                "end_s": round(self.seconds(e.stop), 4),
                "peak_s": round(self.seconds(e.peak), 4),
                "surprise": e.surprise,
                "x": e.x,
                "y": e.y,
            }
            for e in self.events
        ]

    def to_json(self, asked: Asked) -> Json:
        """Everything but the patches."""
        return {
            "clip": self.reel.name,
            "fps": self.reel.fps,
            "frames": len(self.reel),
            "held_frames": self.moments[0].held,
            "window": asked.who.frames,
            "context": asked.context,
            "stride": asked.stride,
            "threshold": asked.threshold,
            "ordinary": None if asked.band is None else asdict(asked.band),
            "windows": self.rows,
            "events": self.event_rows,
        }


def ask(
    model: Model,
    *,
    context: int | None,
    stride: int,
    fps: float | None,
    ordinary: str | None,
    split: str | None,
    level: float,
    threshold: float | None,
    calibrated: bool = True,
) -> tuple[Asked, list[str]]:
    """How to look at videos, and what a person should know about it.

    The band is of `ordinary`; without it of the run's own data: of the validation split of a toy, else of clips that
    were trained on.

    Raises:
        UsageError: The model cannot be surprised, a context out of range, ordinary clips that cannot be read.
    """
    who = onlooker(model)
    seen = middle(who) if context is None else context
    who.check(seen)
    clip = model.recipe.clip
    assert clip is not None  # an onlooker has been made of it
    clip = clip if fps is None else replace(clip, fps=fps)
    band, notes = None, list[str]()
    source, own = (ordinary, False) if ordinary is not None else (model_data(model), True)
    if calibrated and source is not None:
        toy = own and source.startswith("toy:")
        try:
            band, of_what = ordinary_band(who, source, clip, split="val" if toy else split, context=seen, level=level)
            notes.append(f"ordinary: {of_what}")
            if own and not toy:
                notes.append("The run was trained on these, so the band may be low: --ordinary CLIPS that it never saw")
            if not band.settled:
                notes.append(
                    f"{band.num_windows} windows are few for a threshold that {level:.0%} of them stay below: "
                    "give more ordinary clips, or a lower --level"
                )
        except UsageError as error:
            if not own:
                raise
            notes.append(f"no band: the data of the run cannot be read ({error})")
    if band is None and threshold is None:
        notes.append("Without a band nothing says which surprise is high: give ordinary clips with --ordinary PATH")
    if threshold is None and band is not None:
        threshold = band.high
    return Asked(who, clip, seen, stride, band, threshold), notes


def watch(asked: Asked, reel: Reel) -> Watched:
    """Look at a whole video; it is read once, piece by piece.

    Raises:
        UsageError: If it is damaged, or ends within the first context.
    """
    heat, kept = HeatMap(), list[Moment]()

    def stream() -> Iterator[Moment]:
        looking = over_time(asked.who, reel.frames(), context=asked.context, stride=asked.stride, together=TOGETHER)
        for moment in looking:
            heat.add(moment)
            kept.append(replace(moment, patches=moment.patches[:0]))
            yield moment

    limit = float("inf") if asked.threshold is None else asked.threshold
    try:
        found = list(events(stream(), limit))
    except UsageError as error:
        text = str(error)
        raise UsageError(text if text.startswith(reel.name) else f"{reel.name}: {text}") from None
    return Watched(reel, kept, found, heat)


def curve_of(asked: Asked, seen: Watched) -> Curve:
    """The curve of a video, for pictures."""
    band = asked.band
    return Curve(
        name=Path(seen.reel.name).name,
        seconds=[seen.seconds((m.first + m.stop) / 2) for m in seen.moments],
        surprise=[m.surprise for m in seen.moments],
        end=seen.seconds(len(seen.reel)),
        ordinary=None if band is None else Ordinary(band.low, band.median, band.high, band.level),
        threshold=asked.threshold,
        events=[(seen.seconds(e.begin), seen.seconds(e.stop)) for e in seen.events],
    )


def heat_range(asked: Asked, seen: Watched) -> tuple[float, float]:
    """Errors of a patch that are drawn gray and in the strongest color.

    From the median of ordinary patches, or of this video's, to the greatest error here; but no less than what ordinary
    patches hardly ever reach, so that an ordinary video stays gray.
    """
    values = [m for m in (seen.heat.of(frame) for frame in range(len(seen.reel))) if m is not None]
    patches = np.concatenate([v.numpy().ravel() for v in values])
    if asked.band is None:
        return float(np.median(patches)), float(patches.max())
    return asked.band.patch_median, max(asked.band.patch_high, float(patches.max()))


def cells(seen: Watched) -> Iterator[Cell]:
    """Every frame with its heat; the video is read once more."""
    for number, frame in enumerate(seen.reel.frames()):
        heat = seen.heat.of(number)
        yield Cell(seen.seconds(number), frame, None if heat is None else heat.numpy())


def draw(asked: Asked, seen: Watched, folder: Path, stem: str) -> list[Path]:
    """Write film strip and annotated video; the files."""
    curve, (low, high) = curve_of(asked, seen), heat_range(asked, seen)
    shown = set(frames_to_show(seen))
    strip = [cell for number, cell in enumerate(cells(seen)) if number in shown]
    film = folder / f"{stem}.png"
    write_atomic(film, png(heat_film(curve, strip, low, high)))
    pictures = canvases(curve, cells(seen), low, high)
    return [film, write_video(folder / f"{stem}.mp4", pictures, seen.reel.fps, len(seen.reel))]


def frames_to_show(seen: Watched) -> list[int]:
    """Frames spread over the video, some of them moved to where an event was at its peak."""
    chosen = spread_over(len(seen.reel), MOST)
    for event in sorted(seen.events, key=lambda e: -e.surprise)[: MOST // 3]:
        nearest = min(range(len(chosen)), key=lambda i: abs(chosen[i] - event.peak))
        chosen[nearest] = event.peak
    return sorted(set(chosen))


def write_table(seen: Watched, path: Path) -> Path:
    """Surprise over time as CSV, a row per window."""
    buffer = io.StringIO()
    writer: Any = csv.DictWriter(buffer, fieldnames=list(seen.rows[0]))
    writer.writeheader()
    writer.writerows(seen.rows)
    write_atomic(path, buffer.getvalue())
    return path
