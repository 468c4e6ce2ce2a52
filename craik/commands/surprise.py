"""craik surprise: where in a video something happens that the model did not expect."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from craik.commands.arguments import parse, quoted, say
from craik.errors import UsageError

if TYPE_CHECKING:
    from craik import api
    from craik.report_run.surprised import Asked, Watched


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """Surprise over time: a window slides over a video, its beginning is seen, and the rest is predicted.

    Surprise is the mean absolute difference between what was predicted and what came, in the features of the target
    encoder. What is high is told by ordinary clips. Each video gives a table (csv), a film strip (png) and an annotated
    video (mp4). With --physics, no video: pairs of possible and impossible clips, beside an untrained model and pixels.
    """

    run: tyro.conf.Positional[Path]
    """Run folder of a video model, or a model folder."""
    clips: tyro.conf.Positional[tuple[str, ...]] = ()
    """Videos; or videos of a toy, such as "toy:physics?n=4&clips=both"."""
    ordinary: str | None = None
    """Ordinary videos, best never trained on, that tell what is high: a folder, archive or toy. By default the run's
    own data."""
    split: str | None = None
    """Split of the ordinary videos, where they have several."""
    level: float = 0.99
    """Share of ordinary windows that lie below the threshold."""
    threshold: float | None = None
    """Above it is an event, in place of the threshold from ordinary videos; prints events as JSON."""
    context: int | None = None
    """Frames seen of each window; by default half of it."""
    stride: int = 2
    """Frames from one window to the next."""
    fps: float | None = None
    """Frames per second at which videos are looked at; by default those that the model was trained with."""
    no_pictures: bool = False
    """Write the table alone."""
    physics: bool = False
    """Intuitive physics: relative accuracy for each property, with 95 %% intervals."""
    pairs: int = 40
    """Pairs of clips of each property, with --physics; as many others choose the context."""
    seed: int = 0
    """Of the scenes and resamples of --physics."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder to write to; RUN/surprise by default."""
    json: bool = False
    """Print everything as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Surprise, arguments, "surprise")
    run = quoted(options.run)
    if options.physics == bool(options.clips):
        raise UsageError(
            f"which videos? craik surprise {run} CLIP.mp4; or pairs of clips drawn for the purpose, and no video: "
            f"craik surprise {run} --physics"
        )
    from craik import api

    model = api.load(options.run, device=options.device)
    folder = options.out or options.run / "surprise"
    if options.physics:
        return physics(options, model, folder)
    return videos(options, model, folder)


def videos(options: Surprise, model: api.Model, folder: Path) -> int:
    """Surprise over each video."""
    from craik.evaluate.surprise_reel import open_reels
    from craik.report_run.surprised import ask, draw, watch, write_table

    asked, notes = ask(
        model,
        context=options.context,
        stride=options.stride,
        fps=options.fps,
        ordinary=options.ordinary,
        split=options.split,
        level=options.level,
        threshold=options.threshold,
    )
    for note in notes:
        say(note)
    taken: set[str] = set()
    found = []
    for path in options.clips:
        for reel in open_reels(path, asked.clip, model.recipe.view.size):
            seen = watch(asked, reel)
            found.append(seen)
            stem = free_stem(Path(reel.name).stem, taken)
            files = [write_table(seen, folder / f"{stem}.csv")]
            if not options.no_pictures:
                files += draw(asked, seen, folder, stem)
            tell(options, asked, seen, files)
    if options.json:
        print(json.dumps([seen.to_json(asked) for seen in found]))
    elif options.threshold is not None:
        print(json.dumps([row for seen in found for row in seen.event_rows]))
    say(f"Next: craik surprise {quoted(options.run)} --physics, what the model knows of what cannot be")
    return 0


def tell(options: Surprise, asked: Asked, seen: Watched, files: list[Path]) -> None:
    """What was found in a video; on standard error where standard output is for a program."""
    line = say if options.json or options.threshold is not None else print
    reel, most = seen.reel, seen.most
    num = f"{len(seen.moments)} {'window' if len(seen.moments) == 1 else 'windows'}"
    line(
        f"{reel.name}: {len(reel) / reel.fps:.2f} s, {len(reel)} frames at {reel.fps:.4g} fps, {num} of "
        f"{asked.who.frames} frames, {asked.context} of them seen"
    )
    if most.held:
        line(
            f"  shorter than a window: its last frame was held {most.held} times for the target encoder, and only what "
            "is in the video counts"
        )
    mean = sum(moment.surprise for moment in seen.moments) / len(seen.moments)
    line(
        f"  surprise {mean:.3f} on average, {most.surprise:.3f} at most, predicting "
        f"{seen.seconds(most.first):.2f} to {seen.seconds(most.stop):.2f} s"
    )
    if asked.band is not None:
        band = asked.band
        line(f"  ordinary {band.median:.3f}, {band.level:.0%} of windows below {band.high:.3f}")
    if asked.threshold is not None:
        line(f"  {len(seen.events)} {'event' if len(seen.events) == 1 else 'events'} above {asked.threshold:.3f}")
    for event in seen.events:
        line(
            f"    {seen.seconds(event.begin):.2f} to {seen.seconds(event.stop):.2f} s, most at "
            f"{seen.seconds(event.peak):.2f} s, {event.surprise:.3f}, at {event.x:.0%} from the left and "
            f"{event.y:.0%} from the top"
        )
    line(f"  written: {', '.join(str(path) for path in files)}")


def free_stem(stem: str, taken: set[str]) -> str:
    """The stem, or the first of stem-2, stem-3, ... that no other video of this call has."""
    number, free = 1, stem
    while free in taken:
        number += 1
        free = f"{stem}-{number}"
    taken.add(free)
    return free


def physics(options: Surprise, model: api.Model, folder: Path) -> int:
    """Pairs of possible and impossible clips."""
    from rich.console import Console

    from craik.evaluate.surprise import onlooker
    from craik.evaluate.surprise_pairs import copy_last, extrapolate, physics_test
    from craik.train.run import write_atomic

    who = onlooker(model)
    contexts = who.contexts
    if options.context is not None:
        who.check(options.context)
        contexts = (options.context,)
    report = physics_test(
        {
            "trained": who,
            "untrained": onlooker(model.untrained()),
            "pixels, copy": copy_last,
            "pixels, extrapolate": extrapolate,
        },
        window=who.frames,
        contexts=contexts,
        size=model.recipe.view.size,
        num=options.pairs,
        seed=options.seed,
        watch=say,
    )
    path = folder / f"physics-{options.seed}.json"
    write_atomic(path, json.dumps(report.to_json(), indent=1) + "\n")
    if options.json:
        print(json.dumps(report.to_json()))
    else:
        console = Console(highlight=False)
        for table in report.tables():
            console.print(table)
        for line in report.lines():
            console.print(line, markup=False, soft_wrap=True)
    say(f"all figures: {path}")
    say(f'Next: craik surprise {quoted(options.run)} "toy:physics?n=14&clips=both", to see some of these clips')
    return 0
