"""What a file of foreign weights holds, and what comes out of it."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from craik.nn.encoder import Encoder
from craik.nn.pooling import AttentivePooler
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size


@dataclass(frozen=True, slots=True)
class PartInfo:
    """One network in the file."""

    name: str
    """For example "target_encoder"."""
    num_tensors: int
    num_parameters: int
    """Position tables included."""


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """What `craik weights info` prints: nothing but shapes is read for it."""

    path: Path
    layout: str
    """Release and naming, for example "I-JEPA checkpoint"."""
    name: str
    """For example "I-JEPA ViT-H/14, 224 px"."""
    size: Size | None
    """Size of the encoder; None where the number of heads is not known."""
    image_size: tuple[int, int]
    """Height and width the position table was made for [pixels]."""
    patch: tuple[int, int]
    """Height and width of a patch [pixels]."""
    parts: tuple[PartInfo, ...]
    extra: tuple[str, ...] = ()
    """Known entries that are not loaded: optimizer state, counters."""
    note: str = ""
    """What one should know before using it."""
    frames: int | None = None
    """Frames of a clip the weights were made for; None for images."""
    tubelet: int | None = None
    """Frames of a patch; None for images."""

    @property
    def has_predictor(self) -> bool:
        """Whether the predictor is there too, so that pretraining can go on."""
        return any(part.name == "predictor" for part in self.parts)


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """Networks with foreign weights, float32, on the CPU, in evaluation mode."""

    encoder: Encoder
    """The one that was asked for with `which`."""
    predictor: Predictor | None
    target_encoder: Encoder | None
    """The slow copy; None where the file has none. The same object as `encoder` if it was asked for."""
    classifier: nn.Linear | None
    """Head on the mean over tokens, or on what the pooler gives, [B, D] -> [B, classes]; of some Hugging Face files."""
    image_size: tuple[int, int]
    """Height and width the position table was made for [pixels]."""
    patch: tuple[int, int]
    """Height and width of a patch [pixels]."""
    mean: tuple[float, float, float]
    """Subtracted from each channel in [0, 1] before the encoder."""
    std: tuple[float, float, float]
    """Divides each channel."""
    name: str
    """For example "I-JEPA ViT-H/14, 224 px"."""
    frames: int | None = None
    """Frames of a clip the weights were made for; None for images."""
    tubelet: int | None = None
    """Frames of a patch; None for images."""
    pooler: AttentivePooler | None = None
    """What the classifier reads, [B, N, D] -> [B, 1, D]; None where it reads the mean over tokens."""
