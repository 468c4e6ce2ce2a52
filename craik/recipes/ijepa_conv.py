"""Masked I-JEPA for small images and small budgets: a ConvNet sees a window, and predicts what lies outside of it.

Paper: the task of Assran et al., CVPR 2023, arXiv 2301.08243; the rest is ours (results/ijepa_small).
Run:   craik train ijepa_conv:small32 --data images/ --out runs/a

Small images at small budgets are where I-JEPA as published does badly: a ViT needs far more steps than there is time
for, and on small grids its targets soon say little but where they are. What is different here, and why:
- the encoder is a residual ConvNet. It is shown the pixels of one rectangle of cells, cut out, so that what is hidden
  cannot leak and costs nothing;
- little is seen and much is asked for: a window of a quarter to a half of a crop, and blocks of 2 x 2 cells;
- the blocks are those of another crop of the same image, of another scale, and the predictor is told where they lie and
  how large they are. In one and the same crop, what resampling does to all of its pixels is known from any of them, and
  a long run learns that instead;
- of that crop's blocks, those that the window shows least of are asked for;
- the target is the encoder itself, with gradient (`Shared`), on the whole other crop. SIGReg, over the images of a step
  and at each place apart, is all that prevents collapse: what tells places apart, but not images, does not help;
- what is predicted is an embedding of a block, an MLP of the mean of its tokens. The encoder's own features are what is
  used afterwards, all stages side by side;
- the crops are jittered in color, each for itself.
The window is the same for all images of a step.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.core import Batch, Grid, Loss, Part, Shared, Tokens
from craik.core.energy import l2
from craik.core.jepa import Latents
from craik.core.limits import at_least, rising, within
from craik.core.regularize import SIGReg, SIGRegWeight
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD, Jitter, normalize, random_crop_pair, recolor
from craik.masking.window import Window
from craik.nn.conv import ConvEncoder
from craik.nn.position import SinCos
from craik.nn.predictor import Predictor
from craik.nn.projector import projector
from craik.nn.sizes import Size
from craik.train.optim import AdamW, warmed_up
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
    crop_scale: tuple[float, float] = (0.2, 1.0)
    """Area of each crop [fraction of the image]."""
    flip_prob: float = 0.5
    """Probability of a horizontal flip."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    """Brightness, contrast, saturation [factors within 1 +- this] and hue [turns] of four crops in five."""
    gray_prob: float = 0.2
    """Probability of losing color."""
    lam: float = 0.08
    """(1 - lam) x energy + lam x SIGReg."""
    num_directions: int = 256
    """Random directions of SIGReg per step."""
    num_places: int = 4
    """Places at which SIGReg looks in each step; over the steps it looks at all."""
    batch: int = 64
    """Images per step on all ranks together."""
    epochs: float = 8
    """Length of the run."""
    optim: AdamW = field(default_factory=lambda: warmed_up(lr=5e-3, weight_decay=5e-4))
    """Cosine to lr / 1000 after a warmup over a tenth of the steps."""

    def __post_init__(self) -> None:
        at_least(1, hidden=self.hidden, embedding=self.embedding, image=self.image)
        at_least(1, num_windows=self.num_windows, num_directions=self.num_directions, num_places=self.num_places)
        rising(0, 1, crop_scale=self.crop_scale)
        within(0, 1, flip_prob=self.flip_prob, gray_prob=self.gray_prob, lam=self.lam)


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
    """One window and its blocks."""

    window: Tokens
    """What is seen, [B, K, D]."""
    goal: Tokens
    """Embeddings of T hidden blocks, [B, T, E]."""
    pred: Tensor
    """Their prediction, [B, 1, T, E]."""


class ConvIJEPA(nn.Module):
    """Embeddings of hidden blocks, predicted from a window; SIGReg of the blocks' own embeddings."""

    def __init__(
        self,
        encoder: nn.Module,
        embed: nn.Module,
        predictor: nn.Module,
        sigreg: SIGReg,
        weight: SIGRegWeight,
        blocks: Tensor,
        num_places: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.target = Shared()
        self.embed = embed
        self.predictor = predictor
        self.sigreg = sigreg
        self.weight = weight
        self.num_places = num_places
        self.register_buffer("blocks", blocks, persistent=False)  # every block as token numbers, [P, K]

    def forward(self, batch: Batch, step: int = 0) -> Loss:
        """Loss of one part, whose samples share their windows."""
        goals = self.goals(batch)
        tasks = self.tasks(batch, goals)
        energy = torch.stack([l2(task.pred, task.goal.x.unsqueeze(1)).mean() for task in tasks]).mean()
        places = (self.num_places * step + torch.arange(self.num_places)) % goals.x.shape[1]  # all of them in turn
        sigreg = self.sigreg(goals.x[:, places].transpose(0, 1), step)  # each place apart: sets of B samples
        total = self.weight.invariance * energy + self.weight.sigreg * sigreg
        return Loss(total, {"energy": energy, "sigreg": sigreg})

    def goals(self, batch: Batch) -> Tokens:
        """Embeddings [B, P, E] of every block of the crops that the target sees, each where its middle is."""
        (part,) = batch.parts
        assert part.y is not None
        whole: Tokens = self.target(self.encoder, part.y)
        return Tokens(self.embedding(whole.x[:, self.blocks].mean(2)), whole.at[:, self.blocks].mean(2))

    def tasks(self, batch: Batch, goals: Tokens) -> list[Task]:
        """What is seen, what is there, and what is predicted to be there, for each mask."""
        (part,) = batch.parts
        assert part.place is not None
        size = 2 * part.place[:, 1].log2().unsqueeze(1)  # of the goal's cells beside the window's, [B, 1, 2]
        tasks = []
        for mask in part.masks:
            window: Tokens = self.encoder(part.x, keep=mask.context)
            goal = goals.take(self.numbers(mask.target))
            middle = part.where(goal.at)  # [B, T, 2]
            asked = torch.cat([middle, size.expand_as(middle)], -1).unsqueeze(1)
            pred = self.predictor(Tokens(window.x, F.pad(window.at, (0, 2))), asked)
            tasks.append(Task(window, goal, pred))
        return tasks

    def numbers(self, target: Tensor) -> Tensor:
        """Which blocks the target sets [B, T, K] are, [B, T]."""
        return (target[:, :, :1] == self.blocks[:, 0]).int().argmax(-1)

    def latents(self, batch: Batch) -> Latents:
        """The same for the health check: windows embedded like blocks, and blocks numbered by their first cells."""
        tasks = self.tasks(batch, self.goals(batch))
        windows = [Tokens(self.embedding(task.window.x), task.window.at) for task in tasks]
        goals = [Tokens(task.goal.x, task.goal.at.floor()) for task in tasks]
        return Latents(windows, goals, [task.pred for task in tasks])

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
        cfg.windows.blocks(grid),
        cfg.num_places,
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
    """Two crops of each image, both flipped or none, each jittered for itself; and the windows."""
    seen, goal = random_crop_pair(
        samples.x, samples.sizes, cfg.image, scale=cfg.crop_scale, rng=rng, flip_prob=cfg.flip_prob
    )
    place = place_of(goal.boxes, seen.boxes, grid)
    masks = tuple(cfg.windows(grid, len(place), rng, place) for _ in range(cfg.num_windows))
    return Batch((Part(disturb(cfg, seen.images, rng), masks, y=disturb(cfg, goal.images, rng), place=place),))


def place_of(goal: Tensor, seen: Tensor, grid: Grid) -> Tensor:
    """Offset and scale [B, 2, 2] of the cells of a crop with boxes goal [B, 4] on the grid of one with boxes seen.

    Boxes are (top, left, height, width); the center of cell i lies at (i + 1/2) / grid of a box.
    """
    scale = goal[:, 2:] / seen[:, 2:]
    start = (goal[:, :2] - seen[:, :2]) / seen[:, 2:] * goal.new_tensor(grid.shape)
    return torch.stack([start + 0.5 * scale - 0.5, scale], 1)


def disturb(cfg: Config, images: Tensor, rng: torch.Generator) -> Tensor:
    """Crops [B, 3, S, S] in [0, 1] with their colors jittered, normalized."""
    jittered = recolor(images, Jitter(*cfg.jitter), prob=0.8, gray_prob=cfg.gray_prob, rng=rng)
    return normalize(jittered, IMAGENET_MEAN, IMAGENET_STD)


def init_fan(module: nn.Module) -> None:
    """Normal weights of variance 2 / (inputs + outputs) (Glorot and Bengio 2010); the fixed 0.02 suits wide layers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
