"""craik dedup: groups of near-duplicates."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from craik.commands.arguments import parse, quoted, say
from craik.commands.data import place_of, tell
from craik.errors import UsageError

DRAWN = 12  # groups on the contact sheet


@dataclass(frozen=True, kw_only=True)
class Dedup:
    """Groups of images whose features are nearly the same. Nothing is deleted."""

    run: tyro.conf.Positional[str]
    """Run folder, or a model folder."""
    images: tyro.conf.Positional[str]
    """Folder, archive or parquet file."""
    threshold: float = 0.98
    """Cosine similarity of centered features from which two images count as the same, in (0, 1]."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Contact sheet of the largest groups to write (.png); an older one is replaced."""
    limit: int | None = None
    """Look only at so many images."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Dedup, arguments, "dedup")
    if not 0 < options.threshold <= 1:
        raise UsageError(f"--threshold {options.threshold} is no cosine similarity in (0, 1]; try 0.98")
    if options.out is not None and options.out.suffix != ".png":
        raise UsageError(f"-o {options.out}: the contact sheet is a PNG; end it in .png")
    from craik import api
    from craik.evaluate.features import extract
    from craik.evaluate.neighbors import near_duplicates
    from craik.probe_run import Source, hits, read
    from craik.report.contact import duplicate_sheet
    from craik.report.style import png
    from craik.train.run import write_atomic

    model = api.load(options.run, device=options.device)
    place = Source(path=options.images, limit=options.limit)
    images = read(place, model.recipe.view.size, model.recipe.clip)
    tell(images)
    groups = near_duplicates(extract(model.featurizer(), images, progress=True), options.threshold)
    named = [[place_of(options.images, images.paths[i]) for i in group] for group in groups]
    if options.json:
        print(json.dumps(named))
    else:
        for group in named:
            print("\n  ".join(group))
    extra = sum(len(group) - 1 for group in groups)
    found = f"groups: {len(groups):,}, images more than needed: {extra:,}"
    say(
        f"{found}, at cosine {options.threshold:g}" if groups else f"no near-duplicates at cosine {options.threshold:g}"
    )
    if options.out is not None and groups:
        title = f"Near-duplicates: the largest of {len(groups):,} groups, cosine at least {options.threshold}"
        sheet = duplicate_sheet([hits(place, images, group) for group in groups[:DRAWN]], title)
        write_atomic(options.out, png(sheet))
        say(f"contact sheet: {options.out}")
    again = f"craik dedup {quoted(options.run)} {quoted(options.images)}"
    if groups:
        say(f"Next: look at the groups: {again} -o groups.png   or, if they are too loose: --threshold 0.99")
    else:
        say(f"Next: look for looser ones: {again} --threshold 0.95")
    return 0
