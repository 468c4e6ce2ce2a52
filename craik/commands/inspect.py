"""craik inspect: what is in a data set, and what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from craik.commands.arguments import parse, quoted, say
from craik.commands.data import Labels
from craik.errors import UsageError

if TYPE_CHECKING:
    from craik.data.episode import Episodes
    from craik.data.episode_survey import Survey
    from craik.data.images import ImageData
    from craik.data.video_survey import Times

MOST_CLASSES = 30  # that are printed
MOST_SKIPPED = 20
MOST_COLUMNS = 20
SHEET = (6, 8)  # episodes and frames of each on a contact sheet


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Tell what data holds, and what is wrong with it: every image or video, or episodes and their actions."""

    path: tyro.conf.Positional[str]
    """Folder, archive, table, hub id, toy:shapes, toy:digits or toy:physics; or a folder of episodes."""
    labels: Annotated[Labels, tyro.conf.arg(name="")] = field(default_factory=Labels)
    split: str | None = None
    """Split of the data, where it has several."""
    limit: int | None = None
    """Look only at so many images or videos."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Contact sheet of episodes or videos to write (.png); an older one is replaced."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Inspect, arguments, "inspect")
    from craik.data.episode_layout import is_episodes
    from craik.data.source import holds_videos

    if options.out is not None and options.out.suffix != ".png":
        raise UsageError(f"-o {options.out}: the contact sheet is a PNG; end it in .png")
    if is_episodes(options.path):
        return inspect_episodes(options)
    if holds_videos(options.path):
        return inspect_videos(options)
    if options.out is not None:
        raise UsageError(f"-o {options.out}: contact sheets are drawn of episodes and videos; {options.path} has none")
    return inspect_images(options)


def inspect_images(options: Inspect) -> int:
    """Read every image once."""
    from craik.probe_run import Source, read

    source = Source(
        path=options.path,
        labels=options.labels.spec(options.split),
        split=options.split,
        limit=options.limit,
        max_bad_fraction=1.0,
    )
    images = read(source, view=64)
    counts = count_classes(images)
    if options.json:
        skipped = [{"path": s.path, "reason": s.reason} for s in images.skipped]
        row = {"images": len(images), "classes": counts, "skipped": skipped, "notes": list(images.notes)}
        print(json.dumps({**row, "sizes": {"min": images.sizes.min(0).tolist(), "max": images.sizes.max(0).tolist()}}))
    else:
        show(images, counts)
    say(f"Next: craik train ijepa:tiny --data {quoted(options.path)} --out runs/a   (other recipes: craik recipes)")
    return 0


def inspect_videos(options: Inspect) -> int:
    """Read the time stamps of every video, and some of the frames."""
    from craik.data.clip import Clip
    from craik.data.video_survey import measure
    from craik.probe_run import Source, read

    source = Source(
        path=options.path,
        labels=options.labels.spec(options.split),
        split=options.split,
        limit=options.limit,
        max_bad_fraction=1.0,
    )
    # A clip of one frame: nothing is too short for it.
    videos = read(source, view=128, clip=Clip(1, 1.0))
    found, counts = measure(videos), count_classes(videos)
    if options.json:
        skipped = [{"path": s.path, "reason": s.reason} for s in videos.skipped]
        row = {"videos": len(videos), "classes": counts, "skipped": skipped, "notes": list(videos.notes)}
        print(json.dumps({**row, **asdict(found)}))
    else:
        show(videos, counts)
        show_times(found)
    if options.out is not None:
        draw_videos(videos, options.out)
        say(f"contact sheet: {options.out}")
    say(f"Next: craik train vjepa:tiny --data {quoted(options.path)} --out runs/a   (other recipes: craik recipes)")
    return 0


def show_times(found: Times) -> None:
    """How long videos are, at which rates, and in which coding, for people."""
    low, middle, high = found.seconds
    print(f"length: {low:.2f} to {high:.2f} s, median {middle:.2f}; together {found.total_s / 60:,.1f} min")
    low, middle, high = found.fps
    print(f"frames per second: {low:.4g} to {high:.4g}, median {middle:.4g}")
    for name, count in found.codecs:
        print(f"  {count:>8,}  {name}")
    if found.unsteady:
        print(f"  {found.unsteady:,} with a variable frame rate")
    if found.damaged:
        print(f"  {len(found.damaged):,} with damage in the middle, such as {found.damaged[0]}")
    if found.reading:
        print(f"reading: {found.reading:,.0f} clips/s of 16 frames, decoded at the rate of the file")


def count_classes(images: ImageData) -> dict[str, int]:
    """How many there are of each class."""
    import numpy as np

    if images.labels is None:
        return {}
    names = images.class_names or ()
    return {names[c]: int(n) for c, n in enumerate(np.bincount(images.labels[images.labels >= 0])) if n}


def draw_videos(videos: ImageData, out: Path) -> None:
    """A contact sheet of some videos: frames spread over each."""
    from craik.data.video_survey import stills
    from craik.report.episodes import episode_sheet
    from craik.report.style import png, spread_over
    from craik.train.run import write_atomic

    chosen = spread_over(len(videos), SHEET[0])
    frames, seconds = zip(*(stills(videos, row, SHEET[1]) for row in chosen), strict=True)
    texts = [[f"{Path(videos.paths[row]).name}, {t:.1f} s" for t in s] for row, s in zip(chosen, seconds, strict=True)]
    pictures = [list(strip) for strip in frames]
    write_atomic(out, png(episode_sheet(pictures, texts, f"{len(chosen)} of {len(videos):,} videos")))


def show(images: ImageData, counts: dict[str, int]) -> None:
    """What was found, for people."""
    print(images.summary())
    low, high = images.sizes.min(0), images.sizes.max(0)
    print(f"sizes: {low[1]}x{low[0]} to {high[1]}x{high[0]} (width x height)")
    for name, count in sorted(counts.items(), key=lambda item: -item[1])[:MOST_CLASSES]:
        print(f"  {count:>8,}  {name}")
    for skipped in images.skipped[:MOST_SKIPPED]:
        print(f"  unreadable: {skipped.path}: {skipped.reason}")
    for suffix, count in images.ignored.others[:MOST_SKIPPED]:
        print(f"  ignored: {count:,} x {suffix}")
    for note in images.notes:
        say(note)


def inspect_episodes(options: Inspect) -> int:
    """Look at the numbers of all episodes, and at some of the frames."""
    from craik.data.episode import Episodes
    from craik.data.episode_survey import survey

    episodes = Episodes.open(options.path)
    found = survey(episodes)
    if options.json:
        origins = [asdict(origin) for origin in episodes.layout.origins]
        print(json.dumps({**asdict(found), "fingerprint": episodes.fingerprint, "origins": origins}))
    else:
        show_episodes(episodes, found)
    for problem in found.problems:
        say(f"look at this: {problem}")
    if options.out is not None:
        draw(episodes, options.out)
        say(f"contact sheet: {options.out}")
    say(
        f"Next: craik train leworldmodel:tiny --data {quoted(options.path)} --out runs/world   (recipes: craik recipes)"
    )
    return 0


def show_episodes(episodes: Episodes, found: Survey) -> None:
    """What was found, for people."""
    print(episodes.summary())
    print(f"lengths: {found.shortest} to {found.longest} frames, median {found.median}")
    speed = f"{found.reading:,.0f} frames/s in random windows" if found.reading else "too short to time"
    print(f"stored: {found.storage}, {found.disk_bytes / 1e6:,.1f} MB; reading: {speed}")
    print(f"moving: {found.moving:.1%} of the frames differ from the one before")
    show_actions(episodes, found)
    for state in found.states[:MOST_COLUMNS]:
        print(f"  state {state.name:<16} {state.low:>10.4g} to {state.high:<10.4g}")
    for origin in episodes.layout.origins:
        policy = f", {origin.policy} policy, seed {origin.seed}" if origin.policy else ""
        print(f"from episode {origin.first:,}: {origin.source}{policy}")


def show_actions(episodes: Episodes, found: Survey) -> None:
    """The actions, for people."""
    if episodes.layout.action is None:
        print("no actions: a model can be trained on frames alone, and cannot plan")
        return
    ends = f"{found.open_ends:,} of {found.episodes:,} episodes have N-1 actions for N frames, the others N"
    print(f"{episodes.layout.action}, actions[t] between frame t and t+1; {ends}")
    if found.counts:
        print("  taken: " + ", ".join(f"{i}: {n:,}" for i, n in enumerate(found.counts[:MOST_COLUMNS])))
    if found.actions is None:
        return
    print("  action        mean         std      lowest     highest   (z-score: subtract mean, divide by std)")
    rows = list(zip(found.actions.mean, found.actions.std, found.actions.low, found.actions.high, strict=True))
    for number, row in enumerate(rows[:MOST_COLUMNS]):
        print(f"  {number:>6} " + " ".join(f"{value:>11.4g}" for value in row))


def draw(episodes: Episodes, out: Path) -> None:
    """A contact sheet of some episodes."""
    import numpy as np

    from craik.report.episodes import episode_sheet
    from craik.report.style import png, spread_over
    from craik.train.run import write_atomic

    chosen = spread_over(len(episodes), SHEET[0])
    at = [spread_over(int(episodes.lengths[i]), SHEET[1]) for i in chosen]
    frames = [list(episodes.frames.read(episodes.rows(i)[np.array(t)])) for i, t in zip(chosen, at, strict=True)]
    texts = [[f"episode {episodes.numbers[i]}, t {t}" for t in times] for i, times in zip(chosen, at, strict=True)]
    write_atomic(out, png(episode_sheet(frames, texts, f"{len(chosen)} of {len(episodes):,} episodes")))
