"""craik search: the images most like a query."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from craik.commands.arguments import parse, say
from craik.commands.data import tell


@dataclass(frozen=True, kw_only=True)
class Search:
    """The images most like a query, as a list and a contact sheet. Exact cosine search."""

    run: tyro.conf.Positional[str]
    """Run folder, or a model folder."""
    query: tyro.conf.Positional[str]
    """Image file, or a folder of queries."""
    collection: Annotated[str, tyro.conf.arg(name="in")]
    """Images to search: folder, archive or parquet file."""
    top: int = 12
    """Results per query."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("search.png")
    """Contact sheet to write."""
    limit: int | None = None
    """Search only so many images."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Search, arguments, "search")
    from craik import api
    from craik.evaluate.features import extract
    from craik.evaluate.neighbors import centered, search
    from craik.probe_run import Source, read
    from craik.report.neighbors import write_neighbors

    model = api.load(options.run, device=options.device)
    view = model.recipe.view.size
    images = read(Source(path=options.collection, limit=options.limit), view)
    tell(images)
    queries = read(Source(path=options.query), view)
    featurizer = model.featurizer()
    index, asked = extract(featurizer, images, progress=True), extract(featurizer, queries)
    scores, found = search(*centered(index, asked), min(options.top, len(images)))
    rows = [
        {
            "query": str(queries.paths[q]),
            "results": [
                {"path": str(images.paths[i]), "score": round(float(s), 4)}
                for i, s in zip(found[q].tolist(), scores[q].tolist(), strict=True)
            ],
        }
        for q in range(len(queries))
    ]
    write_neighbors(options.out, queries, images, found, scores)
    if options.json:
        print(json.dumps(rows))
    else:
        for row in rows[:20]:
            print(row["query"])
            for result in row["results"]:
                print(f"  {result['score']:.3f}  {result['path']}")
    say(f"contact sheet: {options.out}")
    say(f"Next: craik dedup {options.run} {options.collection}")
    return 0
