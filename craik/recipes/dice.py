"""Dice: a small world model with a latent variable z, for worlds in which one action has several futures.

Craik's own recipe; no paper. The same model four times over: without z, and with each of the three of `core.latent`.

    latent      = keypoints (spatial softmax, arXiv 1504.00702) through a small network
    no collapse by variance and covariance over the batch, and inverse dynamics (PLDM, arXiv 2502.14819)
    prediction  one step ahead, by a residual network of the latent and of action + what z tells

The flow is `craik.core.latent_world`; what becomes of the data is that of `leworldmodel`. How many futures z covers,
how well, and what it carries is measured by `craik.evaluate.chance`; see results/latent_z and docs/several_futures.md.

`certain`, without z, predicts the mean of the futures, which is none of them. It is what the others are compared with.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from math import log
from typing import Literal

from torch import Tensor, nn, tensor

from craik.core.latent import Discrete, Gaussian, Latent, Optimized, head
from craik.core.latent_world import LatentWorld, Term
from craik.core.regularize import covariance, variance
from craik.core.tokens import Tokens
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.data.episode import Episodes
from craik.nn.action import ActionEncoder, ActionScale, InverseDynamics
from craik.nn.keypoints import PATCH, Keypoints
from craik.nn.perception import Perception
from craik.nn.residual import ResidualPredictor
from craik.recipes.leworldmodel import prepare
from craik.recipes.pldm import ReadAction, from_mean
from craik.train.optim import AdamW
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Recipe, View, Window


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: a dot on ice at 64 px, three minutes of one core."""

    z: Literal["none", "discrete", "gaussian", "optimized"] = "none"
    """Which latent variable."""
    codes: int = 4
    """Hypotheses K of the discrete z; twice as many as the ice has futures, for nobody tells a model how many."""
    size: int = 2
    """Numbers of the other two."""
    budget: float = log(4)
    """Most that they carry per step [nats]: as much as four codes."""
    prior_weight: float = 0.1
    """Of the cross-entropy that trains the prior of the codes [per nat]."""
    price: float = 0.005
    """Of a nat in the choice of a code [energy per nat]."""
    divergence_weight: float = 0.002
    """Of the Gaussian's divergence from its prior [per nat]."""
    magnitude_weight: float = 0.01
    """Of the size of the optimized z."""
    descents: tuple[int, int] = (1, 6)
    """Starts of the search for the optimized z, and gradient steps of each."""
    rate: float = 20.0
    """First length of such a step. Energies are means over features, and their slopes small: at 1, z hardly moved."""
    image: int = 64
    """Side of a frame [pixels]."""
    maps: int = 8
    """Keypoints."""
    channels: int = 16
    """Channels inside the ConvNet."""
    width: int = 8
    """Features of a latent D."""
    action_embedding: int = 32
    """Features of an embedded action, and of what z tells."""
    hidden: int = 256
    """Hidden width of the predictor, and half of it of all other networks."""
    depth: int = 3
    """Hidden layers of the predictor."""
    variance: float = 1.0
    """Weight of the variance term, whose margin is 1."""
    covariance: float = 0.05
    """Weight of the covariance term, in the published form: a mean over D (D - 1)."""
    inverse: float = 1.0
    """Weight of the inverse dynamics."""
    skip: int = 1
    """Steps of the environment per model step; their actions are concatenated."""
    num_frames: int = 4
    """Frames of a training window T; each but the last is predicted from."""
    action_size: int = 2
    """Numbers in one action of the environment A; told by the data."""
    action_mean: tuple[float, ...] | None = None
    """Mean of the training actions [A], in units of the environment; told by the data."""
    action_std: tuple[float, ...] | None = None
    """Their deviation [A]; told by the data."""
    batch: int = 64
    """Windows per step on all ranks together."""
    epochs: float = 4
    """Length of the run; about a thousand steps of 1,500 short episodes."""
    optim: AdamW = field(
        default_factory=lambda: AdamW(
            lr=2e-3,
            start_lr=0,
            final_lr=1e-5,
            warmup_fraction=0.05,
            weight_decay=1e-4,
            final_weight_decay=1e-4,
            clip_norm=1.0,
        )
    )
    """5 % warmup, cosine."""

    def __post_init__(self) -> None:
        if self.image % PATCH:
            raise ValueError(f"image {self.image} is not a multiple of {PATCH}: use {self.image // PATCH * PATCH}")
        if self.num_frames < 2:
            raise ValueError(f"a window has 2 frames or more, got {self.num_frames}")

    @property
    def action_width(self) -> int:
        """Numbers of all actions of a model step."""
        return self.skip * self.action_size


def certain() -> Config:
    """Without z: one future, the mean of all."""
    return Config()


def discrete() -> Config:
    """Best of four codes, with a learned prior: the futures and how likely they are."""
    return Config(z="discrete")


def gaussian() -> Config:
    """Two numbers with a learned posterior, bounded to as much as four codes."""
    return Config(z="gaussian")


def optimized() -> Config:
    """Two numbers found by gradient, sent through a noisy channel of the same capacity."""
    return Config(z="optimized")


class Points(nn.Module):
    """Keypoints of a frame through a small network, one vector per frame."""

    def __init__(self, keypoints: Keypoints, hidden: int, width: int) -> None:
        super().__init__()
        self.keypoints = keypoints
        self.head = nn.Sequential(nn.Linear(keypoints.width, hidden), nn.SiLU(), nn.Linear(hidden, width))
        self.width = width

    def forward(self, frames: Tensor) -> Tokens:
        """One token [M, 1, D] of frames [M, C, H, W]."""
        x = self.head(self.keypoints(frames)).unsqueeze(1)
        return Tokens(x, x.new_zeros(len(x), 1, 2))


def fit(cfg: Config, episodes: Episodes) -> Config:
    """The configuration with what the data alone tells: size, mean and deviation of its actions.

    Raises:
        UsageError: If there are no actions, or one of them is NaN.
    """
    moments = episodes.action_moments()
    return replace(cfg, action_size=episodes.action_size, action_mean=moments.mean, action_std=moments.std)


def build(cfg: Config) -> Recipe:
    """The parts of the method."""
    return Recipe(
        model=world(cfg),
        prepare=partial(prepare, cfg.action_width, side=cfg.image),
        optim=cfg.optim,
        momentum=None,
        batch=cfg.batch,
        epochs=cfg.epochs,
        view=View(cfg.image, IMAGENET_MEAN, IMAGENET_STD),
        trained=("perception", "actions", "predictor", "penalties", *(() if cfg.z == "none" else ("latent",))),
        latents=LatentWorld.latents,
        look=LatentWorld.tokens,
        window=Window(cfg.num_frames, 1, cfg.action_size, cfg.skip),
    )


def world(cfg: Config) -> LatentWorld:
    """The model alone. Without `fit`, give it the statistics of the actions with `model.scale.set(mean, std)`."""
    scale = ActionScale(cfg.action_size)
    if cfg.action_mean is not None and cfg.action_std is not None:
        scale.set(tensor(cfg.action_mean), tensor(cfg.action_std))
    keypoints = Keypoints(cfg.channels, cfg.maps)
    return LatentWorld(
        perception=Perception(Points(keypoints, cfg.hidden // 2, cfg.width)),
        scale=scale,
        actions=ActionEncoder(cfg.action_width, cfg.action_embedding),
        predictor=ResidualPredictor(cfg.width, cfg.action_embedding, cfg.hidden, cfg.depth),
        history=1,
        terms={
            "variance": Term(cfg.variance, lambda seen, _: variance(seen.latents.transpose(0, 1), sum_over_ranks)),
            "covariance": Term(
                from_mean(cfg.covariance, cfg.width),
                lambda seen, _: covariance(seen.latents.transpose(0, 1), sum_over_ranks),
            ),
            "inverse": Term(cfg.inverse, ReadAction(InverseDynamics(cfg.width, cfg.action_width, cfg.hidden // 2))),
        },
        latent=variable(cfg),
    )


def variable(cfg: Config) -> Latent | None:
    """The latent variable; contexts are latent and embedded action, goals are latents."""
    context, told, hidden = cfg.width + cfg.action_embedding, cfg.action_embedding, cfg.hidden // 2
    if cfg.z == "discrete":
        prior = head(context, hidden, cfg.codes)
        return Discrete(cfg.codes, told, prior, weight=cfg.prior_weight, reduce=sum_over_ranks, price=cfg.price)
    if cfg.z == "gaussian":
        posterior = head(context + cfg.width, hidden, 2 * cfg.size)
        return Gaussian(cfg.size, told, posterior, weight=cfg.divergence_weight, budget=cfg.budget)
    if cfg.z == "optimized":
        starts, steps = cfg.descents
        return Optimized(
            cfg.size,
            told,
            weight=cfg.magnitude_weight,
            budget=cfg.budget,
            num_steps=steps,
            num_starts=starts,
            rate=cfg.rate,
        )
    return None
