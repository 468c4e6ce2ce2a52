"""craik recipes: the methods and their variants."""

import json
from dataclasses import asdict, dataclass

from craik.commands.arguments import parse, say


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """The methods that come with Craik, and their variants."""

    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command; loads no torch."""
    options = parse(Recipes, arguments, "recipes")
    from craik.recipes import listing

    rows = listing()
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    width = max(len(f"{row.name}:{name}") for row in rows for name, _ in row.variants)
    for row in rows:
        print(f"{row.name}  {row.title}")
        for name, purpose in row.variants:
            print(f"  {f'{row.name}:{name}':<{width}}  {purpose}")
    say("Every number of one: craik train ijepa:tiny --help. Your own file works too: craik train ./mine.py:variant")
    say("Next: craik train ijepa:tiny --data toy:shapes --out runs/a")
    return 0
