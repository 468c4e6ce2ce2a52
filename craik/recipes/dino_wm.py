"""DINO-WM: a world model on the patch tokens of a frozen, pretrained encoder.

Paper: Zhou et al. 2024, arXiv 2411.04983.

The encoder never changes, so nothing can collapse and no term guards against it; the model learns only what actions do.
The embedded action stands beside the features of every patch, a transformer lets the patches of a frame see those of
the same and of earlier frames, and its answer is the mean squared error away from the next frame's patches.
The flow is `craik.core.latent_world`, `prepare` is that of `leworldmodel`. The encoder is any that gives Tokens, for
example `craik.load(run).encoder`, or public weights through `craik.weights.load`. The command line cannot name it, so a
run takes a recipe file of a few lines, which gives it to `build`, and which is trained with
`craik train ./mine.py:tiny --data EPISODES --out RUN`:

    import craik
    from craik.recipes import dino_wm
    from craik.recipes.dino_wm import Config, fit

    def tiny() -> Config:
        return dino_wm.tiny()

    def build(cfg: Config):
        return dino_wm.build(cfg, craik.load("runs/a", device="cpu").encoder)

Differences from the paper: no proprioception beside the image; no decoder; weights of action encoder and predictor
share one learning rate, which in the published code is the same number.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn

from craik.core.latent_world import LatentWorld
from craik.core.tokens import Tokens
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.data.episode import Episodes
from craik.errors import UsageError
from craik.nn.action import ActionScale
from craik.nn.causal import CausalSize, PatchPredictor
from craik.nn.mode import evaluating
from craik.nn.perception import FrozenPatches
from craik.recipes import leworldmodel
from craik.train.optim import AdamW
from craik.train.recipe import Recipe, View, Window


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: Push-T with DINOv2 ViT-S/14, about 19 M parameters of their own."""

    image: int = 196
    """Side of a frame [pixels]; a multiple of the encoder's patch."""
    action_size: int = 2
    """Numbers in one action of the environment A; told by the data."""
    action_mean: tuple[float, ...] | None = None
    """Mean of the training actions [A], in units of the environment; told by the data."""
    action_std: tuple[float, ...] | None = None
    """Their deviation [A]; told by the data."""
    embedded: int = 10
    """Features of an embedded action, which stand beside those of each patch."""
    depth: int = 6
    """Blocks of the predictor."""
    heads: int = 16
    """Attention heads of the predictor."""
    head_width: int = 64
    """Features per head."""
    hidden: int = 2048
    """Hidden width of the predictor's MLP."""
    dropout_prob: float = 0.1
    """Dropout in the predictor."""
    history: int = 3
    """Most frames the predictor looks at [model steps]; 1 for worlds whose frame is their state."""
    skip: int = 5
    """Steps of the environment per model step; their actions are concatenated."""
    num_steps: int = 1
    """Predictions in a row during training [model steps]; 1 in the paper."""
    truncate: bool = False
    """Stop the gradient between these predictions."""
    batch: int = 32
    """Windows per step on all ranks together."""
    epochs: float = 100
    """Length of the run."""
    optim: AdamW = field(
        default_factory=lambda: AdamW(
            lr=5e-4, start_lr=5e-4, final_lr=5e-4, warmup_fraction=0.0, weight_decay=0.01, final_weight_decay=0.01
        )
    )
    """Constant 5e-4 as in the published code; the paper's table says 5e-5. Decay is the optimizer's usual one."""

    @property
    def num_frames(self) -> int:
        """Frames of a training window T."""
        return self.history + self.num_steps

    @property
    def action_width(self) -> int:
        """Numbers of all actions of a model step."""
        return self.skip * self.action_size


def pusht() -> Config:
    """Push-T: 90 % success in the paper."""
    return Config()


def wall() -> Config:
    """A wall with a door, one frame of history: 96 % in the paper."""
    return Config(history=1)


def tiny() -> Config:
    """A minute on a laptop, on the encoder of a small run at 32 px."""
    return Config(
        image=32,
        depth=2,
        heads=4,
        head_width=16,
        hidden=128,
        dropout_prob=0.0,
        history=2,
        skip=1,
        batch=32,
        epochs=10,
        optim=AdamW(
            lr=1e-3, start_lr=1e-3, final_lr=1e-3, warmup_fraction=0.0, weight_decay=0.01, final_weight_decay=0.01
        ),
    )


def fit(cfg: Config, episodes: Episodes) -> Config:
    """The configuration with what the data alone tells: size, mean and deviation of its actions."""
    moments = episodes.action_moments()
    return replace(cfg, action_size=episodes.action_size, action_mean=moments.mean, action_std=moments.std)


def build(cfg: Config, encoder: nn.Module | None = None) -> Recipe:
    """The parts of the method, on a frozen encoder.

    Raises:
        UsageError: If there is no encoder.
    """
    if encoder is None:
        raise UsageError(
            "DINO-WM stands on a pretrained encoder, which the command line cannot name: write a recipe file that "
            "gives it, as the first lines of craik/recipes/dino_wm.py show, and craik train ./mine.py:tiny"
        )
    return Recipe(
        model=world(cfg, encoder),
        prepare=partial(leworldmodel.prepare, cfg.action_width, side=cfg.image),
        optim=cfg.optim,
        momentum=None,
        batch=cfg.batch,
        epochs=cfg.epochs,
        view=View(cfg.image, IMAGENET_MEAN, IMAGENET_STD),
        trained=("actions", "predictor"),
        latents=LatentWorld.latents,
        look=LatentWorld.tokens,
        window=Window(cfg.num_frames, cfg.history, cfg.action_size, cfg.skip),
    )


def world(cfg: Config, encoder: nn.Module) -> LatentWorld:
    """The model on a frozen encoder, which is called as `encoder(x) -> Tokens` and taken over, not copied.

    Without `fit`, give it the statistics of the training actions with `model.scale.set(mean, std)`.
    """
    num_patches, width = measure(encoder, cfg.image)
    size = CausalSize(width + cfg.embedded, cfg.depth, cfg.heads, cfg.head_width, cfg.hidden)
    scale = ActionScale(cfg.action_size)
    if cfg.action_mean is not None and cfg.action_std is not None:
        scale.set(torch.tensor(cfg.action_mean), torch.tensor(cfg.action_std))
    return LatentWorld(
        perception=FrozenPatches(encoder),
        scale=scale,
        actions=nn.Linear(cfg.action_width, cfg.embedded),
        predictor=PatchPredictor(width, cfg.embedded, size, cfg.history, num_patches, cfg.dropout_prob),
        history=cfg.history,
        num_steps=cfg.num_steps,
        truncate=cfg.truncate,
    )


@torch.no_grad()
def measure(encoder: nn.Module, image: int) -> tuple[int, int]:
    """Patch tokens of an image of this side [pixels], and features of each."""
    some = next(encoder.parameters())
    with evaluating(encoder):
        tokens: Tokens = encoder(some.new_zeros(1, 3, image, image))
    return tokens.x.shape[1], tokens.x.shape[2]
