"""Recipe: the contract between a method and the training loop. A dataclass of built parts, not a base class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from craik.core.batch import Batch
from craik.core.jepa import Latents, Loss
from craik.core.target import Target
from craik.data.loader import Samples as Samples
from craik.train.optim import AdamW
from craik.train.schedule import Schedule


class Learner(Protocol):
    """What the loop asks of a model: `model(batch, step) -> Loss`, an encoder, and a target that follows it."""

    target: Target

    @property
    def encoder(self) -> nn.Module:
        """The online encoder."""
        ...

    def __call__(self, batch: Batch, step: int) -> Loss:
        """Loss of one batch."""
        ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything the loop needs to know of a method."""

    model: nn.Module
    """A Learner."""
    prepare: Callable[[Samples, torch.Generator], Batch]
    """From raw samples, on any device, to a batch: augmentation and masks. All randomness is in the generator."""
    optim: AdamW
    """Optimizer settings."""
    momentum: Callable[[int], Schedule] | None
    """From the total number of steps to the momentum of each; None where the target does not follow."""
    batch: int
    """Samples per step on all ranks together."""
    epochs: float
    """Length of the run unless the user gives a budget."""
    view: "View"
    """How an image is shown to the encoder when it is used, not trained."""
    trained: tuple[str, ...] = ("encoder", "predictor")
    """Sub-modules of the model that the optimizer updates, in the order of its groups."""
    latents: Callable[[Any, Batch], Latents] | None = None
    """Representations of a batch, for the health check of predictor and target; None where nothing is predicted."""


@dataclass(frozen=True, slots=True)
class View:
    """Deterministic view of an image for evaluation and use."""

    size: int
    """Side [pixels]; the short side is resized to it and the center cropped."""
    mean: tuple[float, float, float]
    """Subtracted from each channel in [0, 1]."""
    std: tuple[float, float, float]
    """Divides each channel."""
