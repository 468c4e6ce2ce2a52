"""craik search: the images most like a query."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from craik.commands.arguments import parse, quoted, say
from craik.commands.data import place_of, tell
from craik.errors import UsageError

LISTED = 20  # queries that are printed
DRAWN = 12  # queries on the contact sheet


@dataclass(frozen=True, kw_only=True)
class Search:
    """The images, or videos, most like a query, as a list and a contact sheet. Exact cosine search."""

    run: tyro.conf.Positional[str]
    """Run folder, or a model folder."""
    query: tyro.conf.Positional[str]
    """Image file, or a folder of queries."""
    collection: Annotated[str, tyro.conf.arg(name="in")]
    """Images to search: folder, archive or parquet file."""
    top: int = 12
    """Results per query."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("search.png")
    """Contact sheet to write; an older one is replaced."""
    limit: int | None = None
    """Search only so many images."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Search, arguments, "search")
    if options.out.suffix != ".png":
        raise UsageError(f"-o {options.out}: the contact sheet is a PNG; end it in .png")
    if options.top < 1:
        raise UsageError(f"--top {options.top}: ask for at least 1 result")
    from craik import api
    from craik.evaluate.features import extract
    from craik.evaluate.neighbors import centered, search
    from craik.probe_run import Source, hits, read
    from craik.report.contact import Found, contact_sheet
    from craik.report.style import png
    from craik.train.run import write_atomic

    model = api.load(options.run, device=options.device)
    view, clip = model.recipe.view.size, model.recipe.clip
    places = Source(path=options.query), Source(path=options.collection, limit=options.limit)
    queries, images = (read(place, view, clip) for place in places)
    tell(images)
    featurizer = model.featurizer()
    index, asked = extract(featurizer, images, progress=True), extract(featurizer, queries)
    cosines, rows = search(*centered(index, asked), min(options.top, len(images)))
    names = [place_of(options.collection, path) for path in images.paths]
    asked_names = [place_of(options.query, path) for path in queries.paths]
    found = list(zip(asked_names, rows.tolist(), cosines.tolist(), strict=True))
    if options.json:
        print(json.dumps([as_row(query, [names[i] for i in near], scores) for query, near, scores in found]))
    else:
        for query, near, scores in found[:LISTED]:
            print("\n".join([query, *(f"  {s:.3f}  {names[i]}" for i, s in zip(near, scores, strict=True))]))
    asked_for = hits(places[0], queries, range(min(DRAWN, len(queries))))
    sheet = [
        Found(one, hits(places[1], images, near, scores))
        for one, (_, near, scores) in zip(asked_for, found, strict=False)
    ]
    write_atomic(options.out, png(contact_sheet(sheet, f"Nearest neighbors among {len(images):,} images, by cosine")))
    say(f"contact sheet: {options.out}")
    say(f"Next: craik dedup {quoted(options.run)} {quoted(options.collection)}")
    return 0


def as_row(query: str, paths: list[str], scores: list[float]) -> dict[str, object]:
    """One query and its results, for programs."""
    near = [{"path": path, "score": round(score, 4)} for path, score in zip(paths, scores, strict=True)]
    return {"query": query, "results": near}
