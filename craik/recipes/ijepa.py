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
The variant of our own, `tiny`, uses unbiased masks (`masking/block.py`) and SIGReg on the pooled contexts. For small
images in earnest, where the published recipe does badly, see `ijepa_conv`.
"""

from dataclasses import dataclass, field
from functools import partial

import torch

from craik.core import EMA, JEPA, Batch, Grid, Part, Regularizer
from craik.core.energy import smooth_l1
from craik.core.limits import at_least, rising, within
from craik.core.regularize import SIGReg
from craik.data.augment import (
    IMAGENET_MEAN,
    IMAGENET_STD,
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
        at_least(1, image=self.image, patch=self.patch, num_directions=self.num_directions)
        at_least(0, sigreg=self.sigreg)
        rising(0, 1, crop_scale=self.crop_scale, momentum=self.momentum)
        within(0, 1, flip_prob=self.flip_prob)
        if self.image % self.patch:
            low = max(1, self.image // self.patch) * self.patch
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
    """Crop, flip, normalize, and draw the masks."""
    images = random_resized_crop(
        samples.x, samples.sizes, cfg.image, scale=cfg.crop_scale, rng=rng, flip_prob=cfg.flip_prob
    )
    masks = tuple(mask.to(images.device) for mask in cfg.masks(grid, len(images), rng))
    return Batch((Part(normalize(images, IMAGENET_MEAN, IMAGENET_STD), masks),))
