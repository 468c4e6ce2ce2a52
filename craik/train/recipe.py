"""Recipe: the contract between a method and the training loop. A dataclass of built parts, not a base class."""

from collections.abc import Callable
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from craik.core.batch import Batch
from craik.core.jepa import Latents, Loss
from craik.core.target import Target
from craik.core.tokens import Tokens
from craik.data.augment import normalize
from craik.data.clip import Clip as Clip
from craik.data.clip import Rule as Rule
from craik.data.episode import Episodes
from craik.data.loader import Samples as Samples
from craik.data.view import center_square
from craik.plan.settings import Planning
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


class Sampled(Protocol):
    """A batch as it comes from the disk, a dataclass: `Samples` of images or videos, `Clips` of episodes."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def index(self) -> Tensor:
        """Which samples these are, int64 [B]."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device | str) -> Self:
        """The same batch on a device."""


def encoder_in_use(model: Any, x: Tensor) -> Tokens:
    """Tokens [B, N, D] of the encoder whose features are used: the target's where there is a slow one."""
    tokens: Tokens = model.target.representation(model.encoder)(x)
    return tokens


class SecondStage(Protocol):
    """Trains parts of a model on what its perception, which stays as it is, makes of episodes.

    It begins from nothing but the model, the episodes and the generator: one that is cut off is done again, with the
    same result.
    """

    def __call__(
        self,
        model: Any,
        episodes: Episodes,
        encode: Callable[[Tensor], Tensor],
        rng: torch.Generator,
        watch: Callable[[str, int, int, float], None],
    ) -> None:
        """Train.

        Args:
            model: The Learner, in evaluation mode.
            episodes: To learn from.
            encode: Frames uint8 [M, C, H, W] to latents [M, D].
            rng: CPU generator.
            watch: Told what is done, steps so far, steps in all, and the last loss; it may raise to stop.
        """


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything the loop needs to know of a method."""

    model: nn.Module
    """A Learner."""
    prepare: Callable[[Any, torch.Generator], Batch]
    """From raw samples, on any device, to a batch: augmentation and masks. All randomness is in the generator.
    Raw are `Samples` with x uint8 [B, 3, S, S]; where there is a clip, `Samples` with x uint8 [B, T, 3, S, S]; where
    there is a window, `Clips`."""
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
    look: Callable[[Any, Tensor], Tokens] = encoder_in_use
    """The representation that must not collapse, of images or frames [B, 3, H, W], or clips [B, 3, T, H, W], in the
    view."""
    window: "Window | None" = None
    """What it wants of episodes; None where it does not train on them."""
    clip: Clip | None = None
    """What it wants of videos; None where it does not train on them. With neither it trains on images."""
    second_stage: "SecondStage | None" = None
    """What is trained after the last step, on the latents of a perception that no longer changes; None for nothing."""
    planning: Planning | None = None
    """How the model is planned with unless something else is asked for; None leaves it to the defaults."""


@dataclass(frozen=True, slots=True)
class Window:
    """Windows of episodes that a world model is trained on."""

    frames: int
    """Frames of a window T."""
    history: int
    """Most frames that the predictor looks at."""
    action_size: int
    """Numbers in one action of the environment A."""
    skip: int = 1
    """Steps of the environment from one frame of the window to the next."""


@dataclass(frozen=True, slots=True)
class View:
    """Deterministic view of an image for evaluation and use."""

    size: int
    """Side [pixels]; the short side is resized to it and the center cropped."""
    mean: tuple[float, float, float]
    """Subtracted from each channel in [0, 1]."""
    std: tuple[float, float, float]
    """Divides each channel."""

    def show(self, frames: Tensor) -> Tensor:
        """Frames of a world, uint8 or float in [0, 1], [..., 1 or 3, H, W] -> float32 [..., 3, size, size]."""
        return normalize(center_square(frames, self.size), self.mean, self.std)
