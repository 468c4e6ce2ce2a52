"""LeWorldModel: a world model from pixels with two loss terms, prediction and SIGReg. No EMA, no stop-gradient.

Paper: arXiv 2603.19312 (LeWM).

A ViT's class token, projected, is the latent of a frame. A transformer over time, modulated by the action
(AdaLN-zero), predicts the next latent; gradient flows through both sides, and SIGReg alone prevents collapse. The flow
is `craik.core.latent_world`; this file says which parts are passed into it, and every number of the method.
Numerically equal to the published code (tests/parity): encoder, predictor, rollout, loss, gradients.

Conventions without which the predictor does not learn (arXiv 2608.10145): all actions between two frames are
concatenated, none left out (`data.windows`); actions are z-scored, with statistics that are taken from the data
(`fit`) and stored in the model (`ActionScale`); pixels are normalized as for ImageNet (`prepare`).

Options that are not in the paper, off by default: several predictions in a row during training (`num_steps`), with
or without gradient between them (`truncate`), and layer norm instead of batch norm in the projectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Generator, Tensor, tensor

from craik.core.batch import Batch, Part
from craik.core.latent_world import LatentWorld, Term, Trajectory
from craik.core.regularize import SIGReg
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD, normalize
from craik.data.episode import Episodes
from craik.data.view import center_square
from craik.data.windows import Clips
from craik.errors import UsageError
from craik.nn import sizes
from craik.nn.action import ActionEncoder, ActionScale
from craik.nn.adaln import ActionPredictor
from craik.nn.causal import CausalSize
from craik.nn.class_token import ClassEncoder
from craik.nn.perception import Perception
from craik.nn.projector import shallow_projector
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.train.optim import AdamW
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Recipe, View, Window


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """The networks of a world model and what they are shown; PLDM has the same. Defaults: Push-T in the paper."""

    image: int = 224
    """Side of a frame [pixels]."""
    patch: int = 14
    """Side of a patch [pixels]."""
    encoder: Size = sizes.TINY
    """ViT with a class token."""
    embedding: int = 192
    """Width of a latent D; below about 184 Push-T fails in the paper."""
    hidden: int = 2048
    """Hidden width of the projectors after encoder and predictor."""
    batch_norm: bool = True
    """Batch norm in the projectors. Its statistics are measured anew for use (`nn.statistics`): they lag behind.
    False takes layer norm, with which SIGReg did not get a fresh ViT's nearly constant class token to spread."""
    predictor: CausalSize = CausalSize()
    """Transformer over time."""
    dropout_prob: float = 0.1
    """Dropout in the predictor; without it Push-T falls from 96 to 78 % in the paper."""
    history: int = 3
    """Most frames the predictor looks at [model steps]."""
    skip: int = 5
    """Steps of the environment per model step; their actions are concatenated."""
    action_size: int = 2
    """Numbers in one action of the environment A; told by the data."""
    action_mean: tuple[float, ...] | None = None
    """Mean of the training actions [A], in units of the environment; told by the data."""
    action_std: tuple[float, ...] | None = None
    """Their deviation [A]; told by the data."""
    num_steps: int = 1
    """Predictions in a row during training [model steps]."""
    truncate: bool = False
    """Stop the gradient between these predictions."""

    def __post_init__(self) -> None:
        if self.image % self.patch:
            low = max(self.image // self.patch, 1) * self.patch
            raise ValueError(
                f"image {self.image} is not a multiple of patch {self.patch}: use {low} or {low + self.patch}"
            )

    @property
    def num_frames(self) -> int:
        """Frames of a training window T."""
        return self.history + self.num_steps

    @property
    def action_width(self) -> int:
        """Numbers of all actions of a model step."""
        return self.skip * self.action_size


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: Push-T in the paper, about 18 M parameters with the projectors."""

    body: Body = field(default_factory=Body)
    """The networks."""
    sigreg: float = 0.1
    """Weight of SIGReg; 0.01 to 0.2 are alike in the paper, 0.5 breaks."""
    num_directions: int = 1024
    """Random directions of SIGReg per step."""
    batch: int = 128
    """Windows per step on all ranks together."""
    epochs: float = 10
    """Length of the run."""
    optim: AdamW = field(
        default_factory=lambda: AdamW(
            lr=5e-5,
            start_lr=0,
            final_lr=0,
            warmup_fraction=0.01,
            weight_decay=1e-3,
            final_weight_decay=1e-3,
            clip_norm=1.0,
        )
    )
    """1 % warmup, cosine to 0."""


def pusht() -> Config:
    """Push-T at 224 px: 96 % success in the paper."""
    return Config()


def two_room() -> Config:
    """Two rooms at 224 px, one frame of history: 87 % in the paper."""
    return Config(body=Body(history=1))


def cube() -> Config:
    """OGBench Cube at 224 px, actions of 5 numbers: 74 % in the paper."""
    return Config(body=Body(action_size=5))


def tiny() -> Config:
    """A minute on a laptop: 64 px, 64 patches, two predictions in a row."""
    return Config(
        body=tiny_body(),
        num_directions=256,
        batch=64,
        epochs=10,
        optim=AdamW(
            lr=1e-3,
            start_lr=0,
            final_lr=1e-5,
            warmup_fraction=0.05,
            weight_decay=1e-3,
            final_weight_decay=1e-3,
            clip_norm=1.0,
        ),
    )


def tiny_body() -> Body:
    """Networks for a laptop, shared with PLDM's tiny variant."""
    return Body(
        image=64,
        patch=8,
        encoder=Size(96, 3, 3),
        embedding=96,
        hidden=192,
        predictor=CausalSize(width=96, depth=2, heads=4, head_width=24, hidden=192),
        dropout_prob=0.0,
        history=2,
        skip=1,
        num_steps=2,
    )


def fit(cfg: Config, episodes: Episodes) -> Config:
    """The configuration with what the data alone tells: size, mean and deviation of its actions."""
    return replace(cfg, body=fit_body(cfg.body, episodes))


def build(cfg: Config) -> Recipe:
    """The parts of the method."""
    return as_recipe(world(cfg), cfg.body, cfg.optim, cfg.batch, cfg.epochs)


def world(cfg: Config) -> LatentWorld:
    """The model alone. Without `fit`, give it the statistics of the actions with `model.scale.set(mean, std)`."""
    sigreg = SIGReg(cfg.num_directions, reduce=sum_over_ranks)
    return build_body(cfg.body, {"sigreg": Term(cfg.sigreg, partial(normal_at_each_time, sigreg))})


def normal_at_each_time(sigreg: SIGReg, trajectory: Trajectory, step: int) -> Tensor:
    """SIGReg over the batch at each time, mean over times."""
    return sigreg(trajectory.latents.transpose(0, 1), step)


def fit_body(body: Body, episodes: Episodes) -> Body:
    """Size and statistics of the actions as they are in the episodes.

    Raises:
        UsageError: If there are no actions, or one of them is NaN.
    """
    moments = episodes.action_moments()
    return replace(body, action_size=episodes.action_size, action_mean=moments.mean, action_std=moments.std)


def as_recipe(model: LatentWorld, body: Body, optim: AdamW, batch: int, epochs: float) -> Recipe:
    """A model on this body, as it is trained and looked at."""
    return Recipe(
        model=model,
        prepare=partial(prepare, body.action_width, side=body.image),
        optim=optim,
        momentum=None,
        batch=batch,
        epochs=epochs,
        view=View(body.image, IMAGENET_MEAN, IMAGENET_STD),
        trained=("perception", "actions", "predictor", "penalties"),
        latents=LatentWorld.latents,
        look=LatentWorld.tokens,
        window=Window(body.num_frames, body.history, body.action_size, body.skip),
    )


def build_body(body: Body, terms: Mapping[str, Term]) -> LatentWorld:
    """The networks, with the terms that keep their latents from collapsing."""
    tokenizer = Patchify(3, (body.patch, body.patch), body.encoder.width, ("h", "w"))
    encoder = ClassEncoder(tokenizer, tokenizer.grid((body.image, body.image)), body.encoder)
    width = body.embedding
    predictor = ActionPredictor(
        width,
        body.predictor,
        num_frames=body.history,
        head=shallow_projector(width, body.hidden, width, body.batch_norm),
        dropout_prob=body.dropout_prob,
    )
    scale = ActionScale(body.action_size)
    if body.action_mean is not None and body.action_std is not None:
        scale.set(tensor(body.action_mean), tensor(body.action_std))
    return LatentWorld(
        perception=Perception(encoder, shallow_projector(encoder.width, body.hidden, width, body.batch_norm)),
        scale=scale,
        actions=ActionEncoder(body.action_width, width),
        predictor=predictor,
        history=body.history,
        num_steps=body.num_steps,
        truncate=body.truncate,
        terms=terms,
    )


def prepare(action_width: int, clips: Clips, rng: Generator, side: int | None = None) -> Batch:
    """Windows of trajectories as a world model is trained on them; nothing is random.

    Args:
        action_width: skip x A, numbers of all actions between two frames.
        clips: Frames uint8 [B, T, 3, H, W] and actions [B, T - 1, skip * A], in units of the environment: the model
            standardizes them.
        rng: Not used.
        side: Of the frames as the model sees them [pixels]; None leaves them as they are.

    Raises:
        UsageError: If there are no actions, or they are of another width.
    """
    if clips.actions is None:
        raise UsageError(
            "the data has no actions, and a world model predicts what they do; record them with the frames"
        )
    expected = (*clips.frames.shape[:1], clips.frames.shape[1] - 1, action_width)
    if clips.actions.shape != expected:
        raise UsageError(
            f"actions are {list(clips.actions.shape)} but frames are {list(clips.frames.shape)}; expected "
            f"{list(expected)}: actions[t] taken between frame t and t + 1, those of skipped frames concatenated. "
            "Set the recipe's action_size and skip to those of the data; see: craik inspect DATA"
        )
    pixels = normalize(center_square(clips.frames, side or clips.frames.shape[-1]), IMAGENET_MEAN, IMAGENET_STD)
    return Batch((Part(pixels, cond=clips.actions),))
