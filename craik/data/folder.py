"""Images or videos in a folder of any layout."""

import os
from collections.abc import Iterator
from pathlib import Path

from craik.data.listing import IMAGES, Entry, Medium, Source, from_listing, is_hidden, list_files
from craik.errors import UsageError


def open_folder(path: Path, name: str, split: str | None, medium: Medium = IMAGES) -> Source:
    """Lists the files of a medium below `path`; links to folders are followed, what is hidden is left alone.

    Raises:
        UsageError: no such file; no such split; a folder that cannot be listed.
    """
    hidden = 0
    entries = []
    for found in _walk(path):
        if found is None:
            hidden += 1
        else:
            entries.append(found)

    def head(entry: Entry) -> bytes:
        with open(path / entry.name, "rb") as file:
            return file.read(16)

    listing = list_files(entries, head, medium, hidden)
    return from_listing(name, listing, lambda e: path / e.name, str(path.resolve()), split)


def _walk(root: Path) -> Iterator[Entry | None]:
    """Every regular file that is not hidden; None for each hidden folder or file."""
    seen, pending = set(), [(root, "")]
    while pending:
        folder, prefix = pending.pop()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue  # a link that leads back
        seen.add((status.st_dev, status.st_ino))
        for item in _list(folder):
            if is_hidden(item.name):
                yield None
            elif item.is_dir():
                pending.append((folder / item.name, f"{prefix}{item.name}/"))
            elif item.is_file():
                status = item.stat()
                yield Entry(prefix + item.name, status.st_size, time=status.st_mtime_ns)


def _list(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return list(items)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed ({error.strerror}). Make it readable: chmod +rx") from None
