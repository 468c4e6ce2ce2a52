"""craik import: other people's recordings as episodes. `import` is a word of Python, hence the name of this file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from craik.commands.arguments import parse, quoted, say
from craik.errors import UsageError

if TYPE_CHECKING:
    from craik.data.episode_writer import Mode


@dataclass(frozen=True, kw_only=True)
class Import:
    """Import recorded trajectories: .npz, HDF5, parquet with one row per step, or a LeRobot folder."""

    source: tyro.conf.Positional[str]
    """File, or folder of files."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of episodes to make."""
    frames_column: str | None = None
    """Name of the frames, where there are several cameras or an unusual name."""
    action_column: str | None = None
    """Name of the actions."""
    state_column: str | None = None
    """Name of the states."""
    size: int | None = None
    """Scale frames to squares of this side [px]."""
    jpeg: bool = False
    """Store frames as JPEG: about a tenth of the space, slower to read."""
    append: bool = False
    """Add to the episodes that the folder holds."""
    overwrite: bool = False
    """Delete the episodes that the folder holds."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Import, arguments, "import")
    if options.append and options.overwrite:
        raise UsageError("--append and --overwrite contradict each other; give one")
    mode: Mode = "append" if options.append else "overwrite" if options.overwrite else "error"
    from craik.collect.bar import Bar
    from craik.data.episode import Episodes
    from craik.data.episode_writer import claim
    from craik.data.imports import import_recording, open_recording
    from craik.data.recording import Columns

    claim(options.out.expanduser(), mode)
    try:
        columns = Columns(
            frames_column=options.frames_column,
            action_column=options.action_column,
            state_column=options.state_column,
            size=options.size,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    recording = open_recording(options.source, columns)
    for note in recording.notes:
        say(note)
    total = len(recording.episodes)
    with Bar(f"importing {options.source}") as bar:
        episodes, frames = import_recording(
            recording,
            options.out,
            mode,
            storage="jpeg" if options.jpeg else "raw",
            advance=lambda done, seen: bar.advance(done, total, seen),
        )
    out = quoted(options.out)
    if options.json:
        row = {"data": str(options.out), "layout": recording.layout, "episodes": episodes, "frames": frames}
        print(json.dumps({**row, "notes": list(recording.notes)}))
    say(Episodes.open(options.out).summary())
    say(f"Next: craik inspect {out}   or   craik train leworldmodel --data {out} --out runs/world")
    return 0
