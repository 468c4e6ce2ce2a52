"""V-JEPA 2.1: predict several levels of the encoder, where tokens are hidden and, softly, where they are seen.

Paper: arXiv 2603.14482.
Run:   craik train vjepa2_1:tiny --data clips/ --out runs/a

What makes its features dense beside V-JEPA 2's: goals are four levels of the target encoder, each normalized; the
predictor answers at the context too, weighted by how near that is to what is hidden; rotary positions are without the
slip and span any frame alike; images have a stem and modality tokens of their own, and train the same trunk.

There are no recorded tensors of this release: it is written from facts about it, and its identities are tested (it is
V-JEPA 2 where what is new is taken away). Left out: distillation from the largest model, by which the published base
and large ones were made, and the guard that skips steps whose loss leaps.
Images and clips in one run: a batch may hold a part of each, and `prepare` takes either.
"""

from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.core import EMA, Batch, Loss, Mask, Part, Tokens
from craik.core.energy import l1
from craik.core.jepa import Latents
from craik.core.limits import at_least, rising, within
from craik.core.precision import full_precision
from craik.core.regularize import SIGReg
from craik.core.tokens import take
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.masking.spacetime import SpaceTimeBlocks
from craik.nn import sizes
from craik.nn.block import rescale_by_depth
from craik.nn.levels import Dense, DensePredictor, LevelEncoder
from craik.nn.position import Rotary
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.recipes._clips import crop_clips, grid_of, tokenizer_of
from craik.recipes.vjepa2 import LONG_RANGE, SHORT_RANGE, constant, cooling, momentum_of
from craik.train.optim import AdamW
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Clip, Recipe, Rule, Samples, View

LEVELS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23), 40: (9, 19, 29, 39), 48: (11, 23, 37, 47)}
"""Blocks that are levels, by depth, as published."""
CLIPS = 163e6
"""Clips of an epoch: VisionMix163M."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: ViT-g/16, the first phase; Table 11 of the paper."""

    encoder: Size = sizes.GIANT_22
    """Context and target encoder."""
    predictor: Size = Size(384, 24, 12)
    """Narrow predictor."""
    levels: tuple[int, ...] = LEVELS[40]
    """Blocks after which a level is read, counted from 0; the last block is the last one."""
    clip: Clip = Clip(16, fps=4.0, rule=Rule.VJEPA)
    """What is cut out of a video."""
    image: int = 256
    """Side of a crop, of clips and images [pixels]."""
    patch: int = 16
    """Side of a patch [pixels]."""
    tubelet: int = 2
    """Frames of a patch; that of an image has one."""
    reach: int = 16
    """Rows and columns that positions are fitted to [tokens]: those of the first phase."""
    mask_tokens: int = 8
    """Mask tokens; only the first is asked with, the others are there so that published weights fit."""
    masks: tuple[SpaceTimeBlocks, ...] = (SHORT_RANGE, LONG_RANGE)
    """Tasks posed on each clip or image."""
    context_weight: tuple[float, float] = (0.5, 0.7)
    """Weight of the error at the context, of clips and of images."""
    context_steps: tuple[int, int] = (15_000, 30_000)
    """That weight is 0 up to the first of these steps and rises on a line to the second."""
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
    batch: int = 128
    """Clips per step on all ranks together; published beside 2304 images."""
    epochs: float = 135_000 * 128 / CLIPS
    """Length of the run: 135,000 steps."""
    optim: AdamW = field(default_factory=partial(constant, warmup_fraction=12 / 135))
    """lr 1e-4 -> 5.25e-4 over 12,000 steps, then constant; weight decay 0.04."""

    def __post_init__(self) -> None:
        at_least(1, image=self.image, patch=self.patch, tubelet=self.tubelet, mask_tokens=self.mask_tokens)
        at_least(1, num_directions=self.num_directions, masks=len(self.masks), reach=self.reach)
        at_least(0, sigreg=self.sigreg, context_weight=min(self.context_weight))
        rising(0, 1, crop_scale=self.crop_scale, momentum=self.momentum)
        rising(0, float("inf"), context_steps=self.context_steps)
        within(0, 1, flip_prob=self.flip_prob)
        grid_of(self)


def vitg() -> Config:
    """ViT-g/16, 16 frames at 256 px."""
    return Config()


def vit_gigantic() -> Config:
    """ViT-G/16, 16 frames at 256 px: SSv2 76.1 % before the cooldown."""
    return Config(encoder=sizes.GIGANTIC, levels=LEVELS[48])


def vitg_cooldown() -> Config:
    """ViT-g/16, 64 frames at 384 px: the last 12,000 steps, from `vitg` by --init."""
    return cooldown(vitg())


def vit_gigantic_cooldown() -> Config:
    """ViT-G/16, 64 frames at 384 px, from `vit_gigantic`: SSv2 77.7 %."""
    return cooldown(vit_gigantic())


def cooldown(first: Config) -> Config:
    """Long clips at full size while the learning rate falls; the error at the context has its whole weight."""
    return Config(
        encoder=first.encoder,
        levels=first.levels,
        clip=Clip(64, fps=4.0, rule=Rule.VJEPA),
        image=384,
        context_steps=(0, 1),
        epochs=12_000 * 128 / CLIPS,
        optim=cooling(lr=6e-4),
    )


def tiny() -> Config:
    """Minutes on a laptop: 8 frames of 32 px, 64 tokens, two levels."""
    return Config(
        encoder=Size(96, 4, 3),
        predictor=Size(48, 2, 2),
        levels=(1, 3),
        clip=Clip(8, fps=8.0),
        image=32,
        patch=8,
        reach=4,
        mask_tokens=1,
        masks=(SpaceTimeBlocks(8, (0.15, 0.15)), SpaceTimeBlocks(2, (0.5, 0.5))),
        context_steps=(50, 150),
        momentum=(0.99, 1.0),
        sigreg=0.05,
        num_directions=256,
        batch=64,
        epochs=10,
        optim=AdamW(lr=1e-3, start_lr=1e-4, warmup_fraction=0.1, weight_decay=0.05, final_weight_decay=0.05),
    )


@dataclass(frozen=True, slots=True)
class ContextWeight:
    """How much the error at the context counts, which rises while training goes on."""

    clips: float
    images: float
    steps: tuple[int, int]
    """0 up to the first, all of it from the second on."""

    def __call__(self, step: int, still: bool) -> float:
        """At a step."""
        begin, end = self.steps
        share = min(1.0, max(0.0, (step - begin) / max(1, end - begin)))
        return share * (self.images if still else self.clips)


class DenseJEPA(nn.Module):
    """The flow of `JEPA`, with a second, weighted energy at the context itself."""

    def __init__(
        self,
        encoder: LevelEncoder,
        predictor: DensePredictor,
        context_weight: ContextWeight,
        sigreg: SIGReg | None = None,
        sigreg_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.target = EMA(encoder, normalize=partial(normalize_levels, num_levels=len(encoder.levels)))
        self.predictor = predictor
        self.context_weight = context_weight
        self.sigreg = sigreg
        self.sigreg_weight = sigreg_weight

    def forward(self, batch: Batch, step: int = 0) -> Loss:
        """Loss of one batch, of parts with clips [B, 3, T, H, W] or images [B, 3, 1, H, W]."""
        hidden, weighted, near, seen = [], [], [], Latents()
        for part in batch.parts:
            weight = self.context_weight(step, part.x.shape[2] == 1)
            for mask, goals, context, answer in self.tasks(part):
                goal = goals.take(mask.target[:, 0])
                hidden.append(l1(answer.pred, goal.x.unsqueeze(1)).mean())
                near.append(near_error(answer.context, context.at, goal.at, goals.take(mask.context).x))
                weighted.append(weight * near[-1])
                seen.context.append(context)
        terms = {"energy": torch.stack(hidden).mean(), "context": torch.stack(near).mean()}
        total = terms["energy"] + torch.stack(weighted).mean() + self.nothing()
        if self.sigreg is not None:
            terms["sigreg"] = self.sigreg(seen.pooled_context(), step)
            total = total + self.sigreg_weight * terms["sigreg"]
        return Loss(total, terms)

    def nothing(self) -> Tensor:
        """Zero, of the parameters that clips alone or images alone use, so that all ranks have gradients for all."""
        encoder, predictor = self.encoder, self.predictor
        stems = [*encoder.tokenizer.parameters(), *encoder.stills.parameters()]
        tokens = [encoder.clip_token, encoder.still_token, predictor.clip_token, predictor.still_token]
        return 0.0 * torch.stack([p.sum() for p in (*stems, *tokens)]).sum()

    def tasks(self, part: Part) -> list[tuple[Mask, Tokens, Tokens, Dense]]:
        """Each mask with the goals at all places, the context, and what was predicted; all in one pass."""
        goals: Tokens = self.target(self.encoder, part.x)  # at all places: nearly all are asked for
        lengths = tuple(mask.context.shape[1] for mask in part.masks)
        seen: Tokens = self.encoder(part.x, keep=torch.cat([mask.context for mask in part.masks], 1), lengths=lengths)
        contexts = [Tokens(x, at) for x, at in zip(seen.x.split(lengths, 1), seen.at.split(lengths, 1), strict=True)]
        places = [take(goals.at, mask.target[:, 0]).unsqueeze(1) for mask in part.masks]
        answers = self.predictor.everywhere(contexts, places, still=part.x.shape[2] == 1)
        return [(m, goals, c, a) for m, c, a in zip(part.masks, contexts, answers, strict=True)]

    def latents(self, batch: Batch) -> Latents:
        """All representations of a batch, to look at."""
        seen = Latents()
        for part in batch.parts:
            for mask, goals, context, answer in self.tasks(part):
                seen.context.append(context)
                seen.goal.append(goals.take(mask.target[:, 0]))
                seen.pred.append(answer.pred)
        return seen


def normalize_levels(x: Tensor, num_levels: int) -> Tensor:
    """Each level of each token to mean 0 and variance 1, [..., L * D]."""
    levels = full_precision(x).unflatten(-1, (num_levels, -1))
    return F.layer_norm(levels, levels.shape[-1:]).flatten(-2)


def near_error(pred: Tensor, at: Tensor, hidden: Tensor, goal: Tensor) -> Tensor:
    """Absolute error at the context over the root of its distance to the nearest hidden token, mean, scalar.

    Args:
        pred: [B, Kc, O].
        at: Where the context lies, [B, Kc, 3] in token units.
        hidden: Where the hidden tokens lie, [B, Kt, 3].
        goal: [B, Kc, O].
    """
    distance = torch.stack([torch.cdist(a, h).amin(-1) for a, h in zip(at, hidden, strict=True)])  # [B, Kc]
    error = (full_precision(pred) - full_precision(goal)).abs().mean(-1)
    return (error / distance.sqrt()).mean()


def build(cfg: Config) -> Recipe:
    """The parts of the method."""
    grid, width = grid_of(cfg), cfg.encoder.width
    stills = Patchify(3, (1, cfg.patch, cfg.patch), width, ("t", "h", "w"))
    rotary = Rotary(width // cfg.encoder.heads, 3)
    encoder = LevelEncoder(tokenizer_of(cfg), stills, cfg.encoder, rotary, cfg.levels, cfg.reach)
    narrow = Rotary(cfg.predictor.width // cfg.predictor.heads, 3)
    predictor = DensePredictor(width, len(cfg.levels), cfg.predictor, grid, narrow, cfg.mask_tokens, cfg.reach)
    predictor.other_tokens.requires_grad_(False)  # nobody asks with them
    rescale_by_depth(encoder.trunk)
    rescale_by_depth(predictor.trunk)
    sigreg = SIGReg(cfg.num_directions, reduce=sum_over_ranks) if cfg.sigreg else None
    weight = ContextWeight(*cfg.context_weight, cfg.context_steps)
    return Recipe(
        model=DenseJEPA(encoder, predictor, weight, sigreg, cfg.sigreg),
        prepare=partial(prepare, cfg),
        optim=cfg.optim,
        momentum=partial(momentum_of, cfg),
        batch=cfg.batch,
        epochs=cfg.epochs,
        view=View(cfg.image, IMAGENET_MEAN, IMAGENET_STD),
        latents=DenseJEPA.latents,
        clip=cfg.clip,
    )


def prepare(cfg: Config, samples: Samples, rng: torch.Generator) -> Batch:
    """Crop, flip and normalize clips [B, T, 3, H, W], or images [B, 3, H, W], and draw the masks."""
    if samples.x.ndim == 4:
        samples = Samples(samples.x.unsqueeze(1), samples.sizes, samples.index, samples.label)
    x = crop_clips(samples, cfg.image, scale=cfg.crop_scale, ratio=cfg.crop_ratio, flip_prob=cfg.flip_prob, rng=rng)
    if x.shape[2] not in (1, cfg.clip.frames):
        raise ValueError(f"clips of {x.shape[2]} frames, where the recipe wants {cfg.clip.frames}, or images")
    tubelet = 1 if x.shape[2] == 1 else cfg.tubelet
    grid = Patchify(3, (tubelet, cfg.patch, cfg.patch), 1, ("t", "h", "w")).grid(tuple(x.shape[2:]))
    masks = tuple(sampler(grid, len(x), rng).to(x.device) for sampler in cfg.masks)
    return Batch((Part(x, masks),))
