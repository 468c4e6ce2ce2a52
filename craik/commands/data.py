"""Options that several commands share: where labels are, and what to say of the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from craik.commands.arguments import say

if TYPE_CHECKING:
    from craik.data.images import ImageData
    from craik.data.labels import LabelSpec


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels, where the data itself does not have them as sub-folders or a column."""

    labels: str | None = None
    """File with labels (csv, tsv, json, parquet)."""
    path_column: str = "path"
    """Column of the labels file that names the image."""
    label_column: str = "label"
    """Column with the class."""
    split_column: str | None = None
    """Column of the labels file that names the split."""

    def spec(self, split: str | None = None) -> LabelSpec | None:
        """Where labels are; None when nothing was given."""
        if self.labels is None and self.label_column == "label" and self.split_column is None:
            return None
        from craik.data.labels import LabelSpec

        return LabelSpec(self.labels, self.path_column, self.label_column, self.split_column, split)


def tell(images: ImageData) -> None:
    """What was read, and what a person should know about it."""
    say(images.summary())
    for skipped in images.skipped[:3]:
        say(f"  unreadable: {skipped.path}: {skipped.reason}")
    for note in images.notes:
        say(note)


def place_of(source: str, name: str) -> str:
    """The name of an image as a path that can be opened from here, where it is a file of its own."""
    root = Path(source).expanduser()
    if root.is_file() and root.name == name:
        return str(root)
    return str(root / name) if root.is_dir() and (root / name).is_file() else name
