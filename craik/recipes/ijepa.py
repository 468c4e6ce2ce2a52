"""I-JEPA: predict the representations of image blocks from the rest of the image.

Paper: Assran et al., CVPR 2023, arXiv 2301.08243.
Run:   craik train ijepa:tiny --data toy:shapes --out runs/a
       craik train ijepa:vith14_in1k --data imagenet/ --out runs/b     # 16 GPUs, 300 epochs

The flow is `craik.core.jepa`; this file says which parts are passed into it, and every number of the method.
Released variants are numerically equal to the published code (tests/parity): encoder, predictor, masks, loss,
optimizer and EMA.

Differences from the published code, none of which changes the mathematics:
- only kept patches are embedded; the last block works only where somebody asked; attention is a fused kernel;
- the head count of the giant predictor is its own setting instead of the encoder's;
- no gradient scaler in bfloat16, which has float32's range.
Difference from the paper: the loss is smooth-L1, as in the published code, where the paper writes L2.
Variants of our own (`tiny`, `small32`, `small64`) use unbiased masks; see `masking/block.py`. The small ones
also differ from the paper in these points, each a field of `Config` that is off by default. They are
hypotheses: no run has shown yet that they help (results/ijepa_small).
- one mask serves all images of a step, so that a position cannot tell images apart;
- the context image is color-jittered and sometimes gray, the target image is not; crop and flip are shared;
- SIGReg keeps the pooled contexts spread over the images of a step;
- weights start at the scale of their fan instead of the fixed 0.02 that suits wide encoders;
- all target blocks are predicted in one pass, from a few context tokens.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from craik.core import EMA, JEPA, Batch, Grid, Mask, Part, Regularizer
from craik.core.energy import smooth_l1
from craik.core.regularize import SIGReg
from craik.data.augment import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    color_jitter,
    grayscale,
    normalize,
    random_resized_crop,
)
from craik.masking.block import MultiBlock
from craik.nn import sizes
from craik.nn.encoder import Encoder
from craik.nn.position import Table
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.train.optim import AdamW
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Recipe, Samples, View
from craik.train.schedule import linear


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: ViT-H/14 on ImageNet-1k, the published configuration file."""

    encoder: Size = sizes.HUGE
    """Context and target encoder."""
    predictor: Size = Size(384, 12, 16)
    """Narrow predictor; published with the encoder's number of heads."""
    image: int = 224
    """Side of a crop [pixels]."""
    patch: int = 14
    """Side of a patch [pixels]."""
    masks: MultiBlock = MultiBlock(as_published=True)
    """Blocks: section 3 and Table 6."""
    crop_scale: tuple[float, float] = (0.3, 1.0)
    """Area of a crop [fraction of the image]; the only augmentation of the paper."""
    flip_prob: float = 0.0
    """Probability of a horizontal flip; the published configurations use none."""
    jitter: tuple[float, float, float, float] | None = None
    """Brightness, contrast, saturation [factors within 1 +- this] and hue [turns] of the context image,
    applied to four images in five; None leaves it as it is. Ours, after SimCLR (arXiv 2002.05709)."""
    gray_prob: float = 0.0
    """Probability that a context image loses its color; ours."""
    shared_masks: bool = False
    """One mask for all images of a step instead of one for each; ours."""
    max_context: int | None = None
    """Most context tokens per image, kept at random [tokens]; None keeps all. Ours."""
    fan_init: bool = False
    """Normal weights of variance 2 / (inputs + outputs) (Glorot and Bengio 2010), not of deviation 0.02."""
    momentum: tuple[float, float] = (0.996, 1.0)
    """Target momentum, linear from the first to the last step."""
    sigreg: float = 0.0
    """Weight of SIGReg on the pooled context; not in the paper."""
    num_directions: int = 1024
    """Random directions of SIGReg per step."""
    together: bool = False
    """Predict all blocks of an image in one pass: cheaper, and not the paper's method."""
    batch: int = 2048
    """Images per step on all ranks together."""
    epochs: float = 300
    """Length of the run."""
    optim: AdamW = field(default_factory=AdamW)
    """lr 2e-4 -> 1e-3 -> 1e-6 over 40 warmup epochs, weight decay 0.04 -> 0.4."""

    def __post_init__(self) -> None:
        if self.image % self.patch:
            low = self.image // self.patch * self.patch
            raise ValueError(
                f"image {self.image} is not a multiple of patch {self.patch}: use {low} or {low + self.patch}"
            )


def vith14_in1k() -> Config:
    """ViT-H/14 at 224 px on ImageNet-1k: 79.3 % linear in the paper."""
    return Config()


def vith16_448_in1k() -> Config:
    """ViT-H/16 at 448 px on ImageNet-1k: 81.1 % linear in the paper."""
    return Config(image=448, patch=16)


def vith14_in22k() -> Config:
    """ViT-H/14 at 224 px on ImageNet-22k, 66 epochs."""
    return Config(epochs=66, optim=AdamW(warmup_fraction=3 / 66))


def vitg16_in22k() -> Config:
    """ViT-g/16 at 224 px on ImageNet-22k, 44 epochs."""
    return Config(
        encoder=sizes.GIANT,
        predictor=Size(384, 16, 16),
        patch=16,
        epochs=44,
        optim=AdamW(warmup_fraction=3 / 44),
    )


def tiny() -> Config:
    """A minute on a laptop: 32 px, 64 tokens."""
    return Config(
        encoder=Size(96, 4, 3),
        predictor=Size(48, 2, 3),
        image=32,
        patch=4,
        masks=MultiBlock(),
        flip_prob=0.5,
        momentum=(0.99, 1.0),
        sigreg=0.05,
        num_directions=256,
        batch=64,
        epochs=10,
        optim=AdamW(lr=1e-3, start_lr=1e-4, warmup_fraction=0.1, weight_decay=0.05, final_weight_decay=0.05),
    )


def small32() -> Config:
    """Small images at 32 px, half an hour on two CPU cores; not yet verified, see results/ijepa_small."""
    return Config(
        encoder=Size(128, 4, 4),
        predictor=Size(64, 2, 2),
        image=32,
        patch=4,
        masks=MultiBlock(num_targets=3, target_scale=(0.15, 0.25)),
        crop_scale=(0.4, 1.0),
        flip_prob=0.5,
        jitter=(0.4, 0.4, 0.4, 0.1),
        gray_prob=0.2,
        shared_masks=True,
        max_context=20,
        fan_init=True,
        momentum=(0.99, 1.0),
        sigreg=0.05,
        num_directions=256,
        together=True,
        batch=64,
        epochs=12,
        optim=AdamW(lr=1e-3, start_lr=1e-5, warmup_fraction=0.05, weight_decay=0.05, final_weight_decay=0.05),
    )


def small64() -> Config:
    """Small images at 64 px: `small32` with patches of 8, so that the grid is the same. Not yet run."""
    return replace(small32(), image=64, patch=8, epochs=60)


def build(cfg: Config) -> Recipe:
    """The parts of the method."""
    tokenizer = Patchify(3, (cfg.patch, cfg.patch), cfg.encoder.width, ("h", "w"))
    grid = tokenizer.grid((cfg.image, cfg.image))
    column_first = (1, 0)  # the published table encodes the column in the first half of its channels
    encoder = Encoder(tokenizer, cfg.encoder, position=Table(grid, cfg.encoder.width, column_first))
    predictor = Predictor(
        cfg.encoder.width,
        cfg.predictor,
        grid,
        position=Table(grid, cfg.predictor.width, column_first),
        together=cfg.together,
    )
    if cfg.fan_init:
        encoder.apply(init_fan)
        predictor.apply(init_fan)
    regularizers = (
        {"sigreg": Regularizer(cfg.sigreg, SIGReg(cfg.num_directions, reduce=sum_over_ranks))} if cfg.sigreg else {}
    )
    return Recipe(
        model=JEPA(encoder, EMA(encoder), predictor, smooth_l1, regularizers),
        prepare=partial(prepare, cfg, grid),
        optim=cfg.optim,
        momentum=partial(linear, *cfg.momentum),
        batch=cfg.batch,
        epochs=cfg.epochs,
        view=View(cfg.image, IMAGENET_MEAN, IMAGENET_STD),
        latents=JEPA.latents,
    )


def prepare(cfg: Config, grid: Grid, samples: Samples, rng: torch.Generator) -> Batch:
    """Crop, flip, disturb the context, normalize, and draw the masks."""
    images = random_resized_crop(
        samples.x, samples.sizes, cfg.image, scale=cfg.crop_scale, rng=rng, flip_prob=cfg.flip_prob
    )
    mask = cfg.masks(grid, 1 if cfg.shared_masks else len(images), rng)
    if cfg.max_context is not None:
        mask = thin(mask, cfg.max_context, rng)
    if cfg.shared_masks:
        mask = Mask(mask.context.expand(len(images), -1), mask.target.expand(len(images), -1, -1))
    goal = normalize(images, IMAGENET_MEAN, IMAGENET_STD)
    disturbed = cfg.jitter is not None or cfg.gray_prob > 0
    seen = normalize(disturb(cfg, images, rng), IMAGENET_MEAN, IMAGENET_STD) if disturbed else goal
    return Batch((Part(seen, (mask.to(images.device),), y=goal if disturbed else None),))


def disturb(cfg: Config, images: Tensor, rng: torch.Generator) -> Tensor:
    """Color jitter and loss of color of images [B, 3, S, S] in [0, 1]."""
    if cfg.jitter is not None:
        brightness, contrast, saturation, hue = cfg.jitter
        images = color_jitter(
            images,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            prob=0.8,
            rng=rng,
        )
    return grayscale(images, prob=cfg.gray_prob, rng=rng)


def thin(mask: Mask, num: int, rng: torch.Generator) -> Mask:
    """The mask with at most `num` context tokens per sample, kept at random, in their order."""
    kept = torch.rand(mask.context.shape, generator=rng).argsort(1)[:, :num].sort(1).values
    return Mask(mask.context.gather(1, kept), mask.target)


def init_fan(module: nn.Module) -> None:
    """Normal weights of variance 2 / (inputs + outputs); other modules and biases are left alone."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
