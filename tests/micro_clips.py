"""A recipe of videos as a user would write it, small enough to train in a second: late frames from early ones."""

from dataclasses import dataclass, field
from functools import partial

import torch

from craik.core import EMA, JEPA, Batch, Grid, Mask, Part
from craik.core.energy import l1
from craik.data.augment import normalize, random_resized_crop
from craik.data.view import as_volume
from craik.nn.encoder import Encoder
from craik.nn.position import Table
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.train.optim import AdamW
from craik.train.recipe import Clip, Recipe, Samples, View
from craik.train.schedule import linear

HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """4 frames of 16 px, 32 tokens."""

    clip: Clip = Clip(frames=4, fps=10.0)
    image: int = 16
    batch: int = 8
    epochs: float = 2
    optim: AdamW = field(default_factory=lambda: AdamW(lr=1e-3, weight_decay=0.05, final_weight_decay=0.05))


def micro() -> Config:
    """All defaults."""
    return Config()


def slow() -> Config:
    """Two frames in a second."""
    return Config(clip=Clip(frames=4, fps=2.0, repeat=True))


def build(cfg: Config) -> Recipe:
    """The parts of the method."""
    patchify = Patchify(3, (2, 4, 4), 24, ("t", "h", "w"))
    grid = patchify.grid((cfg.clip.frames, cfg.image, cfg.image))
    encoder = Encoder(patchify, Size(24, 2, 2), position=Table(grid, 24))
    predictor = Predictor(24, Size(24, 1, 2), grid, position=Table(grid, 24))
    return Recipe(
        model=JEPA(encoder, EMA(encoder), predictor, l1, {}),
        prepare=partial(prepare, cfg, grid),
        optim=cfg.optim,
        momentum=partial(linear, 0.9, 1.0),
        batch=cfg.batch,
        epochs=cfg.epochs,
        view=View(cfg.image, HALF, HALF),
        latents=JEPA.latents,
        clip=cfg.clip,
    )


def prepare(cfg: Config, grid: Grid, samples: Samples, rng: torch.Generator) -> Batch:
    """Crop whole clips alike, and hide the second half of the time."""
    assert samples.x.dtype == torch.uint8 and samples.x.ndim == 5
    x = random_resized_crop(samples.x, samples.sizes, cfg.image, scale=(0.5, 1.0), rng=rng)
    half = grid.num_tokens // 2
    context = torch.arange(half).expand(len(x), -1)
    mask = Mask(context, context[:, None] + half).to(x.device)
    return Batch((Part(as_volume(normalize(x, HALF, HALF)), (mask,)),))
