"""craik inspect: what is in a data set, and what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import tyro

from craik.commands.arguments import parse, quoted, say
from craik.commands.data import Labels

if TYPE_CHECKING:
    from craik.data.images import ImageData

MOST_CLASSES = 30  # that are printed
MOST_SKIPPED = 20


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Read every image once and tell what is there: counts, sizes, classes, unreadable files and why."""

    path: tyro.conf.Positional[str]
    """Folder, archive, parquet file, hub id, or toy:shapes."""
    labels: Annotated[Labels, tyro.conf.arg(name="")] = field(default_factory=Labels)
    split: str | None = None
    """Split of the data, where it has several."""
    limit: int | None = None
    """Look only at so many images."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Inspect, arguments, "inspect")
    import numpy as np

    from craik.probe_run import Source, read

    source = Source(
        path=options.path,
        labels=options.labels.spec(options.split),
        split=options.split,
        limit=options.limit,
        max_bad_fraction=1.0,
    )
    images = read(source, view=64)
    counts = {}
    if images.labels is not None:
        names = images.class_names or ()
        counts = {names[c]: int(n) for c, n in enumerate(np.bincount(images.labels[images.labels >= 0])) if n}
    if options.json:
        skipped = [{"path": s.path, "reason": s.reason} for s in images.skipped]
        row = {"images": len(images), "classes": counts, "skipped": skipped, "notes": list(images.notes)}
        print(json.dumps({**row, "sizes": {"min": images.sizes.min(0).tolist(), "max": images.sizes.max(0).tolist()}}))
    else:
        show(images, counts)
    say(f"Next: craik train ijepa:tiny --data {quoted(options.path)} --out runs/a   (other recipes: craik recipes)")
    return 0


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
