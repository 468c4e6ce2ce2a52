"""State probe: how much of the true state of a world can be read from the latent of a single frame.

Each named column of the recorded states is read by ridge regression, and by a small MLP, from trained latents, from
those of random weights, and from raw pixels: what random weights or pixels give already was not learned. What one frame
does not show, such as a velocity, no latent of one frame can have. Probes are fitted on training episodes and scored on
episodes that the model never saw.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from craik.core.world import WorldModel
from craik.data.episode import Episodes
from craik.data.view import center_square
from craik.errors import UsageError
from craik.evaluate.bank import encode_each, spread_rows
from craik.evaluate.bootstrap import Interval, r2_interval
from craik.evaluate.mlp import fit_mlp
from craik.evaluate.ridge import fit_ridge
from craik.evaluate.scores import RAW

NUM_FRAMES = (2048, 1024)  # that probes are fitted on, and scored on
RAW_SIDE = 16  # of the frames that the raw baseline sees [px]
CHUNK = 64  # frames encoded at once
LEAST_SPREAD = 1e-6  # of a column that varies at all


@dataclass(frozen=True, slots=True)
class StateScore:
    """How well one column of the state is read from one kind of features: R^2 with 95 % intervals over frames."""

    column: str
    features: str
    linear: Interval
    mlp: Interval


@dataclass(frozen=True, slots=True)
class StateReport:
    """Scores of all columns and all features."""

    scores: tuple[StateScore, ...]
    left_out: tuple[str, ...]
    """Columns that do not vary, or hold NaN."""
    num_train: int
    num_test: int

    def score(self, column: str, features: str) -> StateScore:
        """The score of one column on one kind of features; KeyError if it was not measured."""
        for score in self.scores:
            if (score.column, score.features) == (column, features):
                return score
        raise KeyError((column, features))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the state, in their order."""
        return tuple(dict.fromkeys(score.column for score in self.scores))

    @property
    def features(self) -> tuple[str, ...]:
        """Kinds of features, in their order."""
        return tuple(dict.fromkeys(score.features for score in self.scores))

    def to_json(self) -> dict[str, object]:
        """Plain values for `json.dump`."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return plain

    def table(self) -> Table:
        """A row per column, two columns per kind of features."""
        table = Table(title=f"R^2 [%] of the true state, {self.num_test:,} held-out frames (95 % interval)")
        table.add_column("state")
        for features in self.features:
            for probe in ("linear", "MLP"):
                table.add_column(f"{features}, {probe}", justify="right")
        for column in self.columns:
            found = [self.score(column, features) for features in self.features]
            table.add_row(column, *(part.percent() for score in found for part in (score.linear, score.mlp)))
        return table


def state_probe(
    models: Mapping[str, WorldModel],
    train: Episodes,
    held: Episodes,
    *,
    num_frames: tuple[int, int] = NUM_FRAMES,
    raw_side: int = RAW_SIDE,
    seed: int = 0,
) -> StateReport:
    """Read every column of the state from the latents of each model, and from pixels.

    Args:
        models: By the name they have in the report; as `craik.load` gives them, `encode` takes raw frames.
        train: Episodes that probes are fitted on.
        held: Episodes that they are scored on.
        num_frames: Frames of each at most, spread over the episodes.
        raw_side: Of the frames that the raw baseline sees [px].
        seed: Draws validation splits, the first weights of the MLP and resamples.

    Raises:
        UsageError: If no states were recorded, or nothing in them varies.
    """
    if train.states is None or held.states is None or train.layout.state_names is None:
        raise UsageError(f"{train.name}: it has no states, so nothing tells what a latent should know")
    rows = [spread_rows(part, num) for part, num in zip((train, held), num_frames, strict=True)]
    states = [torch.from_numpy(part.states[at]) for part, at in zip((train, held), rows, strict=True)]  # type: ignore[index]
    names = np.array(train.layout.state_names)
    kept = usable_columns(*states)
    if not kept.any():
        raise UsageError(f"{train.name}: none of its states {', '.join(names)} varies, so there is nothing to read")
    y, scored = (state[:, torch.from_numpy(kept)] for state in states)
    frames = [part.frames.read(at) for part, at in zip((train, held), rows, strict=True)]
    scores: list[StateScore] = []
    for name, model in models.items():
        x, tested = (encode_each(model, some, pool=True) for some in frames)
        scores += read_states(name, names[kept].tolist(), (x, y), (tested, scored), seed)
    x, tested = (raw(some, raw_side) for some in frames)
    scores += read_states(RAW, names[kept].tolist(), (x, y), (tested, scored), seed)
    return StateReport(tuple(scores), tuple(names[~kept].tolist()), len(y), len(scored))


def usable_columns(train: Tensor, held: Tensor) -> np.ndarray:
    """Which columns of states [N, K] are numbers and vary in both, bool [K]."""
    varies = [state.double().std(0, correction=0) > LEAST_SPREAD for state in (train, held)]  # NaN does not
    return np.asarray(varies[0] & varies[1])


def raw(frames: np.ndarray, side: int) -> Tensor:
    """The pixels of frames uint8 [N, H, W, C], made smaller, float32 [N, 3 * side * side]."""
    parts = torch.from_numpy(frames).permute(0, 3, 1, 2).split(CHUNK)
    return torch.cat([center_square(part, side).flatten(1) for part in parts])


def read_states(
    features: str, columns: list[str], train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], seed: int
) -> list[StateScore]:
    """Scores of every column, from features and states [N, F] and [N, K] of both parts."""
    linear = fit_ridge(*train, seed=seed).predict(held[0])
    mlp = fit_mlp(*train, seed=seed).predict(held[0])
    found = []
    for number, column in enumerate(columns):
        parts = [r2_interval(p[:, number], held[1][:, number], seed=seed) for p in (linear, mlp)]
        found.append(StateScore(column, features, *parts))
    return found
