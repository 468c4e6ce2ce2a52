"""Features: what a frozen encoder says about every image of a data set."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from craik.core.tokens import Tokens
from craik.data.augment import normalize, resize_center_crop
from craik.data.images import ImageData
from craik.data.view import as_volume
from craik.evaluate.progress import watch
from craik.nn.mode import evaluating

CPU_BATCH = 64  # images encoded at once: larger ones fall out of the cache (measured 166 against 121 images/s at 256)
DEVICE_BATCH = 256
Triple = tuple[float, float, float]


class Pool(Enum):
    """How the tokens of an image become its features. The values are the spellings of the command line."""

    MEAN = "mean"
    """Mean of the last layer's tokens, F = D."""
    LAST_FOUR = "last4"
    """Means of the last four layers, one after the other, F = 4 D (fewer where the encoder has fewer)."""
    TOKENS = "tokens"
    """All tokens of the last layer, unpooled, [N, D]."""

    @property
    def described(self) -> str:
        """In words, for a protocol."""
        if self is Pool.MEAN:
            return "mean over the tokens of the last layer"
        if self is Pool.LAST_FOUR:
            return "means over the tokens of the last four layers, concatenated"
        return "all tokens of the last layer"

    def __call__(self, encoder: nn.Module, x: Tensor) -> Tensor:
        """Features [B, F], or [B, N, D] for `TOKENS`, of the normalized input x [B, C, *sizes]."""
        if self is Pool.LAST_FOUR:
            layers = cast(Callable[[Tensor, int], list[Tensor]], encoder.layers)
            return torch.cat([layer.mean(1) for layer in layers(x, 4)], dim=-1)
        tokens: Tokens = encoder(x)
        return tokens.mean() if self is Pool.MEAN else tokens.x


@dataclass(frozen=True, slots=True)
class Featurizer:
    """Everything between stored pixels and features. The encoder must already be on `device`.

    The encoder is called as `encoder(x) -> Tokens` and, for `Pool.LAST_FOUR`, as `encoder.layers(x, 4)`.
    """

    encoder: nn.Module
    image_size: int
    """Side of the square the encoder sees [px]."""
    mean: Triple
    """Channel means of the training normalization, of pixels in [0, 1]."""
    std: Triple
    """Channel standard deviations of the training normalization."""
    pool: Pool = Pool.MEAN
    device: torch.device | str = "cpu"
    autocast: torch.dtype | None = None
    """Run the encoder in this half precision; None keeps float32."""

    @property
    def batch(self) -> int:
        """How many images to encode at once on this device."""
        return CPU_BATCH if torch.device(self.device).type == "cpu" else DEVICE_BATCH

    def __call__(self, x: Tensor, sizes: Tensor) -> Tensor:
        """Features of stored pixels.

        Args:
            x: Square canvases, uint8 [B, 3, S, S], or [B, T, 3, S, S] of clips.
            sizes: Height and width of the originals, int [B, 2] [px] on the CPU; the crop restores their aspect.

        Returns:
            float32 [B, F], or [B, N, D] for `Pool.TOKENS`, on `device`.
        """
        return self.embed(resize_center_crop(x.to(self.device, non_blocking=True), sizes, self.image_size))

    def embed(self, x: Tensor) -> Tensor:
        """Features of crops float [B, (T,) 3, H, W] in [0, 1] that are already on `device`; as `__call__`."""
        x = as_volume(normalize(x, self.mean, self.std))
        half = self.autocast is not None
        with torch.autocast(x.device.type, dtype=self.autocast, enabled=half):
            return self.pool(self.encoder, x).float()


def extract(
    featurizer: Featurizer,
    images: ImageData,
    *,
    batch: int | None = None,
    progress: bool = False,
    label: str = "features",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Features of all images in their order, [N, F] or [N, T, D] of `dtype`, on the CPU.

    The encoder runs in evaluation and inference mode and is left as it was found. Without `batch`, its size suits
    the device.
    """
    batch = batch or max(1, featurizer.batch // images.length)
    num_batches = -(-len(images) // batch)
    out: Tensor | None = None
    with evaluating(featurizer.encoder):
        for start, x, sizes in watch(read(images, batch), num_batches, label, enabled=progress):
            with torch.inference_mode():
                features = featurizer(x, sizes)
            if out is None:  # made outside inference mode, so that a probe may differentiate through it
                out = torch.empty(len(images), *features.shape[1:], dtype=dtype)
            out[start : start + len(x)].copy_(features)
    if out is None:
        raise ValueError("there are no images to extract features from")
    return out


def raw_pixels(images: ImageData, size: int, *, batch: int = 1024) -> Tensor:
    """The images themselves as features: center crops of side `size` [px], float32 [N, T * 3 * size * size] in [0, 1].

    T is 1 of images, and the number of frames of clips.
    """
    batch = max(1, batch // images.length)
    out = torch.empty(len(images), images.length * 3 * size * size)
    for start, x, sizes in read(images, batch):
        out[start : start + len(x)] = resize_center_crop(x, sizes, size).flatten(1)
    return out


def read(images: ImageData, batch: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the number of the first image, pixels uint8 [B, (T,) 3, S, S] and sizes int [B, 2], batch after batch."""
    for start in range(0, len(images), batch):
        rows = np.arange(start, min(start + batch, len(images)))
        pixels = torch.from_numpy(np.array(images.take(rows))).movedim(-1, -3)
        yield start, pixels, torch.from_numpy(np.array(images.sizes[rows]))
