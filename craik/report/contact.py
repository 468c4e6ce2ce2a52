"""Contact sheets: nearest neighbors of images, and groups of near-duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from craik.report.style import BAD, GOOD, INK, WIDTH, Picture, fit, frame, label, picture_sheet, show, styled

SIDE = 192  # longer side of a picture on a sheet [px]
MOST = 8  # pictures in a row
NAME_SIZE = 7.5  # type of classes and names [pt]
NAMES = 0.36  # room for them below a picture [inches]


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """An image on a contact sheet."""

    picture: Picture
    """uint8 [H, W, 3], of any size."""
    name: str
    label: str | None = None
    """Its class."""
    score: float | None = None
    """Cosine to the query; None for the query itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A query and what is nearest to it, nearest first."""

    query: Hit
    hits: Sequence[Hit]


@styled
def contact_sheet(found: Sequence[Found], title: str = "Nearest neighbors by cosine of embeddings") -> Figure:
    """One line per query: the query at the left in a dark frame, then its neighbors with their cosines.

    Where classes are known, a green solid frame is the query's class, an orange dashed one another.

    Raises:
        ValueError: If there is nothing to show.
    """
    if not found:
        raise ValueError("a contact sheet wants at least one query")
    columns = 1 + min(MOST, max(len(f.hits) for f in found))
    lines = [line for f in found for line in wrapped(f, columns - 1)]
    figure, axes = picture_sheet(len(lines), columns, title, below=NAMES)
    for (query, hits), places in zip(lines, axes, strict=True):
        if query is not None:
            draw(places[0], query, "query", INK, columns)
        wanted = query_label(found, hits)
        for place, hit in zip(places[1:], hits, strict=False):
            draw(place, hit, "" if hit.score is None else f"{hit.score:.3f}", None, columns)
            if hit.label is not None and wanted is not None:
                same = hit.label == wanted
                frame(place, GOOD if same else BAD, 2.4, "-" if same else "--")
    return figure


def wrapped(found: Found, columns: int) -> list[tuple[Hit | None, Sequence[Hit]]]:
    """A query's neighbors in lines; only the first one shows the query."""
    parts = [found.hits[i : i + columns] for i in range(0, len(found.hits), columns)] or [()]
    return [(found.query if number == 0 else None, part) for number, part in enumerate(parts)]


def query_label(found: Sequence[Found], hits: Sequence[Hit]) -> str | None:
    """The class of the query that these hits belong to."""
    for one in found:
        if any(hit is mine for hit in hits for mine in one.hits):
            return one.query.label
    return None


@styled
def duplicate_sheet(groups: Sequence[Sequence[Hit]], title: str = "Near-duplicates", most: int = 12) -> Figure:
    """One line per group of near-duplicates, at most `most` groups; cosines are to the first of the group.

    Raises:
        ValueError: If there is no group.
    """
    if not groups:
        raise ValueError("there is no group of near-duplicates to draw")
    shown = groups[:most]
    columns = max(6, min(MOST, max(len(group) for group in shown)))
    more = f" (the {len(shown)} largest of {len(groups):,} groups)" if len(groups) > len(shown) else ""
    figure, axes = picture_sheet(len(shown), columns, title + more, below=NAMES)
    for number, (group, places) in enumerate(zip(shown, axes, strict=True), start=1):
        for place, hit in zip(places, group, strict=False):
            text = f"group {number}: {len(group)} images" if hit is group[0] else ""
            draw(
                place, hit, text if hit.score is None else f"{hit.score:.3f}", INK if hit is group[0] else None, columns
            )
    return figure


def draw(axes: Axes, hit: Hit, text: str, color: str | None, columns: int) -> None:
    """One picture as it is, not stretched, with its score above, its class and name below."""
    show(axes, fit(hit.picture, SIDE), text)
    axes.set_anchor("N")
    if color is not None:
        frame(axes, color, 3.0)
    room = 0.85 * 72 * WIDTH / columns
    lines = [hit.name.rsplit("/", 1)[-1]] if hit.label is None else [hit.label, hit.name.rsplit("/", 1)[-1]]
    shown = "\n".join(label(line, 60, room, NAME_SIZE) for line in lines)
    axes.annotate(
        shown,
        (0.5, 0),
        xytext=(0, -4),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=NAME_SIZE,
        color="#444444",
        linespacing=1.15,
    )
