"""LeJEPA: views of an image agree, and their embeddings are an isotropic Gaussian. No EMA, no stop-gradient.

Paper: Balestriero and LeCun 2025, arXiv 2511.08544.
Run:   craik train lejepa:conv32 --data images/ --out runs/a

The other family on the same core: the target is `Shared`, and `SIGReg` alone prevents collapse. Views are pulled
to the mean of the global views, a flow of its own, so this file has its own `forward` of the same parts.

Differences from the paper:
- the representation is the mean over the trunk's tokens; the ViT here has no class token and no registers;
- the squared distance to the center is the mean over the E features of an embedding, not the sum;
- local views are 96 px, as the text says; the published code has 98, which no patch of 16 divides.
Differences of the small variants (`tiny`, `conv32`, `conv64`), whose budget is minutes on a laptop's CPU:
- two views of one size and no local ones; neither blur nor solarization, which leave little of 32 pixels;
- color jitter and loss of color are one linear map per image (`recolor`), which turns hue in YIQ and not in HSV;
- they train on smaller images than they are used on, at 9/16 of the cost. A random crop enlarges what it shows, so
  training at 24 px and use at 32 px show objects at about the same size (Touvron et al. 2019, arXiv 1906.06423).
"""

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from craik.core import Batch, Loss, Part, Shared
from craik.core.energy import l2
from craik.core.limits import at_least, rising, within
from craik.core.regularize import SIGReg, SIGRegWeight
from craik.data.augment import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Jitter,
    color_jitter,
    gaussian_blur,
    grayscale,
    normalize,
    random_resized_crop,
    recolor,
    solarize,
)
from craik.nn import sizes
from craik.nn.conv import ConvEncoder
from craik.nn.encoder import Encoder
from craik.nn.position import Table
from craik.nn.projector import projector
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.train.optim import AdamW, warmed_up
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Recipe, Samples, View


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """Views of an image and how they are disturbed. Defaults: section 6 of the paper."""

    num: int
    """Views per image."""
    image: int
    """Side of a view [pixels]."""
    crop_scale: tuple[float, float]
    """Area of a view [fraction of the image]."""
    flip_prob: float = 0.5
    """Probability of a horizontal flip."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    """Brightness, contrast, saturation, hue."""
    jitter_prob: float = 0.8
    """Probability of color jitter."""
    gray_prob: float = 0.2
    """Probability of losing color."""
    one_pass: bool = False
    """Jitter and loss of color as one linear map of each image's colors: faster on a CPU, hue in YIQ instead of HSV."""
    blur_prob: float = 0.5
    """Probability of blur."""
    solarize_prob: float = 0.2
    """Probability of solarization."""

    def __post_init__(self) -> None:
        at_least(0, num=self.num)
        at_least(1, image=self.image)
        rising(0, 1, crop_scale=self.crop_scale)
        within(0, 1, flip_prob=self.flip_prob, jitter_prob=self.jitter_prob, gray_prob=self.gray_prob)
        within(0, 1, blur_prob=self.blur_prob, solarize_prob=self.solarize_prob)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvTrunk:
    """A small residual ConvNet."""

    widths: tuple[int, ...] = (64, 128, 256)
    """Channels of each stage."""
    blocks: int = 1
    """Residual blocks per stage."""
    stem_stride: int = 2
    """Stride of the first convolution."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViTTrunk:
    """A vision transformer."""

    size: Size = sizes.SMALL
    """Width, depth and heads."""
    patch: int = 16
    """Side of a patch [pixels]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: the ImageNet recipe of the paper with a ViT-S/16."""

    trunk: ViTTrunk | ConvTrunk = field(default_factory=ViTTrunk)
    """The encoder."""
    hidden: int = 2048
    """Hidden width of the projector."""
    embedding: int = 512
    """Width of the embedding that is trained; 64 to 1024 are alike in the paper's ablation."""
    global_views: Views = field(default_factory=lambda: Views(num=2, image=224, crop_scale=(0.3, 1.0)))
    """Views whose mean the others are pulled to."""
    local_views: Views = field(default_factory=lambda: Views(num=6, image=96, crop_scale=(0.05, 0.3)))
    """Small views; num 0 for none."""
    view: int = 224
    """Side at which an image is shown to the encoder when it is used [pixels]."""
    lam: float = 0.05
    """(1 - lam) x invariance + lam x SIGReg."""
    num_directions: int = 1024
    """Random directions of SIGReg per step."""
    batch: int = 512
    """Images per step on all ranks together."""
    epochs: float = 100
    """Length of the run."""
    optim: AdamW = field(default_factory=lambda: warmed_up(lr=5e-4, weight_decay=5e-2))
    """Cosine to lr / 1000; weight decay 5e-2 for a ViT, 5e-4 for a ConvNet."""

    def __post_init__(self) -> None:
        at_least(1, hidden=self.hidden, embedding=self.embedding, view=self.view, num_directions=self.num_directions)
        at_least(1, **{"global_views.num": self.global_views.num})
        within(0, 1, lam=self.lam)


def vits16() -> Config:
    """ViT-S/16 at 224 px, two global and six local views."""
    return Config()


def tiny() -> Config:
    """A minute on a laptop: 32 px, a ConvNet of three narrow stages."""
    return small(ConvTrunk(widths=(16, 32, 64)), image=24, view=32, hidden=128, embedding=32, batch=64, epochs=20)


def conv32() -> Config:
    """Half an hour on two cores with 50,000 images of 32 px: a residual ConvNet of three stages."""
    return small(ConvTrunk(), image=24, view=32, epochs=12)


def conv64() -> Config:
    """Half an hour on two cores with 10,000 images of 64 px: as `conv32`, with a stem of stride 4."""
    return small(ConvTrunk(stem_stride=4), image=48, view=64, epochs=60)


def small(
    trunk: ConvTrunk, *, image: int, view: int, epochs: float, hidden: int = 512, embedding: int = 64, batch: int = 64
) -> Config:
    """What the variants for a laptop share: two views, crops of 0.2 to 1, and a high learning rate."""
    scale = (0.2, 1.0)
    return Config(
        trunk=trunk,
        hidden=hidden,
        embedding=embedding,
        global_views=Views(num=2, image=image, crop_scale=scale, one_pass=True, blur_prob=0.0, solarize_prob=0.0),
        local_views=Views(num=0, image=image, crop_scale=scale),
        view=view,
        num_directions=256,
        batch=batch,
        epochs=epochs,
        optim=warmed_up(lr=4e-3, weight_decay=5e-4),
    )


class LeJEPA(nn.Module):
    """Distance of all views to the mean of the global views, and SIGReg of each view."""

    def __init__(self, encoder: nn.Module, head: nn.Module, sigreg: SIGReg, weight: SIGRegWeight) -> None:
        super().__init__()
        self.encoder = encoder
        self.target = Shared()
        self.head = head
        self.sigreg = sigreg
        self.weight = weight

    def forward(self, batch: Batch, step: int = 0) -> Loss:
        """Loss of parts with x [B, V, C, H, W]; the first part holds the global views."""
        views = [self.embed(part.x) for part in batch.parts]
        z = torch.cat(views, dim=1)  # [B, V, E]
        center = views[0].mean(1, keepdim=True).expand_as(z)
        energy = l2(center.unsqueeze(2), z.unsqueeze(2)).mean()  # T = V sets of K = 1 embedding
        sigreg = self.sigreg(z.transpose(0, 1), step)
        total = self.weight.invariance * energy + self.weight.sigreg * sigreg
        return Loss(total, {"energy": energy, "sigreg": sigreg})

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings [B, V, E] of views [B, V, C, H, W]."""
        tokens = self.target(self.encoder, x.flatten(0, 1))
        embedding: Tensor = self.head(tokens.mean())
        return embedding.view(*x.shape[:2], -1)


def build(cfg: Config) -> Recipe:
    """The parts of the method."""
    encoder = build_trunk(cfg)
    model = LeJEPA(
        encoder,
        projector(encoder.width, cfg.hidden, cfg.embedding),
        SIGReg(cfg.num_directions, reduce=sum_over_ranks),
        SIGRegWeight.from_convex(cfg.lam),
    )
    return Recipe(
        model=model,
        prepare=partial(prepare, cfg),
        optim=cfg.optim,
        momentum=None,
        batch=cfg.batch,
        epochs=cfg.epochs,
        view=View(cfg.view, IMAGENET_MEAN, IMAGENET_STD),
        trained=("encoder", "head"),
    )


def build_trunk(cfg: Config) -> Encoder | ConvEncoder:
    """The encoder that the configuration asks for."""
    trunk = cfg.trunk
    if isinstance(trunk, ConvTrunk):
        return ConvEncoder(trunk.widths, trunk.blocks, trunk.stem_stride)
    tokenizer = Patchify(3, (trunk.patch, trunk.patch), trunk.size.width, ("h", "w"))
    grid = tokenizer.grid((cfg.global_views.image, cfg.global_views.image))
    return Encoder(tokenizer, trunk.size, position=Table(grid, trunk.size.width))


def prepare(cfg: Config, samples: Samples, rng: torch.Generator) -> Batch:
    """Draw all views of all images."""
    kinds = [views for views in (cfg.global_views, cfg.local_views) if views.num]
    return Batch(tuple(Part(draw_views(views, samples, rng)) for views in kinds))


def draw_views(views: Views, samples: Samples, rng: torch.Generator) -> Tensor:
    """Views [B, V, C, H, W] of each image, normalized."""
    x = samples.x.repeat_interleave(views.num, 0)
    sizes_ = samples.sizes.repeat_interleave(views.num, 0)
    x = random_resized_crop(x, sizes_, views.image, scale=views.crop_scale, rng=rng, flip_prob=views.flip_prob)
    x = disturb_color(views, x, rng)
    x = gaussian_blur(x, prob=views.blur_prob, rng=rng)
    x = solarize(x, prob=views.solarize_prob, rng=rng)
    x = normalize(x, IMAGENET_MEAN, IMAGENET_STD)
    return x.view(-1, views.num, *x.shape[1:])


def disturb_color(views: Views, x: Tensor, rng: torch.Generator) -> Tensor:
    """Jitter and loss of color of views [N, 3, S, S] in [0, 1]."""
    jitter = Jitter(*views.jitter)
    if views.one_pass:
        return recolor(x, jitter, prob=views.jitter_prob, gray_prob=views.gray_prob, rng=rng)
    return grayscale(color_jitter(x, jitter, prob=views.jitter_prob, rng=rng), prob=views.gray_prob, rng=rng)
