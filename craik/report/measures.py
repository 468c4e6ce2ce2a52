"""Key measures of a run, each beside what it has to be compared with, and the verdict in plain words."""

import math
from dataclasses import dataclass
from enum import StrEnum

from craik.report.record import Alarm, Record

MACHINE = ("data starvation", "throughput drop")
"""Alarms about the machine rather than about the model."""
NUM_QUERIES = 500
"""Queries that the score of a training run is measured on."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number as text, beside its baseline."""

    name: str
    first: str
    """At the first check: what random weights give."""
    last: str
    """At the last check."""
    reading: str
    """How to read it, in a few words."""


class Level(StrEnum):
    """How a run stands."""

    good = "good"
    unclear = "unclear"
    bad = "bad"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The run in a sentence or two."""

    level: Level
    title: str
    text: str


def measures(record: Record) -> list[Measure]:
    """What the last health check saw, beside the first one or the random encoder."""
    rows = [*scores(record), *foresight(record), *spread(record), *prediction(record)]
    loss = record.last("loss")
    if loss is not None:
        rows.append(
            Measure("Loss", number(record.first("loss")), number(loss), "not a quality signal: collapse lowers it")
        )
    return rows


def scores(record: Record) -> list[Measure]:
    """Scores with a random encoder beside them."""
    rows = []
    for name, title, reading in (
        ("knn", "kNN accuracy", "held-out images; labels serve for this number alone"),
        ("agreement", "Crop agreement", "nearest neighbor of a crop is the other crop of the same image"),
    ):
        last, random = record.last(name), record.last(f"{name}_random")
        if last is not None:
            rows.append(Measure(title, "n/a" if random is None else f"{random:.1%}", f"{last:.1%}", reading))
    return rows


def foresight(record: Record) -> list[Measure]:
    """What a world model imagines, beside a world that stands still; and what its latents know of the state."""
    rows = []
    for ahead in record.ahead:
        error, still = (number(record.last(f"ahead_{ahead}{which}")) for which in ("", "_copy"))
        reading = f"over the variance of held-out latents, open loop; of a world that stands still: {still}"
        rows.append(Measure(f"Error {ahead} ahead", number(record.first(f"ahead_{ahead}")), error, reading))
    known = record.last("state_r2")
    if known is not None:
        random = number(record.last("state_r2_random"))
        rows.append(Measure("State, R^2", random, number(known), "ridge regression on latents, held-out episodes"))
    return rows


def spread(record: Record) -> list[Measure]:
    """How spread out embeddings are."""
    wanted = (
        ("effective_rank", "Effective rank", "directions in use; towards 1 is collapse"),
        ("relative_std", "Relative std", "spread between images over token size; towards 0 is collapse"),
    )
    return [
        Measure(title, number(record.first(name)), number(record.last(name)), reading)
        for name, title, reading in wanted
        if record.last(name) is not None
    ]


def prediction(record: Record) -> list[Measure]:
    """How the predictor and its targets do."""
    rows = []
    ratio = record.last("error_ratio")
    if ratio is not None:
        first = number(record.first("error_ratio"))
        rows.append(
            Measure(
                "Predictor error ratio",
                first,
                number(ratio),
                "over the best guess that ignores the image; below 1 is useful",
            )
        )
    between = record.last("target_between_samples")
    if between is not None:
        first_between = record.first("target_between_samples") or 0.0
        reading = "share of target variance that tells images apart; near 0 is position-only"
        rows.append(Measure("Target variance, images", f"{first_between:.1%}", f"{between:.1%}", reading))
    return rows


def number(value: float | None) -> str:
    """A number with three significant digits."""
    if value is None:
        return "n/a"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def verdict(record: Record, active: frozenset[str] | None = None) -> Verdict:
    """The run in plain words.

    Args:
        record: The run.
        active: Names of the failures that still hold at the last check; None takes every alarm ever raised.
    """
    names = {alarm.name for alarm in record.alarms}
    active = frozenset(names) if active is None else active & names
    model = [alarm for alarm in newest(record.alarms) if alarm.name in active and alarm.name not in MACHINE]
    if model:
        when = ", ".join(f"{a.name} (step {a.step:,})" for a in model)
        return Verdict(
            Level.bad, f"Alarm: {' and '.join(a.name for a in model)}", f"Raised: {when}. See the cures below."
        )
    if record.last("effective_rank") is None:
        return Verdict(Level.unclear, "Too early to say", "No health check was recorded yet.")
    history = sentence_on_past(record, names - set(MACHINE)) + sentence_on_machine(active)
    return compared(record, history)


def compared(record: Record, history: str) -> Verdict:
    """The verdict on a run without a model alarm, by its score beside that of the random encoder."""
    for name, title in (("knn", "kNN accuracy"), ("agreement", "crop agreement")):
        last, random = record.last(name), record.last(f"{name}_random")
        if last is None or random is None:
            continue
        beside = f"{title} is {last:.1%}, {random:.1%} for a random encoder."
        if record.series(name).steps.max() == 0:
            text = f"The only check so far was before the first step: {beside} {history}"
            return Verdict(Level.unclear, "Too early to say", text.strip())
        if last - random > noise(random):
            return Verdict(Level.good, "Healthy", f"No alarm holds, and {beside} {history}".strip())
        where = "below" if random - last > noise(random) else "within noise of"
        text = f"No alarm holds, but {beside} That is {where} what random weights give. {history}"
        return Verdict(Level.unclear, "No alarm, and no clear gain over a random encoder", text.strip())
    if record.last("state_r2") is not None or record.ahead:
        return of_world(record, history)
    text = f"No alarm holds. No score was recorded, so nothing says yet what was learned: craik probe tells. {history}"
    return Verdict(Level.unclear, "No alarm", text.strip())


def of_world(record: Record, history: str) -> Verdict:
    """The verdict on a world model without an alarm: what its latents know, and whether it sees ahead."""
    said, good = [], []
    known, random = record.last("state_r2"), record.last("state_r2_random")
    if known is not None and random is not None:
        said.append(f"latents hold {known:.1%} of the true state's variance, those of random weights {random:.1%}")
        good.append(known > random + 0.05)
    if record.ahead:
        far = record.ahead[-1]
        error, still = record.last(f"ahead_{far}"), record.last(f"ahead_{far}_copy")
        if error is not None and still is not None:
            said.append(
                f"the error {far} steps ahead is {number(error)}, that of a world that stands still {number(still)}"
            )
            good.append(error < still)
    measured = record.series("state_r2" if known is not None else f"ahead_{record.ahead[0]}").steps.max()
    beside = f"{'; '.join(said)}. {history}".strip()
    if measured == 0 or not said:
        return Verdict(Level.unclear, "Too early to say", f"The only check so far was before the first step: {beside}")
    if all(good):
        return Verdict(Level.good, "Healthy", f"No alarm holds, and {beside}")
    title = "No alarm, and no clear gain over standing still and random weights"
    return Verdict(Level.unclear, title, f"No alarm holds, but {beside}")


def noise(score: float, num: int = NUM_QUERIES) -> float:
    """Two standard errors of a share that was measured on `num` queries."""
    return 2 * math.sqrt(max(score * (1 - score), 1e-4) / num)


def sentence_on_past(record: Record, names: set[str]) -> str:
    """Alarms that are over."""
    over = [alarm for alarm in newest(record.alarms) if alarm.name in names]
    if not over:
        return ""
    return (
        "Raised on the way and over by the last check: " + ", ".join(f"{a.name} (step {a.step:,})" for a in over) + ". "
    )


def sentence_on_machine(active: frozenset[str]) -> str:
    """What slowed the machine down."""
    slow = [name for name in MACHINE if name in active]
    return f"The machine, not the model: {' and '.join(slow)}." if slow else ""


def newest(alarms: list[Alarm]) -> list[Alarm]:
    """The last alarm of each name, in order of their steps."""
    return sorted({alarm.name: alarm for alarm in alarms}.values(), key=lambda alarm: alarm.step)
