"""Options that several commands share: where labels are, and what to say of the data."""

from dataclasses import dataclass
from typing import Any

from craik.commands.arguments import say


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

    def spec(self, split: str | None = None) -> Any:
        """The LabelSpec, or None when nothing was given."""
        if self.labels is None and self.label_column == "label" and self.split_column is None:
            return None
        from craik.data.labels import LabelSpec

        return LabelSpec(self.labels, self.path_column, self.label_column, self.split_column, split)


def tell(images: Any) -> None:
    """What was read, and what a person should know about it."""
    say(images.summary())
    for note in images.notes:
        say(note)
