"""LeVJEPA: views of a clip agree, and their embeddings are an isotropic Gaussian. No EMA, predictor, or masked targets.

Paper: arXiv 2608.27395.
Run:   craik train levjepa:tiny --data clips/ --out runs/a

Every view of a clip drops nearly all of its tokens at random, and what is left costs little: that, and not blocks, is
its masking. One view shows the clip, the others crops of it in other colors, all over the same time. A class token
reads each view; frames see no later ones.

Known from descriptions of the paper alone: the number and size of local views, their crops and colors, the projector
and the learning rate are those of LeJEPA's images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from craik.core import Batch, Loss, Part, Shared
from craik.core.energy import l2
from craik.core.limits import at_least, rising, within
from craik.core.regularize import SIGReg
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD, Jitter, recolor
from craik.nn import sizes
from craik.nn.clip_encoder import ClipEncoder
from craik.nn.projector import projector
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.recipes._clips import crop_clips
from craik.train.optim import AdamW, warmed_up
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Clip, Recipe, Samples, View


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: ViT-B/16."""

    encoder: Size = sizes.BASE
    """The encoder."""
    clip: Clip = Clip(16, fps=4.0)
    """What is cut out of a video."""
    image: int = 224
    """Side of the view of the clip [pixels]."""
    local_image: int = 96
    """Side of the other views [pixels]."""
    num_local: int = 4
    """Other views of a clip."""
    patch: int = 16
    """Side of a patch [pixels]; it has one frame."""
    drop: float = 0.95
    """Share of its tokens that a view drops [fraction]: 0 gives 33.9 % on the paper's task, 0.9 47.4, 0.95 47.6."""
    crop_scale: tuple[float, float] = (0.3, 1.0)
    """Area of the view of the clip [fraction of the frame]."""
    local_scale: tuple[float, float] = (0.05, 0.3)
    """Area of the other views [fraction of the frame]."""
    flip_prob: float = 0.5
    """Probability of a horizontal flip."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    """Brightness, contrast, saturation and hue of the other views; one draw for all frames of a view."""
    jitter_prob: float = 0.8
    """Probability of color jitter."""
    gray_prob: float = 0.2
    """Probability of losing color."""
    hidden: int = 2048
    """Hidden width of the projector."""
    embedding: int = 512
    """Width of the embedding that is trained."""
    sigreg: float = 0.02
    """Weight of SIGReg."""
    num_directions: int = 1024
    """Random directions of SIGReg per step."""
    batch: int = 128
    """Clips per step on all ranks together; fits 8 GB with a ViT-Tiny."""
    epochs: float = 100
    """Length of the run."""
    optim: AdamW = field(default_factory=lambda: warmed_up(lr=5e-4, weight_decay=5e-2))
    """Cosine to lr / 1000."""

    def __post_init__(self) -> None:
        at_least(1, image=self.image, local_image=self.local_image, patch=self.patch, num_local=self.num_local)
        at_least(1, hidden=self.hidden, embedding=self.embedding, num_directions=self.num_directions)
        at_least(0, sigreg=self.sigreg)
        within(0, 0.999, drop=self.drop)
        within(0, 1, flip_prob=self.flip_prob, jitter_prob=self.jitter_prob, gray_prob=self.gray_prob)
        rising(0, 1, crop_scale=self.crop_scale, local_scale=self.local_scale)
        for side in (self.image, self.local_image):
            tokenizer_of(self, 1).grid((self.clip.frames, side, side))


def vitb16() -> Config:
    """ViT-B/16, 16 frames at 224 px."""
    return Config()


def vitt16() -> Config:
    """ViT-Tiny/16 for one GPU of 16 GB: 25.2 % on ImageNet-1k after 12 hours in the paper."""
    return Config(encoder=sizes.TINY)


def tiny() -> Config:
    """Minutes on a laptop: 8 frames of 32 px, of which each view keeps a quarter."""
    return Config(
        encoder=Size(96, 4, 3),
        clip=Clip(8, fps=8.0),
        image=32,
        local_image=16,
        num_local=2,
        patch=8,
        drop=0.75,
        local_scale=(0.2, 0.6),
        hidden=256,
        embedding=64,
        num_directions=256,
        batch=64,
        epochs=10,
        optim=warmed_up(lr=1e-3, weight_decay=5e-2),
    )


class LeVJEPA(nn.Module):
    """Distance of each view's embedding to that of the clip, and SIGReg of each."""

    def __init__(self, encoder: ClipEncoder, head: nn.Module, sigreg: SIGReg, weight: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.target = Shared()
        self.head = head
        self.sigreg = sigreg
        self.weight = weight

    def forward(self, batch: Batch, step: int = 0) -> Loss:
        """Loss of views, one a part, the view of the clip first; `cond` of a part says which tokens it keeps."""
        z = torch.stack([self.embed(part) for part in batch.parts])  # [V, B, E]
        energy = l2(z[:1].expand_as(z[1:]).unsqueeze(2), z[1:].unsqueeze(2)).mean()
        sigreg = self.sigreg(z, step)
        return Loss(energy + self.weight * sigreg, {"energy": energy, "sigreg": sigreg})

    def embed(self, part: Part) -> Tensor:
        """Embedding [B, E] of one view, from the tokens that it keeps (`cond`, int64 [B, K])."""
        summary, _ = self.encoder.read(part.x, part.cond)
        out: Tensor = self.head(summary)
        return out


def tokenizer_of(cfg: Config, width: int) -> Patchify:
    """Patches of single frames to tokens."""
    return Patchify(3, (1, cfg.patch, cfg.patch), width, ("t", "h", "w"))


def build(cfg: Config) -> Recipe:
    """The parts of the method."""
    tokenizer = tokenizer_of(cfg, cfg.encoder.width)
    encoder = ClipEncoder(tokenizer, tokenizer.grid((cfg.clip.frames, cfg.image, cfg.image)), cfg.encoder)
    head = projector(encoder.width, cfg.hidden, cfg.embedding)
    sigreg = SIGReg(cfg.num_directions, reduce=sum_over_ranks)
    return Recipe(
        model=LeVJEPA(encoder, head, sigreg, cfg.sigreg),
        prepare=partial(prepare, cfg),
        optim=cfg.optim,
        momentum=None,
        batch=cfg.batch,
        epochs=cfg.epochs,
        view=View(cfg.image, IMAGENET_MEAN, IMAGENET_STD),
        trained=("encoder", "head"),
        clip=cfg.clip,
    )


def prepare(cfg: Config, samples: Samples, rng: torch.Generator) -> Batch:
    """Draw all views of all clips, and which tokens each keeps."""
    ratio = (3 / 4, 4 / 3)
    whole = crop_clips(samples, cfg.image, scale=cfg.crop_scale, ratio=ratio, flip_prob=cfg.flip_prob, rng=rng)
    views = [whole]
    for _ in range(cfg.num_local):
        view = crop_clips(
            samples, cfg.local_image, scale=cfg.local_scale, ratio=ratio, flip_prob=cfg.flip_prob, rng=rng
        )
        views.append(disturb_color(cfg, view, rng))
    return Batch(tuple(Part(view, cond=keep_some(cfg, view.shape, rng).to(view.device)) for view in views))


def disturb_color(cfg: Config, clips: Tensor, rng: torch.Generator) -> Tensor:
    """Clips [B, 3, T, S, S], normalized, with the colors of each changed alike in all of its frames."""
    shift, scale = (clips.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    tall = clips.flatten(2, 3) * scale + shift  # [B, 3, T * S, S]: a clip as one image, one draw for it
    tall = recolor(tall, Jitter(*cfg.jitter), prob=cfg.jitter_prob, gray_prob=cfg.gray_prob, rng=rng)
    return ((tall - shift) / scale).unflatten(2, clips.shape[2:4])


def keep_some(cfg: Config, shape: Sequence[int], rng: torch.Generator) -> Tensor:
    """Numbers of the tokens that each of B clips [B, 3, T, S, S] keeps, int64 [B, K] ascending."""
    num = tokenizer_of(cfg, 1).grid(tuple(shape[2:])).num_tokens
    kept = max(1, round((1 - cfg.drop) * num))
    return torch.rand(shape[0], num, generator=rng).topk(kept, 1).indices.sort(1).values
