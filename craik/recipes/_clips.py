"""What the masked video recipes share: tubelets and their lattice, and from raw clips to masked ones."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from craik.core import Batch, Grid, Part
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD, draw_crops, normalize
from craik.masking.spacetime import SpaceTimeBlocks
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.train.recipe import Clip, Samples


class VideoConfig(Protocol):
    """What is read here of a recipe's Config."""

    @property
    def encoder(self) -> Size:
        """Size of the encoder."""

    @property
    def clip(self) -> Clip:
        """What is cut out of a video."""

    @property
    def image(self) -> int:
        """Side of a crop [pixels]."""

    @property
    def patch(self) -> int:
        """Side of a patch [pixels]."""

    @property
    def tubelet(self) -> int:
        """Frames of a patch."""

    @property
    def masks(self) -> tuple[SpaceTimeBlocks, ...]:
        """Tasks posed on each clip."""

    @property
    def crop_scale(self) -> tuple[float, float]:
        """Area of a crop [fraction of the frame]."""

    @property
    def crop_ratio(self) -> tuple[float, float]:
        """Width over height of a crop."""

    @property
    def flip_prob(self) -> float:
        """Probability of a horizontal flip."""


def tokenizer_of(cfg: VideoConfig) -> Patchify:
    """Tubelets to tokens."""
    return Patchify(3, (cfg.tubelet, cfg.patch, cfg.patch), cfg.encoder.width, ("t", "h", "w"))


def grid_of(cfg: VideoConfig) -> Grid:
    """Token lattice of a clip.

    Raises:
        ValueError: If patches do not divide it.
    """
    with torch.device("meta"):
        return tokenizer_of(cfg).grid((cfg.clip.frames, cfg.image, cfg.image))


def prepare(cfg: VideoConfig, grid: Grid, samples: Samples, rng: torch.Generator) -> Batch:
    """Crop and flip whole clips, normalize, and draw the masks."""
    clips = crop_clips(samples, cfg.image, scale=cfg.crop_scale, ratio=cfg.crop_ratio, flip_prob=cfg.flip_prob, rng=rng)
    if clips.shape[2] != cfg.clip.frames:
        raise ValueError(f"clips of {clips.shape[2]} frames, where the recipe wants {cfg.clip.frames}")
    masks = tuple(sampler(grid, len(clips), rng).to(clips.device) for sampler in cfg.masks)
    return Batch((Part(clips, masks),))


def crop_clips(
    samples: Samples,
    out: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip_prob: float,
    rng: torch.Generator,
) -> Tensor:
    """Clips cropped, flipped and resized, each with one draw for all of its frames, and normalized.

    Frames stay bytes until they are cropped, on a CPU until they are resized.

    Args:
        samples: The raw clips: canvases uint8 [B, T, 3, H, W] of any H and W, and the (height, width) of the original
            frames [px], in whose geometry crops are drawn.
        out: Side of the result [px].
        scale: Range of the crop's area [fraction of the original's].
        ratio: Range of width over height.
        flip_prob: Probability to mirror left and right.
        rng: A CPU generator.

    Returns:
        float32 [B, 3, T, out, out].

    Raises:
        ValueError: If x is not uint8 [B, T, 3, H, W].
    """
    x, sizes = samples.x, samples.sizes.cpu()
    if x.ndim != 5 or x.shape[2] != 3 or x.dtype != torch.uint8:
        raise ValueError(f"clips are to be uint8 [B, T, 3, H, W], got {x.dtype} {list(x.shape)}")
    boxes = draw_crops(sizes, scale, ratio, rng)
    flip = torch.rand(len(x), generator=rng) < flip_prob
    canvas = torch.tensor(x.shape[-2:], dtype=torch.float64)
    boxes = boxes * (canvas / sizes.double()).repeat(1, 2)
    low = torch.minimum(boxes[:, :2].round(), canvas - 1)
    high = torch.maximum(torch.minimum((boxes[:, :2] + boxes[:, 2:]).round(), canvas), low + 1)
    clips = torch.stack(
        [
            resize(clip[..., top:bottom, left:right], out)
            for clip, (top, left, bottom, right) in zip(x, torch.cat([low, high], 1).int().tolist(), strict=True)
        ]
    )  # [B, T, 3, out, out]
    clips = torch.where(flip.to(x.device)[:, None, None, None, None], clips.flip(-1), clips)
    return normalize(clips, IMAGENET_MEAN, IMAGENET_STD).transpose(1, 2)


def resize(frames: Tensor, out: int) -> Tensor:
    """Frames uint8 [T, 3, h, w] as float32 [T, 3, out, out] in [0, 1], bilinear with antialiasing."""
    if frames.device.type == "cpu":  # in bytes, several times faster there
        frames = frames.contiguous(memory_format=torch.channels_last)
    else:
        frames = frames.float()
    if frames.shape[-2:] != (out, out):
        frames = F.interpolate(frames, size=(out, out), mode="bilinear", antialias=True)
    return frames.float() / 255
