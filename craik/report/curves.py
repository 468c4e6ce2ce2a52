"""Curves of a run: what the loss cannot tell, with bands that say what is healthy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from craik.report.measures import MACHINE
from craik.report.record import Alarm, Record, Series
from craik.report.style import BAD, CYCLE, GOOD, INK, RANDOM, TRAINED, headline, sheet, styled

Draw = Callable[[Axes, Record], None]
FEW = 40  # points up to which each one is marked


@dataclass(frozen=True, slots=True)
class Panel:
    """A small plot, drawn only where the run recorded one of its quantities."""

    needs: tuple[str, ...]
    title: str
    unit: str
    draw: Draw


@styled
def curves(record: Record, width: int | None = None) -> Figure:
    """All curves of a run over its steps.

    Args:
        record: The run; also one that is still training.
        width: Features per embedding D, the most the rank can reach.

    Raises:
        ValueError: If nothing was recorded yet.
    """
    panels = [p for p in panels_of(width) if any(len(record.finite(name)) for name in p.needs)]
    if not panels:
        raise ValueError(f"{record.path} has no metrics yet; there is nothing to draw")
    rows = -(-len(panels) // 2)
    alarms = record.alarms
    figure, axes = sheet(rows, 2, 2.75 * rows + 0.6 + 0.25 * len(alarms))
    headline(figure, f"{record.method}: {progress(record)}")
    for place, panel in zip(axes.flat, panels, strict=False):
        place.set_title(panel.title, pad=15 if alarms else 6)
        place.set_ylabel(panel.unit)
        panel.draw(place, record)
        finish(place, record, alarms)
    for place in axes.flat[len(panels) :]:
        place.set_visible(False)
    if alarms:
        figure.supxlabel(alarm_key(alarms), x=0.01, ha="left", fontsize=9.5, color=BAD)
    return figure


def panels_of(width: int | None) -> list[Panel]:
    """The plots in their order."""
    of = "" if width is None else f" of {width}"
    return [
        Panel(("loss",), "Loss and its terms (not a quality signal)", "loss [1]", draw_loss),
        Panel(("effective_rank",), f"Effective rank{of}: directions in use", "rank [directions]", draw_rank),
        Panel(("relative_std", "std_median"), "Spread of embeddings between images", "std [1]", draw_std),
        Panel(("knn", "agreement"), "Score beside the random encoder", "share [%]", draw_score),
        Panel(("ahead_1",), "Error of imagined latents, open loop", "over the variance [1]", draw_ahead),
        Panel(("state_r2",), "True state, read from the latents", "R^2 [%]", draw_state),
        Panel(("error_ratio",), "Predictor error over that of trivial guesses", "ratio [1]", draw_error),
        Panel(("target_between_samples",), "What the target's variance tells", "share [%]", draw_targets),
        Panel(("grad_norm",), "Gradient norm", "norm [1]", draw_gradient),
        Panel(("target_distance",), "Distance of target from encoder", "relative distance [1]", draw_distance),
        Panel(("lr",), "Learning rate", "learning rate [1]", draw_schedule),
        Panel(("rate",), "Speed, and time spent waiting for data", "samples/s", draw_rate),
    ]


def progress(record: Record) -> str:
    """How far the run is."""
    total = "" if record.total is None else f" of {record.total:,}"
    return f"{record.step:,}{total} steps"


def finish(axes: Axes, record: Record, alarms: list[Alarm]) -> None:
    """What all plots share: the step axis, alarm lines, a legend where there is something to name."""
    end = max(record.step, 1)
    axes.set_xlim(-0.02 * end, 1.02 * end)
    axes.set_xlabel("optimizer step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for group in crowded(alarms, 0.05 * end):
        for number in group:
            axes.axvline(alarms[number].step, color=BAD, linestyle=(0, (4, 2)), linewidth=1.3, zorder=1.5)
        place = float(np.mean([alarms[number].step for number in group]))
        text: dict[str, Any] = {"fontsize": 8, "color": BAD, "fontweight": "bold", "ha": "center", "va": "bottom"}
        tag = ", ".join(str(number + 1) for number in group)
        axes.annotate(tag, (place, 1.0), xycoords=("data", "axes fraction"), **text)
    handles, names = axes.get_legend_handles_labels()
    if len(names) > 1:
        axes.legend(handles, names, loc="best")


def crowded(alarms: list[Alarm], gap: float) -> list[list[int]]:
    """Numbers of the alarms in groups that are nearer than `gap` steps: their tags would lie on each other."""
    groups: list[list[int]] = []
    for number, alarm in sorted(enumerate(alarms), key=lambda pair: pair[1].step):
        if groups and alarm.step - alarms[groups[-1][-1]].step < gap:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def alarm_key(alarms: list[Alarm]) -> str:
    """Names of the numbered alarm lines."""
    return "\n".join(
        f"Alarm {number}, {a.when}: {a.name}{' (of the machine)' if a.name in MACHINE else ''}"
        for number, a in enumerate(alarms, start=1)
    )


def line(axes: Axes, series: Series, name: str, color: str, style: str = "-", scale: float = 1.0) -> None:
    """One quantity; few values are marked, so that a single one is seen."""
    if len(series):
        marker = "o" if len(series) <= FEW else ""
        axes.plot(series.steps, scale * series.values, style, color=color, label=name, marker=marker, markersize=3.5)


def smooth(series: Series) -> Series:
    """Running median over a fiftieth of the run."""
    reach = max(1, len(series) // 100)
    values = [np.nanmedian(series.values[max(0, i - reach) : i + reach + 1]) for i in range(len(series))]
    return Series(series.steps, np.array(values))


def noisy(axes: Axes, series: Series, name: str, color: str) -> None:
    """One quantity that jumps from step to step: its values pale, their running median strong."""
    if len(series) <= FEW or not np.isfinite(series.values).all():
        line(axes, series, name, color)
        return
    axes.plot(series.steps, series.values, color=color, alpha=0.3, linewidth=0.8)
    line(axes, smooth(series), name, color)


def band(axes: Axes, low: float, high: float, text: str, good: bool = False) -> None:
    """A shaded range of values with its meaning; the axis is not moved by it."""
    bottom, top = axes.get_ylim()
    low, high = max(low, bottom), min(high, top)
    if high <= low:
        return
    axes.axhspan(low, high, color=GOOD if good else BAD, alpha=0.10 if good else 0.16, linewidth=0, zorder=0)
    at_top = good or low > (bottom + top) / 2
    axes.annotate(
        text,
        (0.99, high if at_top else low),
        xytext=(0, -3 if at_top else 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="top" if at_top else "bottom",
        fontsize=8,
        color="#00684d" if good else "#9c4500",
        path_effects=[withStroke(linewidth=2.5, foreground="white", alpha=0.8)],
        zorder=5,
    )
    axes.set_ylim(bottom, top)


def limits(axes: Axes, low: float, high: float, room: float = 1.12) -> None:
    """Axis from low to a little above high."""
    axes.set_ylim(low, low + (room * (high - low) if high - low > 1e-12 else 1.0))


def log_scale(axes: Axes) -> None:
    """A log axis with plain numbers at 1, 2 and 5 of every decade."""
    axes.set_yscale("log")
    plain_numbers(axes.yaxis)


def plain_numbers(axis: Axis) -> None:
    """Numbers at 1, 2 and 5 of every decade of a log axis, written out."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_loss(axes: Axes, record: Record) -> None:
    """Loss and terms, on a log axis where all are above 0."""
    noisy(axes, record.series("loss"), "total", INK)
    if len(record.terms) > 1:
        for name, color in zip(record.terms, CYCLE, strict=False):
            noisy(axes, record.series(f"loss/{name}"), name, color)
    values = np.concatenate([record.finite("loss"), *(record.finite(f"loss/{name}") for name in record.terms)])
    if len(values) and values.min() > 0 and values.max() / values.min() > 5:
        log_scale(axes)
    elif len(values) and values.min() > 0:
        limits(axes, 0, float(values.max()))


def draw_rank(axes: Axes, record: Record) -> None:
    """Effective rank over the floor of the health check: a fifth of its best, and 3."""
    peak = float(record.finite("effective_rank").max())
    line(axes, record.series("effective_rank"), "effective rank", TRAINED)
    line(axes, record.series("participation_ratio"), "participation ratio", CYCLE[1], "--")
    floor = max(3.0, 0.2 * peak)
    limits(axes, 0, max(peak, 1.6 * floor))
    band(axes, 0, floor, "dimensional collapse")
    band(axes, floor, np.inf, "healthy", good=True)


def draw_std(axes: Axes, record: Record) -> None:
    """Standard deviations over the floor of the health check: a twentieth of the first, and 0.005."""
    line(axes, record.series("relative_std"), "relative to token size", TRAINED)
    line(axes, record.series("std_median"), "median feature", CYCLE[1], "--")
    values = np.concatenate([record.finite("relative_std"), record.finite("std_median")])
    floor = max(0.005, 0.05 * (record.first("relative_std") or 0.0))
    limits(axes, 0, max(float(values.max()), 4 * floor))
    band(axes, 0, floor, "full collapse")
    band(axes, floor, np.inf, "healthy", good=True)


def draw_score(axes: Axes, record: Record) -> None:
    """Accuracy of kNN, or crop agreement, with the random encoder."""
    name = "knn" if len(record.finite("knn")) else "agreement"
    title = "kNN accuracy" if name == "knn" else "agreement of two crops"
    line(axes, record.series(name), f"{title}, trained", TRAINED, scale=100)
    random = record.last(f"{name}_random")
    top = 100 * float(record.finite(name).max())
    if random is not None:
        axes.axhline(100 * random, color=RANDOM, linestyle="--", label=f"random encoder, {random:.1%}")
        top = max(top, 100 * random)
    limits(axes, 0, top, 1.25)
    if random is not None:
        band(axes, 0, 100 * random, "no better than random weights")


def draw_ahead(axes: Axes, record: Record) -> None:
    """Open-loop error of a world model at each horizon, dashed beside that of a world that stands still."""
    values = [record.finite(f"ahead_{ahead}{which}") for ahead in record.ahead for which in ("", "_copy")]
    for ahead, color in zip(record.ahead, CYCLE, strict=False):
        line(axes, record.series(f"ahead_{ahead}"), f"{ahead} ahead", color)
        line(axes, record.series(f"ahead_{ahead}_copy"), f"{ahead} ahead, copy of the last", color, "--")
    if min(float(found.min(initial=1.0)) for found in values) > 0:
        log_scale(axes)
    band(axes, 1, np.inf, "no better than the mean latent")


def draw_state(axes: Axes, record: Record) -> None:
    """How much of the true state is read from the latents of held-out frames, with that of random weights."""
    line(axes, record.series("state_r2"), "trained", TRAINED, scale=100)
    random, values = record.last("state_r2_random"), record.finite("state_r2")
    low = min(0.0, float(values.min()), random or 0.0)
    axes.set_ylim(100 * low - 2, 105)
    if random is not None:
        axes.axhline(100 * random, color=RANDOM, linestyle="--", label=f"random weights, {random:.1%}")
        band(axes, 100 * low - 2, 100 * random, "no better than random weights")


def draw_error(axes: Axes, record: Record) -> None:
    """Error of the predictor over the error of each guess that does not look at the image."""
    error, highest = record.series("error"), 1.0
    lowest = 1.0
    guesses = (
        ("error_mean", "mean target"),
        ("error_position", "mean at the position"),
        ("error_context", "context mean"),
    )
    for (name, title), color in zip(guesses, CYCLE, strict=False):
        guess = record.series(name)
        if len(guess) == len(error):
            ratio = Series(error.steps, error.values / np.maximum(guess.values, 1e-12))
            line(axes, ratio, f"over {title}", color)
            finite = ratio.values[np.isfinite(ratio.values)]
            highest = max(highest, float(finite.max(initial=0.0)))
            lowest = min(lowest, float(finite[finite > 0].min(initial=1.0)))
    axes.axhline(1, color=INK, linewidth=1)
    if highest > 3:  # far from 1: on a log axis half and twice the error of a guess are equally far
        log_scale(axes)
        axes.set_ylim(0.8 * lowest, 1.6 * highest)
    else:
        limits(axes, 0, highest, 1.2)
    band(axes, 1, np.inf, "no better than a guess")


def draw_targets(axes: Axes, record: Record) -> None:
    """How the variance of target tokens divides."""
    images, place = record.series("target_between_samples"), record.series("target_by_position")
    line(axes, images, "between images", TRAINED, scale=100)
    line(axes, place, "by position alone", CYCLE[1], "--", scale=100)
    if len(images) == len(place):
        line(axes, Series(images.steps, 1 - images.values - place.values), "the rest", CYCLE[2], ":", scale=100)
    axes.set_ylim(0, 100)
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0, symbol=""))
    band(axes, 80, 100, "position-only (dashed)")


def draw_gradient(axes: Axes, record: Record) -> None:
    """Norm of the gradient."""
    noisy(axes, record.series("grad_norm"), "gradient", TRAINED)
    values = record.finite("grad_norm")
    if values.min() > 0 and values.max() / values.min() > 20:
        log_scale(axes)
    else:
        limits(axes, 0, float(values.max()))


def draw_distance(axes: Axes, record: Record) -> None:
    """How far the slow target is behind."""
    line(axes, record.series("target_distance"), "target", TRAINED)
    limits(axes, 0, float(record.finite("target_distance").max()))


def draw_schedule(axes: Axes, record: Record) -> None:
    """Learning rate at the left, momentum at the right."""
    line(axes, record.series("lr"), "learning rate (left)", TRAINED)
    limits(axes, 0, float(record.finite("lr").max()))
    momentum = record.series("momentum")
    if len(record.finite("momentum")):
        axes.title.set_text("Learning rate and target momentum")
        right(axes, momentum, "momentum (right)", "target momentum [1]", 1.0)


def draw_rate(axes: Axes, record: Record) -> None:
    """Samples per second at the left, share of time waiting at the right."""
    noisy(axes, record.series("rate"), "samples per second (left)", TRAINED)
    limits(axes, 0, float(record.finite("rate").max()), 1.35)
    if len(record.finite("wait_share")):
        twin = right(axes, record.series("wait_share"), "waiting for data (right)", "waiting [%]", 100.0)
        twin.set_ylim(0, 100)
        twin.axhline(40, color=BAD, linewidth=1, linestyle=":")
        halo = [withStroke(linewidth=2.5, foreground="white", alpha=0.8)]
        text: dict[str, Any] = {"fontsize": 8, "color": "#9c4500", "ha": "right", "va": "bottom", "path_effects": halo}
        axes.annotate("starved above (dashed)", (0.99, 0.4), xycoords="axes fraction", **text)


def right(axes: Axes, series: Series, name: str, unit: str, scale: float) -> Axes:
    """A second quantity with its own axis at the right; named in the legend of the first."""
    twin = axes.twinx()
    twin.spines["right"].set_visible(True)
    twin.grid(False)
    twin.set_ylabel(unit)
    line(twin, series, name, CYCLE[1], "--", scale)
    axes.plot([], [], "--", color=CYCLE[1], label=name)
    axes.set_zorder(twin.get_zorder() + 1)
    axes.patch.set_visible(False)
    return twin
