"""What a probe measures, and the report it gives: figures, baselines and protocol in one."""

import json
from dataclasses import asdict, dataclass

from rich.table import Table

from craik.evaluate.attentive import AttentiveOptions
from craik.evaluate.bootstrap import Interval
from craik.evaluate.knn import NEIGHBORS, TEMPERATURE
from craik.evaluate.linear import L2_GRID

RANDOM = "random encoder"
RAW = "raw pixels"
MAJORITY = "majority class"
KNN = "kNN"
LINEAR = "linear"
ATTENTIVE = "attentive"


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """What to measure, and how."""

    k: int = NEIGHBORS
    temperature: float = TEMPERATURE
    l2_grid: tuple[float, ...] = L2_GRID
    few_fractions: tuple[float, ...] = (0.1, 0.01)
    """Shares of the training labels for the few-label settings."""
    few_seeds: int = 3
    """Label subsets that a few-label figure is averaged over."""
    attentive: AttentiveOptions | None = None
    """Also train attentive probes, which takes far longer than all the rest."""
    attentive_bytes: int = 2 << 30
    """Memory for training tokens; where they need more, a stratified part of the images is used [bytes]."""
    raw_size: int = 32
    """Side of the images that the raw-pixel baseline sees [px]; at most."""
    raw_bytes: int = 2 << 30
    """Memory for raw training pixels; their side is halved until they fit [bytes]."""
    batch: int | None = None
    """Images encoded at once; None takes what suits the device."""
    seed: int = 0
    progress: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy of one method on one kind of features."""

    features: str
    method: str
    accuracy: Interval
    num_labels: int
    """Training labels that the method saw (for few labels: each subset)."""
    detail: str
    """What was chosen on validation."""
    over_random: Interval | None = None
    """Paired difference to the random encoder by the same method."""
    over_raw: Interval | None = None
    """Paired difference to raw pixels by the same method."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """All figures of a probe with the protocol that made them."""

    scores: tuple[Score, ...]
    protocol: tuple[str, ...]
    """Sentences that let somebody else measure the same."""
    train: str
    test: str
    num_train: int
    num_test: int
    num_classes: int
    options: ProbeOptions

    def score(self, features: str, method: str) -> Score:
        """The score of one kind of features by one method; KeyError if it was not measured."""
        for score in self.scores:
            if (score.features, score.method) == (features, method):
                return score
        raise KeyError((features, method))

    def to_json(self) -> dict[str, object]:
        """Plain values for `json.dump`."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return plain

    def table(self) -> Table:
        """Accuracy in percent with intervals: a row per kind of features, a column per method."""
        title = f"Accuracy [%] (95 % interval) on {self.num_test:,} test images, {self.num_classes} classes"
        table = Table(title=title)
        table.add_column("features")
        methods = list(dict.fromkeys(score.method for score in self.scores))
        for method in methods:
            table.add_column(method, justify="right")
        cells = {(score.features, score.method): score.accuracy.percent() for score in self.scores}
        for features in dict.fromkeys(score.features for score in self.scores):
            table.add_row(features, *(cells.get((features, method), "-") for method in methods))
        return table

    def summary(self) -> list[str]:
        """One sentence per trained score: the figure and whether it beats its baselines."""
        return [
            f"{score.features}, {score.method}: {score.accuracy.percent()} %, "
            f"{score.over_random.signed_percent()} over the random encoder"
            + (f", {score.over_raw.signed_percent()} over raw pixels" if score.over_raw else "")
            for score in self.scores
            if score.over_random is not None
        ]
