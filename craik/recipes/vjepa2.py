"""V-JEPA 2: the same prediction as V-JEPA at scale, with rotary positions, a constant learning rate, and a cooldown.

Paper: Assran et al. 2025, arXiv 2506.09985.
Run:   craik train vjepa2:tiny --data clips/ --out runs/a
       craik train vjepa2:vitl_cooldown --init runs/vitl --data clips/ --out runs/b    # longer clips at the end

Both tasks of a clip are asked with one mask token. Released variants are numerically equal to the published code
(tests/parity): encoder, predictor, masks, loss, optimizer and EMA.

Differences from the published code, none of which changes the mathematics, beside those of `vjepa`:
- context and mask tokens are not sorted by position, for attention with explicit positions does not see their order;
- angles of the rotary positions are computed once for all heads and blocks, in float32 also under autocast;
- mask tokens are not made for places that nobody asks for.
Differences that do: crops are resized with antialiasing. The order of training is told by `--init`, where the published
code restores the optimizer too.
`tiny`, of our own, has rotary positions without the published slip, unbiased masks, and SIGReg on the pooled contexts.
"""

from dataclasses import dataclass, field
from functools import partial

from craik.core import EMA, JEPA, Regularizer
from craik.core.energy import l1
from craik.core.limits import at_least, rising, within
from craik.core.regularize import SIGReg
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.masking.spacetime import SpaceTimeBlocks
from craik.nn import sizes
from craik.nn.block import rescale_by_depth
from craik.nn.encoder import Encoder
from craik.nn.packed import packed
from craik.nn.position import Rotary
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size
from craik.recipes._clips import grid_of, prepare, tokenizer_of
from craik.train.optim import AdamW
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Clip, Recipe, Rule, View
from craik.train.schedule import Schedule, linear

SHORT_RANGE = SpaceTimeBlocks(8, (0.15, 0.15), as_published=True)
LONG_RANGE = SpaceTimeBlocks(2, (0.7, 0.7), as_published=True)
VIDEOS = 22e6
"""Clips of an epoch: VideoMix22M."""


def constant(lr: float = 5.25e-4, warmup_fraction: float = 12 / 240) -> AdamW:
    """The long first phase: a warmup, then a learning rate and a weight decay that stay."""
    return AdamW(
        lr=lr,
        start_lr=1e-4,
        final_lr=lr,
        warmup_fraction=warmup_fraction,
        weight_decay=0.04,
        final_weight_decay=0.04,
    )


def cooling(lr: float = 5.25e-4) -> AdamW:
    """The short last phase: a straight line down to 1e-6."""
    return AdamW(
        lr=lr,
        start_lr=lr,
        final_lr=1e-6,
        warmup_fraction=0.0,
        decay="linear",
        weight_decay=0.04,
        final_weight_decay=0.04,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: ViT-L/16, the first phase; Table 9 of the paper and its files."""

    encoder: Size = sizes.LARGE
    """Context and target encoder."""
    predictor: Size = Size(384, 12, 12)
    """Narrow predictor."""
    clip: Clip = Clip(16, fps=4.0, rule=Rule.VJEPA)
    """What is cut out of a video."""
    image: int = 256
    """Side of a crop [pixels]."""
    patch: int = 16
    """Side of a patch [pixels]."""
    tubelet: int = 2
    """Frames of a patch."""
    tiled: bool = True
    """Rotary positions with the slip of the published code, which published weights need (`nn/position.py`)."""
    mask_tokens: int = 10
    """Mask tokens; only the first is ever asked with, the others are there so that published weights fit."""
    masks: tuple[SpaceTimeBlocks, ...] = (SHORT_RANGE, LONG_RANGE)
    """Tasks posed on each clip."""
    crop_scale: tuple[float, float] = (0.3, 1.0)
    """Area of a crop [fraction of the frame]."""
    crop_ratio: tuple[float, float] = (0.75, 1.35)
    """Width over height of a crop."""
    flip_prob: float = 0.5
    """Probability of a horizontal flip."""
    momentum: tuple[float, float] = (0.99925, 0.99925)
    """Target momentum, from the first to the last step."""
    sigreg: float = 0.0
    """Weight of SIGReg on the pooled contexts; not in the paper."""
    num_directions: int = 1024
    """Random directions of SIGReg per step."""
    batch: int = 3072
    """Clips per step on all ranks together."""
    epochs: float = 240_000 * 3072 / VIDEOS
    """Length of the run: 240,000 steps."""
    optim: AdamW = field(default_factory=constant)
    """lr 1e-4 -> 5.25e-4 over 12,000 steps, then constant; weight decay 0.04."""

    def __post_init__(self) -> None:
        at_least(1, image=self.image, patch=self.patch, tubelet=self.tubelet)
        at_least(1, num_directions=self.num_directions, masks=len(self.masks), mask_tokens=self.mask_tokens)
        at_least(0, sigreg=self.sigreg)
        rising(0, 1, crop_scale=self.crop_scale, momentum=self.momentum)
        within(0, 1, flip_prob=self.flip_prob)
        grid_of(self)


def vitl() -> Config:
    """ViT-L/16, 16 frames at 256 px."""
    return Config()


def vith() -> Config:
    """ViT-H/16, 16 frames at 256 px."""
    return Config(encoder=sizes.HUGE)


def vitg() -> Config:
    """ViT-g/16 with 22 heads, 16 frames at 256 px."""
    return Config(encoder=sizes.GIANT_22)


def vitl_cooldown() -> Config:
    """ViT-L/16, 64 frames at 256 px: the last 12,000 steps, from `vitl` by --init. SSv2 73.7 % in the paper."""
    return cooldown(sizes.LARGE, 256)


def vith_cooldown() -> Config:
    """ViT-H/16, 64 frames at 256 px, from `vith`. SSv2 74.0 %."""
    return cooldown(sizes.HUGE, 256)


def vitg_cooldown() -> Config:
    """ViT-g/16, 64 frames at 256 px, from `vitg`. SSv2 75.3 %."""
    return cooldown(sizes.GIANT_22, 256)


def vitg_cooldown_384() -> Config:
    """ViT-g/16, 64 frames at 384 px, from `vitg`. SSv2 77.3 %."""
    return cooldown(sizes.GIANT_22, 384)


def cooldown(encoder: Size, image: int) -> Config:
    """Long clips at full size while the learning rate falls: all the paper spends on resolution."""
    return Config(
        encoder=encoder,
        clip=Clip(64, fps=4.0, rule=Rule.VJEPA),
        image=image,
        epochs=12_000 * 3072 / VIDEOS,
        optim=cooling(),
    )


def tiny() -> Config:
    """Minutes on a laptop: 8 frames of 32 px, 64 tokens."""
    return Config(
        encoder=Size(96, 4, 3),
        predictor=Size(48, 2, 2),
        clip=Clip(8, fps=8.0),
        image=32,
        patch=8,
        tiled=False,
        mask_tokens=1,
        masks=(SpaceTimeBlocks(8, (0.15, 0.15)), SpaceTimeBlocks(2, (0.5, 0.5))),
        momentum=(0.99, 1.0),
        sigreg=0.05,
        num_directions=256,
        batch=64,
        epochs=10,
        optim=AdamW(lr=1e-3, start_lr=1e-4, warmup_fraction=0.1, weight_decay=0.05, final_weight_decay=0.05),
    )


def rotary_of(cfg: Config, size: Size) -> Rotary:
    """Positions of time, row and column for the heads of a trunk."""
    return Rotary(size.width // size.heads, 3, tiled=cfg.tiled)


def build(cfg: Config) -> Recipe:
    """The parts of the method."""
    grid = grid_of(cfg)
    encoder = Encoder(tokenizer_of(cfg), cfg.encoder, rotary=rotary_of(cfg, cfg.encoder))
    predictor = Predictor(
        cfg.encoder.width,
        cfg.predictor,
        grid,
        rotary=rotary_of(cfg, cfg.predictor),
        num_kinds=cfg.mask_tokens,
        token_std=0.0,
    )
    predictor.other_tokens.requires_grad_(False)  # nobody asks with them: they stay, and ranks do not wait for them
    rescale_by_depth(encoder.trunk)
    rescale_by_depth(predictor.trunk)
    regularizers = (
        {"sigreg": Regularizer(cfg.sigreg, SIGReg(cfg.num_directions, reduce=sum_over_ranks))} if cfg.sigreg else {}
    )
    return Recipe(
        model=JEPA(encoder, EMA(encoder), predictor, l1, regularizers, solve=packed),
        prepare=partial(prepare, cfg, grid),
        optim=cfg.optim,
        momentum=partial(momentum_of, cfg),
        batch=cfg.batch,
        epochs=cfg.epochs,
        view=View(cfg.image, IMAGENET_MEAN, IMAGENET_STD),
        latents=JEPA.latents,
        clip=cfg.clip,
    )


def momentum_of(cfg: Config, steps: int) -> Schedule:
    """Target momentum of a run of so many steps."""
    return linear(*cfg.momentum, steps)
