"""Masked I-JEPA for small images and small budgets: a ConvNet sees a window, and predicts what lies outside of it.

Paper: the task of Assran et al., CVPR 2023, arXiv 2301.08243; the rest is ours (results/ijepa_small).
Run:   craik train ijepa_conv:small32 --data images/ --out runs/a

Small images at small budgets are where I-JEPA as published does badly: a ViT needs far more steps than there is time
for, and on small grids its targets soon say nothing but where they are. What is different here, and why:
- the encoder is a residual ConvNet. It is shown the pixels of one rectangle of cells, cut out, so that what is hidden
  cannot leak and costs nothing;
- little is seen and much is asked for: a window of a quarter to a half of an image, and blocks of 2 x 2 cells that lie
  wholly outside;
- the target is the encoder itself, with gradient (`Shared`), on the whole image. SIGReg, over the images of a step and
  at each place apart, is all that prevents collapse: targets that tell places apart, but not images, would cost most;
- what is predicted is an embedding of a block, an MLP of the mean of its tokens. The encoder's own features are what is
  used afterwards, all stages side by side;
- window and target are jittered in color, each for itself.
The windows are the same for all images of a step.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from craik.core import Batch, Grid, Loss, Mask, Part, Shared, Tokens
from craik.core.energy import l2
from craik.core.jepa import Latents
from craik.core.regularize import SIGReg, SIGRegWeight
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD, normalize, random_resized_crop, recolor
from craik.masking.window import Window
from craik.nn.conv import ConvEncoder
from craik.nn.position import SinCos
from craik.nn.predictor import Predictor
from craik.nn.projector import projector
from craik.nn.sizes import Size
from craik.train.optim import AdamW
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Recipe, Samples, View


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: `small32`."""

    widths: tuple[int, ...] = (64, 128, 256)
    """Channels of each stage of the encoder."""
    stem_stride: int = 2
    """Stride of the first convolution; with three stages a token covers 4 x stem_stride pixels a side."""
    predictor: Size = Size(96, 2, 3)
    """A narrow transformer."""
    hidden: int = 512
    """Hidden width of the MLP that embeds a block."""
    embedding: int = 64
    """Width of a block's embedding."""
    image: int = 32
    """Side of a crop, in training and in use [pixels]."""
    windows: Window = Window()
    """What is seen and what is asked for."""
    num_windows: int = 1
    """Windows per image and step; the target encoder runs once for all of them."""
    crop_scale: tuple[float, float] = (0.3, 1.0)
    """Area of a crop [fraction of the image]."""
    flip_prob: float = 0.5
    """Probability of a horizontal flip."""
    jitter: tuple[float, float, float, float] = (0.2, 0.2, 0.1, 0.05)
    """Brightness, contrast, saturation [factors within 1 +- this] and hue [turns] of four images in five."""
    gray_prob: float = 0.1
    """Probability of losing color."""
    lam: float = 0.1
    """(1 - lam) x energy + lam x SIGReg."""
    num_directions: int = 256
    """Random directions of SIGReg per step."""
    batch: int = 64
    """Images per step on all ranks together."""
    epochs: float = 8
    """Length of the run."""
    optim: AdamW = field(
        default_factory=lambda: AdamW(
            lr=6e-3, start_lr=0, final_lr=6e-6, warmup_fraction=0.1, weight_decay=5e-4, final_weight_decay=5e-4
        )
    )
    """Cosine to lr / 1000 after a warmup over a tenth of the steps."""


def small32() -> Config:
    """Half an hour on two cores with 50,000 images of 32 px."""
    return Config()


def small64() -> Config:
    """Half an hour on two cores with 10,000 images of 64 px: as `small32`, with a stem of stride 4."""
    return Config(stem_stride=4, image=64, epochs=40)


def tiny() -> Config:
    """A minute on a laptop: 32 px, narrow stages."""
    return Config(widths=(16, 32, 64), predictor=Size(48, 1, 3), hidden=128, embedding=32)


class Task(NamedTuple):
    """One window and its blocks; a block stands where its first cell does."""

    window: Tokens
    """What is seen, [B, K, D]."""
    goal: Tokens
    """Embeddings of T hidden blocks, [B, T, E]."""
    pred: Tensor
    """Their prediction, [B, 1, T, E]."""


class ConvIJEPA(nn.Module):
    """Embeddings of hidden blocks, predicted from a window; SIGReg of the blocks' own embeddings."""

    def __init__(
        self, encoder: nn.Module, embed: nn.Module, predictor: nn.Module, sigreg: SIGReg, weight: SIGRegWeight
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.target = Shared()
        self.embed = embed
        self.predictor = predictor
        self.sigreg = sigreg
        self.weight = weight

    def forward(self, batch: Batch, step: int = 0) -> Loss:
        """Loss of one part, whose samples share their masks."""
        tasks = self.tasks(batch)
        energy = torch.stack([l2(task.pred, task.goal.x.unsqueeze(1)).mean() for task in tasks]).mean()
        goals = torch.cat([task.goal.x for task in tasks], dim=1)  # [B, W, E]
        sigreg = self.sigreg(goals.transpose(0, 1), step)  # each place apart: W sets of B samples
        total = self.weight.invariance * energy + self.weight.sigreg * sigreg
        return Loss(total, {"energy": energy, "sigreg": sigreg})

    def tasks(self, batch: Batch) -> list[Task]:
        """What is seen, what is there, and what is predicted to be there, for each mask."""
        (part,) = batch.parts
        whole: Tokens = self.target(self.encoder, part.x if part.y is None else part.y)
        tasks = []
        for mask in part.masks:
            window: Tokens = self.encoder(part.x, keep=mask.context)
            cells = whole.take(mask.target.flatten(1))
            at = cells.at.unflatten(1, mask.target.shape[1:])  # [B, T, Kt, 2]
            goal = self.embedding(cells.x.unflatten(1, mask.target.shape[1:]).mean(2))
            pred = self.predictor(window, at.mean(2).unsqueeze(1))
            tasks.append(Task(window, Tokens(goal, at[:, :, 0]), pred))
        return tasks

    def latents(self, batch: Batch) -> Latents:
        """The same for the health check, windows embedded like blocks."""
        tasks = self.tasks(batch)
        windows = [Tokens(self.embedding(task.window.x), task.window.at) for task in tasks]
        return Latents(windows, [task.goal for task in tasks], [task.pred for task in tasks])

    def embedding(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, E]."""
        embedded: Tensor = self.embed(x.flatten(0, 1))
        return embedded.unflatten(0, x.shape[:2])


def build(cfg: Config) -> Recipe:
    """The parts of the method."""
    encoder = ConvEncoder(cfg.widths, stem_stride=cfg.stem_stride)
    grid = encoder.grid((cfg.image, cfg.image))
    width = encoder.width
    predictor = Predictor(
        width, cfg.predictor, grid, position=SinCos(cfg.predictor.width, base=100.0), out=cfg.embedding
    )
    predictor.apply(init_fan)
    model = ConvIJEPA(
        encoder,
        projector(width, cfg.hidden, cfg.embedding),
        predictor,
        SIGReg(cfg.num_directions, reduce=sum_over_ranks),
        SIGRegWeight.from_convex(cfg.lam),
    )
    return Recipe(
        model=model,
        prepare=partial(prepare, cfg, grid),
        optim=cfg.optim,
        momentum=None,
        batch=cfg.batch,
        epochs=cfg.epochs,
        view=View(cfg.image, IMAGENET_MEAN, IMAGENET_STD),
        trained=("encoder", "embed", "predictor"),
        latents=ConvIJEPA.latents,
    )


def prepare(cfg: Config, grid: Grid, samples: Samples, rng: torch.Generator) -> Batch:
    """Crop, flip, jitter window and target each for itself, and draw the windows."""
    images = random_resized_crop(
        samples.x, samples.sizes, cfg.image, scale=cfg.crop_scale, rng=rng, flip_prob=cfg.flip_prob
    )
    seen, whole = disturb(cfg, images, rng), disturb(cfg, images, rng)
    masks: list[Mask] = [cfg.windows(grid, len(images), rng).to(images.device) for _ in range(cfg.num_windows)]
    return Batch((Part(seen, tuple(masks), y=whole),))


def disturb(cfg: Config, images: Tensor, rng: torch.Generator) -> Tensor:
    """Images [B, 3, S, S] in [0, 1] with their colors jittered, normalized."""
    brightness, contrast, saturation, hue = cfg.jitter
    jittered = recolor(
        images,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        prob=0.8,
        gray_prob=cfg.gray_prob,
        rng=rng,
    )
    return normalize(jittered, IMAGENET_MEAN, IMAGENET_STD)


def init_fan(module: nn.Module) -> None:
    """Normal weights of variance 2 / (inputs + outputs) (Glorot and Bengio 2010); the fixed 0.02 suits wide layers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
