"""The pictures and tables of a world model, each with its caption, and the figures behind them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from craik.core.world import WorldModel
from craik.envs import find
from craik.errors import UsageError
from craik.evaluate.bank import encode_each, spread_rows
from craik.evaluate.bootstrap import Interval
from craik.evaluate.landscape import landscape, strongest_axes
from craik.evaluate.openloop import open_loop, squared_error, variance
from craik.evaluate.state_probe import NUM_FRAMES, state_probe
from craik.evaluate.tamper import Told, tell
from craik.evaluate.violation import PixelChange, surprise_test
from craik.plan import episode_pairs, latent_scale, usability
from craik.report.bands import Line, ahead_figure
from craik.report.episodes import as_picture
from craik.report.film import Strip, film_sheet
from craik.report.landscape import Ground, landscape_sheet
from craik.report.latents import Step, latent_map, usability_figure
from craik.report.page import Ledger, Plate
from craik.report.style import BAD, TRAINED, Picture, png, spread_over
from craik.report.style import RANDOM as GRAY
from craik.report.surprise import KINDS, Aucs, Example, surprise_figure
from craik.report_run.world_scene import WorldScene, source_of
from craik.train.run import Json

TRAINED_NAME, UNTRAINED_NAME = "trained", "random weights"
AHEAD = 16  # model steps
NUM_STRIPS, STRIP_LENGTH = 3, 9
NUM_WINDOWS = 256
NUM_TOLD = 128
NUM_MAPPED = 1500
NUM_GROUNDS = 4
NUM_PAIRED = 64  # episodes whose latents are compared over time
Part = Plate | Ledger


def draw_world(scene: WorldScene, notes: list[str], figures: Json) -> Iterator[Part]:
    """All of it, in the order in which people ask; what cannot be measured is left out and said.

    Args:
        scene: What is looked at.
        notes: Get a line for everything that is left out.
        figures: Get the numbers behind the pictures, by name.
    """
    drawers: list[tuple[str, Callable[[WorldScene, Json], Part]]] = [
        ("film strips", draw_film),
        ("open-loop error", draw_ahead),
        ("energy landscapes", draw_landscapes),
        ("the state probe", read_state),
        ("the map of latents", draw_map),
        ("the check of the latent distance", draw_usability),
        ("the surprise test", draw_surprise),
    ]
    for what, draw in drawers:
        try:
            yield draw(scene, figures)
        except UsageError as error:
            notes.append(f"Left out: {what}, for {error}")
    if scene.share < 1:
        notes.append(f"To save time, only {scene.share:.0%} of the usual number of frames and windows were looked at.")


def plate(name: str, title: str, caption: str, figure: Figure) -> Plate:
    """A drawn picture."""
    return Plate(name, title, caption, png(figure))


def pictures(frames: np.ndarray) -> list[Picture]:
    """Frames uint8 [n, H, W, C] as pictures."""
    return [as_picture(frame) for frame in frames]


def draw_film(scene: WorldScene, figures: Json) -> Part:
    """Windows of held-out episodes, imagined and real."""
    windows, history = scene.windows(AHEAD), scene.window.history
    rows = np.array(spread_over(len(windows), NUM_STRIPS + 2)[1:-1] or [0])
    clips = windows.read(rows)
    assert clips.actions is not None
    with torch.inference_mode():
        latents = scene.model.encode(clips.frames)
        ahead = scene.model.rollout(
            latents[:, :history], clips.actions[:, : history - 1], clips.actions[:, history - 1 :]
        )
    episodes = windows.locate(rows)[0]
    bank = scene.bank(*(scene.held.frames.read(scene.held.rows(int(i))) for i in dict.fromkeys(episodes)))
    spread = variance(bank.latents.unsqueeze(1))
    errors = squared_error(ahead, latents[:, history:]).cpu() / spread
    found = bank.pictures(bank.nearest(ahead).rows)
    chosen = spread_over(ahead.shape[1], STRIP_LENGTH)
    frames = clips.frames.permute(0, 1, 3, 4, 2).numpy()
    strips = [
        Strip(
            name=f"episode {scene.held.numbers[episode]}",
            seen=pictures(frames[i, :history]),
            real=pictures(frames[i, history:][chosen]),
            imagined=pictures(found[i][chosen]),
            steps=[step + 1 for step in chosen],
            error=[float(errors[i, step]) for step in chosen],
        )
        for i, episode in enumerate(episodes)
    ]
    caption = (
        "Above, a held-out episode: the gray frames are seen, the others are not. Below, what the model imagines from "
        f"the actions alone: for each imagined latent the nearest of {len(bank.frames):,} real frames (of training "
        "episodes and of the episodes shown). Numbers are the squared error over the variance of the latents: at 1, "
        "the mean latent is as good. Steps are those of the model. What a latent does not hold (a wall, say) may "
        "differ in the nearest frame."
    )
    return plate("film", "Imagined and real", caption, film_sheet(strips))


def draw_ahead(scene: WorldScene, figures: Json) -> Part:
    """Open-loop error against the horizon."""
    w = scene.window
    num = scene.some(NUM_WINDOWS)
    found = open_loop(scene.model, scene.held, history=w.history, skip=w.skip, horizon=AHEAD, num_windows=num)
    figures["open_loop"] = found.to_json()
    kinds = (
        ("model", "model", TRAINED),
        ("copy", "copy of the last latent seen", GRAY),
        ("no_action", "model, mean action", "#E69F00"),
        ("wrong_action", "model, actions of another episode", BAD),
    )
    lines = [line(name, color, [getattr(row, key) for row in found.ahead]) for key, name, color in kinds]
    caption = (
        f"{found.num_windows:,} windows of held-out episodes; bands are 95 % intervals over windows. The model is of "
        "use where it lies below the copy, and listens to the actions where it lies below itself with other actions. "
        + " ".join(found.summary())
    )
    figure = ahead_figure(lines, "Error of imagined latents, held-out episodes")
    return plate("open_loop", "Open-loop prediction", caption, figure)


def line(name: str, color: str, values: Sequence[Interval]) -> Line:
    """A line with its band."""
    return Line(name, color, [v.value for v in values], [v.low for v in values], [v.high for v in values])


def draw_landscapes(scene: WorldScene, figures: Json) -> Part:
    """Energy over two numbers of the action."""
    layout, w = scene.held.layout, scene.window
    if scene.held.discrete or scene.held.actions is None or w.action_size < 2:
        raise UsageError("it wants actions of at least two continuous numbers")
    axes = strongest_axes(torch.from_numpy(scene.train.known_actions()))
    space, moments = layout.action, layout.moments
    assert space is not None and moments is not None
    bounds = (space.low or moments.low, space.high or moments.high)
    low, high = ([bound[axis] for axis in axes] for bound in bounds)
    windows = scene.windows(1)
    rows = np.array(spread_over(len(windows), NUM_GROUNDS + 2)[1:-1] or [0])
    clips = windows.read(rows)
    spread = variance(encode_each(scene.model, scene.held.frames.read(spread_rows(scene.held, 256))).unsqueeze(1))
    ranges = ((low[0], high[0]), (low[1], high[1]))
    found = landscape(scene.model, clips, axes, ranges, history=w.history, skip=w.skip, variance=spread)
    frames = clips.frames[:, -2:].permute(0, 1, 3, 4, 2).numpy()
    grounds = [
        Ground(*pictures(pair), one.x, one.y, one.energy, one.true, one.lowest)
        for pair, one in zip(frames, found, strict=True)
    ]
    held = " held for the whole model step; the cross is the mean of those taken" if w.skip > 1 else ""
    caption = (
        "The energy of the frame that came, if another action had been taken: what a planner sees that wants to get "
        f"there. Every point is one action{held}. A good model has its valley at the cross, the action that was taken."
    )
    names = (f"action {axes[0]}", f"action {axes[1]}")
    figure = landscape_sheet(grounds, names, "Energy one step ahead, over two numbers of the action")
    return plate("landscape", "Energy over actions", caption, figure)


def read_state(scene: WorldScene, figures: Json) -> Part:
    """The state probe."""
    models: dict[str, WorldModel] = {TRAINED_NAME: scene.model, UNTRAINED_NAME: scene.untrained}
    num = (scene.some(NUM_FRAMES[0]), scene.some(NUM_FRAMES[1]))
    found = state_probe(models, scene.train, scene.held, num_frames=num)
    figures["state_probe"] = found.to_json()
    head = ("state", *(f"{name}, {probe}" for name in found.features for probe in ("linear", "MLP")))
    rows = []
    for column in found.columns:
        scores = [found.score(column, features) for features in found.features]
        rows.append((column, *(part.percent() for score in scores for part in (score.linear, score.mlp))))
    caption = (
        f"R^2 [%] with 95 % intervals: how much of the variance of each true quantity is read from a single latent, "
        f"fitted on {found.num_train:,} frames of training episodes, scored on {found.num_test:,} held-out ones. 100 "
        "is all of it, below 0 is worse than the mean. What random weights or raw pixels give was not learned."
    )
    caption += " Frames of one episode are alike, which the intervals do not count: they are rather too narrow."
    if found.left_out:
        caption += f" Left out, since it does not vary: {', '.join(found.left_out)}."
    return Ledger("state", "What a latent knows of the state", caption, head, rows)


def draw_map(scene: WorldScene, figures: Json) -> Part:
    """Latents on two directions."""
    if scene.held.states is None or scene.held.layout.state_names is None:
        raise UsageError("no states were recorded to color it by")
    rows = spread_rows(scene.held, scene.some(NUM_MAPPED))
    latents = encode_each(scene.model, scene.held.frames.read(rows), pool=True)
    states, names = scene.held.states[rows], np.array(scene.held.layout.state_names)
    kept = np.isfinite(states).all(0) & (states.std(0) > 0)
    if not kept.any():
        raise UsageError("no state varies")
    caption = (
        "Latents of held-out frames on their two strongest directions. Where colors change smoothly, the latent is a "
        "map of that part of the state; two directions hide the rest."
    )
    figure = latent_map(latents, states[:, kept].astype(np.float64), names[kept].tolist())
    return plate("latents", "Map of the latents", caption, figure)


def draw_usability(scene: WorldScene, figures: Json) -> Part:
    """Whether latent distance tells distance in time."""
    long = np.flatnonzero(scene.held.lengths > 1)
    chosen = long[spread_over(len(long), scene.some(NUM_PAIRED))]
    frames = [scene.held.frames.read(scene.held.rows(int(i))) for i in chosen]
    latents = [encode_each(scene.model, some, pool=True) for some in frames]
    rng = torch.Generator().manual_seed(0)
    pairs = episode_pairs(latents, rng)
    scale = latent_scale(torch.cat(latents))
    found = usability(pairs)
    figures["usability"] = {
        **asdict(found),
        "bands": [band._asdict() for band in found.bands],
        "verdict": found.verdict,
    }
    before = [True, *(band.rise >= 0.6 for band in found.bands[1:])]
    bands = [Step(b.low, b.high, b.median / scale, r) for b, r in zip(found.bands, before, strict=True)]
    caption = (
        "Pairs of states of one held-out episode. A planner that makes the latent distance small gets there only where "
        "farther looks farther. Time bounds the shortest way from above, and a wandering episode comes back, so dots "
        "lie low by right; the medians should rise. " + found.verdict
    )
    figure = usability_figure((pairs.distance / scale).cpu().numpy(), pairs.steps.cpu().numpy(), bands, found.verdict)
    return plate("usability", "Is the latent distance usable?", caption, figure)


def draw_surprise(scene: WorldScene, figures: Json) -> Part:
    """Teleport against recolor."""
    source, policy = source_of(scene.every)
    w = scene.window
    told = tell(find(source), scene.some(NUM_TOLD), history=w.history, skip=w.skip, policy=policy)
    models: dict[str, WorldModel] = {
        TRAINED_NAME: scene.model,
        UNTRAINED_NAME: scene.untrained,
        "change of pixels": PixelChange(),
    }
    found = surprise_test(models, told)
    figures["surprise"] = found.to_json()
    curve = found.model(TRAINED_NAME).curve
    curves = [line(name, color, getattr(curve, name)) for name, color in KINDS]
    aucs = [Aucs(m.model, *(triple(auc) for auc in (m.teleport, m.recolor))) for m in found.models]
    trained = found.model(TRAINED_NAME)
    caption = (
        f"{found.num_windows:,} fresh windows of {found.world}, each told three ways with the same actions: untouched, "
        "with the object elsewhere from one frame on, which no action can do, and with another color from there on. "
        "Surprise is the error of the next latent; AUC is the chance that the change surprises more than no change. "
        f"Wanted: teleport 1, recolor 0.5. Teleport surprises more than recolor in "
        f"{trained.teleport_over_recolor.percent()} % of pairs. To be beaten: how much the pixels "
        "change, which knows no objects."
    )
    figure = surprise_figure(curves, found.moment, aucs, example(told))
    return plate("surprise", "Surprise", caption, figure)


def triple(interval: Interval) -> tuple[float, float, float]:
    """Value, low, high."""
    return interval.value, interval.low, interval.high


def example(told: Told) -> Example:
    """The frames of the first window before and at the moment, in the three ways."""
    parts: list[Any] = [told.untouched, told.teleport, told.recolor]
    at = slice(told.moment - 1, told.moment + 1)
    return Example(*(pictures(part[0, at].permute(0, 2, 3, 1).numpy()) for part in parts))
