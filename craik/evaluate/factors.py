"""Factor probe: which of the known factors of toy images (shape, position, noise) features hold.

A good representation keeps what matters and drops what does not, and only known factors can show both.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from craik.data.images import ImageData
from craik.errors import UsageError
from craik.evaluate.axes import PrincipalAxes
from craik.evaluate.bootstrap import Interval, mean_interval, r2_interval
from craik.evaluate.features import Featurizer, extract, raw_pixels
from craik.evaluate.linear import fit_linear
from craik.evaluate.ridge import fit_ridge
from craik.evaluate.scores import RANDOM, RAW


@dataclass(frozen=True, slots=True)
class FactorScore:
    """How well one factor is read linearly from one kind of features."""

    factor: str
    features: str
    categorical: bool
    """Accuracy if true, else R^2."""
    score: Interval
    trivial: float
    """Accuracy of the most frequent value, or the R^2 of the mean, 0."""


@dataclass(frozen=True, slots=True)
class FactorReport:
    """Scores of all factors and all features."""

    scores: tuple[FactorScore, ...]
    num_train: int
    num_test: int

    def score(self, factor: str, features: str) -> FactorScore:
        """The score of one factor on one kind of features; KeyError if it was not measured."""
        for score in self.scores:
            if (score.factor, score.features) == (factor, features):
                return score
        raise KeyError((factor, features))

    def to_json(self) -> dict[str, object]:
        """Plain values for `json.dump`."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return plain

    def table(self) -> Table:
        """A row per factor, a column per kind of features."""
        table = Table(title=f"What can be read linearly: accuracy or R^2 [%], {self.num_test:,} test images")
        columns = list(dict.fromkeys(score.features for score in self.scores))
        for column in ("factor", "measure"):
            table.add_column(column)
        for column in (*columns, "guess"):
            table.add_column(column, justify="right")
        for factor in dict.fromkeys(score.factor for score in self.scores):
            row = [self.score(factor, column) for column in columns]
            measure = "accuracy" if row[0].categorical else "R^2"
            table.add_row(factor, measure, *(s.score.percent() for s in row), f"{100 * row[0].trivial:.1f}")
        return table


def factor_probe(
    train: ImageData,
    test: ImageData,
    trained: Mapping[str, Featurizer],
    random: Featurizer,
    *,
    raw_size: int = 32,
    batch: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> FactorReport:
    """Read every factor from trained features, those of a random encoder, and raw pixels.

    Factors of whole numbers are classes (logistic regression, accuracy), others are continuous (ridge regression,
    R^2). A factor with one value only is left out.

    Args:
        train: Images with known factors that probes are fitted on.
        test: Images with known factors that they are scored on.
        trained: What to measure, each under the name it has in the report.
        random: The same architecture with fresh weights.
        raw_size: Side of the images that the raw-pixel baseline sees [px].
        batch: Images encoded at once; None takes what suits the device.
        seed: Draws validation splits and resamples.
        progress: Show a bar when it takes long.

    Raises:
        UsageError: Data without factors, or with different ones.
    """
    factors = _shared_factors(train, test)
    scores = []
    for name, featurizer in {**trained, RANDOM: random}.items():
        train_x, test_x = (extract(featurizer, i, batch=batch, progress=progress) for i in (train, test))
        scores += _read_factors(name, train_x, test_x, factors, seed)
    train_x, test_x = raw_pixels(train, raw_size), raw_pixels(test, raw_size)
    scores += _read_factors(RAW, train_x, test_x, factors, seed)
    return FactorReport(tuple(scores), len(train), len(test))


@dataclass(frozen=True, slots=True)
class _Factor:
    name: str
    train: np.ndarray
    test: np.ndarray

    @property
    def categorical(self) -> bool:
        return self.train.dtype.kind in "iub"


def _shared_factors(train: ImageData, test: ImageData) -> list[_Factor]:
    if not train.factors or set(train.factors) != set(test.factors):
        have = [f"{data.name} has {', '.join(data.factors) or 'none'}" for data in (train, test)]
        raise UsageError(
            f"factors are known for toy data only: {'; '.join(have)}. Use toy:shapes for both, or craik probe with "
            "labels."
        )
    found = [_Factor(name, values, test.factors[name]) for name, values in train.factors.items()]
    return [factor for factor in found if (factor.train != factor.train[0]).any()]


def _read_factors(
    features: str, train_x: Tensor, test_x: Tensor, factors: list[_Factor], seed: int
) -> list[FactorScore]:
    axes = PrincipalAxes.of(train_x)
    continuous = [factor for factor in factors if not factor.categorical]
    read: dict[str, Tensor] = {}
    if continuous:  # all of them in one solve, each with its own column
        goals = torch.from_numpy(np.stack([factor.train for factor in continuous], axis=1)).float()
        predicted = fit_ridge(train_x, goals, seed=seed).predict(test_x)
        read = {factor.name: predicted[:, i] for i, factor in enumerate(continuous)}
    scores = []
    for factor in factors:
        goal = torch.from_numpy(np.asarray(factor.test))
        if factor.categorical:
            y = torch.from_numpy(factor.train.astype(np.int64))
            correct = fit_linear(train_x, y, seed=seed, axes=axes).predict(test_x) == goal
            score, trivial = mean_interval(correct, seed=seed), float((goal == y.bincount().argmax()).float().mean())
        else:
            score, trivial = r2_interval(read[factor.name], goal, seed=seed), 0.0
        scores.append(FactorScore(factor.name, features, factor.categorical, score, trivial))
    return scores
