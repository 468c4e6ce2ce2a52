"""craik report: pictures and one HTML file."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from craik.commands.arguments import parse, quoted, say


@dataclass(frozen=True, kw_only=True)
class Report:
    """Pictures of a run and one self-contained HTML file; works while the run is going on."""

    run: tyro.conf.Positional[Path]
    """Run folder."""
    data: str | None = None
    """Images, or episodes for a world model, to show where they are not the run's own."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Report, arguments, "report")
    from craik.report_run import report

    page = report(options.run, data=options.data, device=options.device)
    if options.json:
        media = sorted(str(p) for p in (options.run / "media").glob("*.png"))
        print(json.dumps({"report": str(page), "media": media}))
    say(f"{page}: open it in a browser; single pictures are in {options.run / 'media'}")
    run = quoted(options.run)
    if page_of_world(options.run):
        say(f"Next: craik plan {run} --env ENV   or   craik plan {run} --data EPISODES")
    else:
        say(f"Next: craik probe {run} --train PATH --test PATH   or   craik embed {run} PATH -o FILE.npz")
    return 0


def page_of_world(run: Path) -> bool:
    """Whether the report is one of a world model."""
    from craik.report.page import is_world
    from craik.report.record import Record

    return is_world(Record.read(run))
