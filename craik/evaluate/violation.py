"""Surprise test (violation of expectation): is a world model startled by what cannot be, and not by a new look?

Windows of a simulated world, told in three ways, with the same actions: untouched; from a moment on the object is
somewhere else, which no action can do (teleport); from that moment on it has another color, and moves as before
(recolor). Surprise is the error of the latent predicted for the next frame. A model that understands is more surprised
by the teleport than by anything else. Beside it stand an untrained model, and how much the pixels change
(`PixelChange`), which knows nothing of objects: a model has to do better than that.

Source: the test of LeWorldModel (arXiv 2603.19312); surprise as prediction error, arXiv 2502.11831.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from rich.table import Table
from torch import Tensor

from craik.core.world import WorldModel
from craik.data.view import center_square
from craik.evaluate.bootstrap import LEVEL, RESAMPLES, Interval, mean_interval
from craik.evaluate.openloop import squared_error, variance
from craik.evaluate.tamper import Told

CHUNK = 16  # windows in memory at once


class PixelChange:
    """A world model of pixels in which nothing ever moves: its surprise is how much a frame differs from the last.

    Args:
        side: Of the frames it sees [px].
    """

    def __init__(self, side: int = 32) -> None:
        self.side = side

    def encode(self, frames: Tensor) -> Tensor:
        """The pixels of raw frames uint8 [B, T, C, H, W], made smaller, [B, T, 3 * side * side]."""
        return center_square(frames, self.side).flatten(2)

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        """The last frame again and again, [B, H, D]."""
        return latents[:, -1:].expand(-1, actions.shape[1], -1)


class Curve(NamedTuple):
    """Mean surprise at each frame that was predicted, with 95 % intervals."""

    untouched: tuple[Interval, ...]
    teleport: tuple[Interval, ...]
    recolor: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Surprise:
    """What one model makes of it. AUC: chance that a window of the first kind surprises more; 0.5 says nothing."""

    model: str
    teleport: Interval
    """AUC of teleport against untouched; wanted: 1."""
    recolor: Interval
    """AUC of recolor against untouched; wanted: 0.5, so a color that was never seen startles nobody."""
    teleport_over_recolor: Interval
    """AUC of teleport against recolor; wanted: 1."""
    curve: Curve
    """Over the variance of the untouched latents."""


@dataclass(frozen=True, slots=True)
class SurpriseReport:
    """The test, for one or more models."""

    world: str
    num_windows: int
    moment: int
    """The change is first seen in this of the frames predicted, counted from 0."""
    models: tuple[Surprise, ...]

    def model(self, name: str) -> Surprise:
        """What one model makes of it; KeyError if it was not asked."""
        for found in self.models:
            if found.model == name:
                return found
        raise KeyError(name)

    def to_json(self) -> dict[str, object]:
        """Plain values for `json.dump`."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return plain

    def table(self) -> Table:
        """A row per model."""
        table = Table(title=f"Surprise in {self.world}: AUC [%] over {self.num_windows:,} windows; 50 says nothing")
        table.add_column("model")
        for column in ("teleport (wanted: 100)", "recolor (wanted: 50)", "teleport over recolor (wanted: 100)"):
            table.add_column(column, justify="right")
        for found in self.models:
            aucs = (found.teleport, found.recolor, found.teleport_over_recolor)
            table.add_row(found.model, *(auc.percent() for auc in aucs))
        return table


def surprise_test(models: Mapping[str, WorldModel], told: Told, *, seed: int = 0) -> SurpriseReport:
    """Ask models for their surprise at windows told in three ways.

    Args:
        models: By the name they have in the report; as `craik.load` gives them, `encode` takes raw frames.
        told: See `tamper.tell`.
        seed: Of the resamples.

    Raises:
        UsageError: If the latents of a model do not vary.
    """
    found = tuple(measure(name, model, told, seed) for name, model in models.items())
    return SurpriseReport(told.world, len(told.actions), told.moment - told.history, found)


def measure(name: str, model: WorldModel, told: Told, seed: int) -> Surprise:
    """AUCs and curves of one model."""
    spread = variance(torch.cat([latents(model, part) for part in told.untouched.split(CHUNK)]))
    series = [surprises(model, frames, told) / spread for frames in (told.untouched, told.teleport, told.recolor)]
    plain, moved, tinted = (found[:, told.moment - told.history] for found in series)
    return Surprise(
        model=name,
        teleport=auc_interval(moved, plain, seed=seed),
        recolor=auc_interval(tinted, plain, seed=seed),
        teleport_over_recolor=auc_interval(moved, tinted, seed=seed),
        curve=Curve(*(tuple(mean_interval(at, seed=seed) for at in found.unbind(1)) for found in series)),
    )


@torch.inference_mode()
def latents(model: WorldModel, frames: Tensor) -> Tensor:
    """Latents [n, T, ...] of raw frames, on the CPU."""
    return model.encode(frames).cpu()


@torch.inference_mode()
def surprises(model: WorldModel, frames: Tensor, told: Told) -> Tensor:
    """Squared error of each frame's latent, predicted from the `history` frames before it, [M, T - history]."""
    found, span = [], told.history
    for part, actions in zip(frames.split(CHUNK), told.actions.split(CHUNK), strict=True):
        seen = model.encode(part)
        taken = actions.to(seen.device)
        errors = []
        for now in range(span, part.shape[1]):  # actions[now - 1] leads from frame now - 1 to frame now
            ahead = model.rollout(seen[:, now - span : now], taken[:, now - span : now - 1], taken[:, now - 1 : now])
            errors.append(squared_error(ahead, seen[:, now : now + 1]))
        found.append(torch.cat(errors, 1).cpu())
    return torch.cat(found)


def auc_interval(more: Tensor, less: Tensor, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Chance that a number of `more` exceeds one of `less`, both [N] of the same windows, ties counted half.

    The interval draws windows anew, both numbers of a window together.
    """
    if more.shape != less.shape or not len(more):
        raise ValueError(f"expected numbers [N] of the same windows, got {list(more.shape)} and {list(less.shape)}")
    wins = (more.unsqueeze(1) > less).double() + (more.unsqueeze(1) == less).double() / 2
    num = len(more)
    rng = torch.Generator().manual_seed(seed)
    drawn = torch.randint(num, (resamples, num), generator=rng)
    weight = torch.zeros(resamples, num, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(drawn.shape, dtype=torch.float64)
    )
    aucs = torch.einsum("rn,nm,rm->r", weight, wins, weight) / num**2
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(aucs, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(float(wins.mean()), low, high)
