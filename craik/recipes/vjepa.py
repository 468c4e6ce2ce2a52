"""V-JEPA: predict the representations of what is hidden in a clip, blocks of space through all of its time.

Paper: Bardes et al. 2024, arXiv 2404.08471.
Run:   craik train vjepa:tiny --data clips/ --out runs/a

The flow is `craik.core.jepa`, as for images: a clip is a grid of tubelets with three axes. Two tasks are posed on each
clip, many small blocks and few large ones, each with a mask token of its own.
Released variants are numerically equal to the published code (tests/parity): encoder, predictor, masks, loss,
optimizer and EMA.

Differences from the published code, none of which changes the mathematics:
- tubelets are cut and embedded once for both tasks, and only those that are seen; both contexts go through encoder
  and predictor in one pass (`nn/packed.py`), each attending to itself alone;
- goals are gathered before they are normalized, and the last block of the target works only where somebody asked;
- no gradient scaler in bfloat16, which has float32's range.
Differences that do:
- gradients are clipped from the first step and all together; published after the warmup, encoder and predictor apart;
- crops are resized with antialiasing.
`tiny`, of our own, has unbiased masks (`masking/spacetime.py`) and SIGReg on the pooled contexts.
"""

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from craik.core import EMA, JEPA, Regularizer
from craik.core.energy import l1
from craik.core.jepa import Latents
from craik.core.limits import at_least, rising, within
from craik.core.regularize import SIGReg
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.masking.spacetime import SpaceTimeBlocks
from craik.nn import sizes
from craik.nn.encoder import Encoder
from craik.nn.packed import packed
from craik.nn.position import Table
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size
from craik.recipes._clips import grid_of, prepare, tokenizer_of
from craik.train.optim import AdamW
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Clip, Recipe, Rule, View
from craik.train.schedule import Schedule, linear

SHORT_RANGE = SpaceTimeBlocks(8, (0.15, 0.15), kind=0, as_published=True)
LONG_RANGE = SpaceTimeBlocks(2, (0.7, 0.7), kind=1, as_published=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: ViT-L/16 at 224 px, the published configuration file."""

    encoder: Size = sizes.LARGE
    """Context and target encoder."""
    predictor: Size = Size(384, 12, 16)
    """Narrow predictor; published with the encoder's number of heads."""
    clip: Clip = Clip(16, fps=7.5, rule=Rule.VJEPA)
    """What is cut out of a video; published with every fourth frame, as here of videos of 30 frames per second."""
    image: int = 224
    """Side of a crop [pixels]."""
    patch: int = 16
    """Side of a patch [pixels]."""
    tubelet: int = 2
    """Frames of a patch."""
    masks: tuple[SpaceTimeBlocks, ...] = (SHORT_RANGE, LONG_RANGE)
    """Tasks posed on each clip: section 3 and Table 8 of the appendix."""
    crop_scale: tuple[float, float] = (0.3, 1.0)
    """Area of a crop [fraction of the frame]."""
    crop_ratio: tuple[float, float] = (0.75, 1.35)
    """Width over height of a crop."""
    flip_prob: float = 0.5
    """Probability of a horizontal flip."""
    momentum: tuple[float, float] = (0.998, 1.0)
    """Target momentum, on a line that is stretched as the other schedules are."""
    spread: float = 0.0
    """Weight of a hinge that keeps the predicted tokens of a clip apart; in the published code, and 0 there."""
    sigreg: float = 0.0
    """Weight of SIGReg on the pooled contexts; not in the paper."""
    num_directions: int = 1024
    """Random directions of SIGReg per step."""
    batch: int = 3072
    """Clips per step on all ranks together."""
    epochs: float = 138
    """Length of the run: 90,000 steps on the 2 million videos of VideoMix2M."""
    optim: AdamW = field(default_factory=lambda: AdamW(lr=6.25e-4, clip_norm=10.0, stretch=1.25))
    """lr 2e-4 -> 6.25e-4 -> 1e-6 and weight decay 0.04 -> 0.4, of which the last fifth is not reached."""

    def __post_init__(self) -> None:
        at_least(1, image=self.image, patch=self.patch, tubelet=self.tubelet)
        at_least(1, num_directions=self.num_directions, masks=len(self.masks))
        at_least(0, spread=self.spread, sigreg=self.sigreg)
        rising(0, 1, crop_scale=self.crop_scale, momentum=self.momentum)
        within(0, 1, flip_prob=self.flip_prob)
        grid_of(self)


def vitl16() -> Config:
    """ViT-L/16 at 224 px: 80.8 % on Kinetics-400 with an attentive probe in the paper."""
    return Config()


def vith16() -> Config:
    """ViT-H/16 at 224 px: 82.0 % on Kinetics-400."""
    return Config(encoder=sizes.HUGE)


def vith16_384() -> Config:
    """ViT-H/16 at 384 px: 81.9 % on Kinetics-400, 77.4 % on ImageNet-1k."""
    return Config(encoder=sizes.HUGE, image=384, batch=2400, epochs=108)


def tiny() -> Config:
    """Minutes on a laptop: 8 frames of 32 px, 64 tokens."""
    return Config(
        encoder=Size(96, 4, 3),
        predictor=Size(48, 2, 3),
        clip=Clip(8, fps=8.0),
        image=32,
        patch=8,
        masks=(SpaceTimeBlocks(8, (0.15, 0.15), kind=0), SpaceTimeBlocks(2, (0.5, 0.5), kind=1)),
        momentum=(0.99, 1.0),
        sigreg=0.05,
        num_directions=256,
        batch=64,
        epochs=10,
        optim=AdamW(lr=1e-3, start_lr=1e-4, warmup_fraction=0.1, weight_decay=0.05, final_weight_decay=0.05),
    )


def build(cfg: Config) -> Recipe:
    """The parts of the method."""
    grid = grid_of(cfg)
    encoder = Encoder(tokenizer_of(cfg), cfg.encoder, position=Table(grid, cfg.encoder.width))
    predictor = Predictor(
        cfg.encoder.width,
        cfg.predictor,
        grid,
        position=Table(grid, cfg.predictor.width),
        num_kinds=1 + max(masks.kind for masks in cfg.masks),
        token_std=0.0,
    )
    regularizers = {}
    if cfg.spread:
        regularizers["spread"] = Regularizer(cfg.spread, below_one, deviation_of_tokens)
    if cfg.sigreg:
        regularizers["sigreg"] = Regularizer(cfg.sigreg, SIGReg(cfg.num_directions, reduce=sum_over_ranks))
    return Recipe(
        model=JEPA(encoder, EMA(encoder), predictor, l1, regularizers, solve=packed),
        prepare=partial(prepare, cfg, grid),
        optim=cfg.optim,
        momentum=partial(stretched, cfg),
        batch=cfg.batch,
        epochs=cfg.epochs,
        view=View(cfg.image, IMAGENET_MEAN, IMAGENET_STD),
        latents=JEPA.latents,
        clip=cfg.clip,
    )


def stretched(cfg: Config, steps: int) -> Schedule:
    """Target momentum of a run of so many steps."""
    return linear(*cfg.momentum, cfg.optim.stretch * steps)


def deviation_of_tokens(latents: Latents) -> Tensor:
    """Deviation of each feature over the predicted tokens of a clip, mean over the tasks, [B, D]."""
    deviations = [(pred.flatten(1, 2).var(1) + 1e-4).sqrt() for pred in latents.pred]
    return torch.stack(deviations).mean(0)


def below_one(deviations: Tensor, step: int) -> Tensor:
    """By how much deviations fall short of 1 on average, scalar; the step does not matter."""
    return (1 - deviations).relu().mean()
