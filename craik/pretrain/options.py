"""What a run is told: on what to train, for how long, and how it is carried out."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from craik.data.labels import LabelSpec
from craik.train.runtime import Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """What to train on."""

    data: str = ""
    """Folder of images or videos, .zip, .tar, .parquet, .csv of paths, a hub id, toy:shapes, toy:digits or toy:physics;
    folder of episodes for a world model."""
    split: str | None = None
    """train, val or test, where the data has these."""
    labels: str | None = None
    """File with labels (csv, tsv, json, parquet); used for monitoring only, never for training."""
    path_column: str = "path"
    """Column of the labels file that names the image or video."""
    label_column: str = "label"
    """Column of the labels file, or of the data, with the class."""
    split_column: str | None = None
    """Column of the labels file that names the split."""
    limit: int | None = None
    """Use only so many images, videos or episodes."""
    max_bad_fraction: float = 0.05
    """Fraction of the image or video files that may be unreadable."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit {self.limit}: use at least 1 image")
        if not 0 <= self.max_bad_fraction <= 1:
            raise ValueError(f"--max-bad-fraction {self.max_bad_fraction:g} is no fraction in [0, 1]")

    def spec(self) -> LabelSpec | None:
        """Where labels are, when the data does not say it."""
        if self.labels is None and self.label_column == "label" and self.split_column is None:
            return None
        return LabelSpec(self.labels, self.path_column, self.label_column, self.split_column, self.split)

    def located(self) -> "Data":
        """The same with absolute paths, which hold from any working folder."""
        return replace(self, data=absolute(self.data), labels=None if self.labels is None else absolute(self.labels))


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How long to train; when nothing is given, as many epochs as the recipe's config says (--epochs)."""

    steps: int | None = None
    """Optimizer steps."""
    minutes: float | None = None
    """Wall time [min]; a short measurement turns it into a number of steps."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.minutes is not None:
            raise ValueError("--minutes and --steps contradict each other; give one")
        for name, value in (("--steps", self.steps), ("--minutes", self.minutes)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} {value} has to be above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Conduct:
    """How the run is carried out; nothing here but seed and accumulate touches what is learned."""

    seed: int = 0
    """All randomness follows from it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    precision: Precision = Precision.auto
    """Arithmetic; auto takes bf16 where the hardware multiplies it natively."""
    workers: int | None = None
    """Processes that decode images or videos; one per core by default."""
    accumulate: int = 1
    """Pieces into which a batch is cut to fit into memory."""
    check_every: int | None = None
    """Steps between health checks; by default they take about 1.5 % of the time."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; by default one about every two minutes."""
    tensorboard: bool = False
    """Mirror metrics as TensorBoard files in the run folder (needs craik[track])."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"--seed {self.seed} is negative; give 0 or more")
        for name in ("workers", "accumulate", "check_every", "checkpoint_every"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value}: give at least 1")


@dataclass(frozen=True, slots=True)
class Init:
    """Weights that a run starts from."""

    source: str
    """A run, one of its checkpoints, a model folder, or a published checkpoint."""
    resample: bool = False
    """Interpolate position tables that were made for another image size."""


def absolute(place: str) -> str:
    """An existing file or folder by its absolute path; toys, hub ids and what is not there as they are."""
    if place.startswith(("toy:", "hf:")):
        return place
    path = Path(place).expanduser()
    return str(path.resolve()) if path.exists() else place
