"""Compass: a world model small enough to be trained on a laptop in minutes, for worlds that one frame shows whole.

Craik's own recipe; no paper. Each part comes from somewhere:

    latent      = place + scene, two streams of keypoints: spatial softmax (arXiv 1504.00702, 1509.06113)
    place       has to tell the action: inverse dynamics (PLDM, arXiv 2502.14819; EB-JEPA, arXiv 2602.03604)
    scene       has to tell the episode from others, by any two of its frames: contrast (arXiv 1807.03748, 1704.06888)
    prediction  of the place, K steps in a row, by a residual network that sees both; gradient flows through both sides

and after the last step, when perception stands still, in a second stage on its latents:

    prediction  from nothing again, many more rollouts (`agent.dynamics`)
    critic      a metric: the steps between two latents, in which it is planned (arXiv 2304.01203; `agent.metric`)

The flow is `craik.core.latent_world`; what becomes of the data is that of `leworldmodel`.

Why two streams: in one latent the terms compete, and on two rooms the first to be learned took all. With variance and
covariance over everything it was the wall, and after 300 steps the dot could not be read (R2 0.1); with inverse
dynamics alone it was the dot, and nothing was known of the wall (R2 0.1).

What holds only for worlds where nothing but the agent moves: the scene of a prediction is that of the latent before,
and the place of one episode with the scene of another is a place that could be. What the model still gets wrong about
walls a planner finds; so it is planned with a detour where the world did not follow (`plan.detour`). See
results/two_rooms.

Differences from EB-JEPA's recipe for the same world: terms act on a part of the latent; keypoints in place of an Impala
ConvNet, a residual network in place of a GRU; 4 steps of the environment are one step of the model; latents of 16
numbers in place of 512.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn, tensor

from craik.agent.dynamics import DynamicsTraining, fit_dynamics
from craik.agent.encoded import Encode, Encoded, Watch
from craik.agent.metric import MetricTraining, fit_metric
from craik.core.dynamics import episode_contrast, inverse_dynamics, temporal_similarity
from craik.core.latent_world import LatentWorld, Term, Trajectory
from craik.core.regularize import SIGReg, covariance, variance
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.data.episode import Episodes
from craik.nn.action import ActionScale, InverseDynamics
from craik.nn.keypoints import PATCH, Keypoints
from craik.nn.metric import LatentMetric
from craik.nn.perception import Perception
from craik.nn.place_scene import PlaceScene
from craik.nn.residual import ResidualPredictor
from craik.plan.settings import Planning
from craik.recipes.leworldmodel import prepare
from craik.recipes.pldm import from_mean
from craik.train.optim import AdamW
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Recipe, View, Window


@dataclass(frozen=True, kw_only=True, slots=True)
class Coefficients:
    """Weights of the terms beside the prediction's 1; one that is 0 is not computed. Each 0 is an ablation."""

    inverse: float = 4.0
    """Inverse dynamics, read from the place."""
    contrast: float = 1.0
    """Of the scene, last frame of a window against first frames of others."""
    variance: float = 0.0
    """Of the scene, over the batch at each time: with covariance and similarity, in place of the contrast."""
    covariance: float = 0.0
    """Of the scene, over the batch at each time; in the published form, a mean over D (D - 1)."""
    similarity: float = 0.0
    """Squared difference of neighboring scenes in time."""
    sigreg: float = 0.0
    """SIGReg of the scene, in place of variance and covariance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: two rooms at 64 px."""

    image: int = 64
    """Side of a frame [pixels]."""
    place_maps: int = 16
    """Keypoints of the place."""
    scene_maps: int = 16
    """Keypoints of the scene."""
    place_channels: int = 16
    """Channels inside the place's ConvNet."""
    scene_channels: int = 16
    """Channels inside the scene's ConvNet; 24 took twice as long on a CPU."""
    place: int = 8
    """Features of the latent that are the place."""
    scene: int = 8
    """Features of the latent that are the scene."""
    hidden: int = 256
    """Hidden width of perception and predictor."""
    depth: int = 3
    """Hidden layers of the predictor."""
    inverse_hidden: int = 128
    """Hidden width of the inverse dynamics."""
    weights: Coefficients = field(default_factory=Coefficients)
    """Of the terms."""
    temperature: float = 0.02
    """Of the contrast: scenes come to deviate by about 1, as places do."""
    num_directions: int = 128
    """Random directions of SIGReg per step."""
    skip: int = 4
    """Steps of the environment per model step; their actions are concatenated."""
    num_steps: int = 2
    """Predictions in a row during training [model steps]."""
    num_frames: int = 4
    """Frames of a training window T; predictions set out from each that has `num_steps` after it."""
    action_size: int = 2
    """Numbers in one action of the environment A; told by the data."""
    action_mean: tuple[float, ...] | None = None
    """Mean of the training actions [A], in units of the environment; told by the data."""
    action_std: tuple[float, ...] | None = None
    """Their deviation [A]; told by the data."""
    batch: int = 128
    """Windows per step on all ranks together."""
    epochs: float = 1
    """Length of the run."""
    optim: AdamW = field(
        default_factory=lambda: AdamW(
            lr=4e-3,
            start_lr=0,
            final_lr=1e-5,
            warmup_fraction=0.05,
            weight_decay=1e-4,
            final_weight_decay=1e-4,
            clip_norm=1.0,
        )
    )
    """5 % warmup, cosine."""
    dynamics: DynamicsTraining = DynamicsTraining()
    """Of the predictor, in the second stage."""
    metric: MetricTraining = MetricTraining()
    """Of the critic, in the second stage."""
    metric_hidden: int = 128
    """Hidden width of the critic."""
    known_frames: int = 200_000
    """Frames that the second stage learns from, at most."""
    planning: Planning = Planning(horizon=4, execute=1, samples=128, iterations=4, cost="critic", hold=True, detour=0.8)
    """How it is planned with, unless something else is asked for."""

    def __post_init__(self) -> None:
        if self.image % PATCH:
            raise ValueError(f"image {self.image} is not a multiple of {PATCH}: use {self.image // PATCH * PATCH}")
        if self.num_frames <= self.num_steps:
            raise ValueError(
                f"{self.num_steps} steps ahead want {self.num_steps + 1} frames or more, got {self.num_frames}"
            )

    @property
    def width(self) -> int:
        """Features of a latent D."""
        return self.place + self.scene

    @property
    def action_width(self) -> int:
        """Numbers of all actions of a model step."""
        return self.skip * self.action_size


def tiny() -> Config:
    """Minutes on a laptop: two rooms at 64 px, as in craik demo world."""
    return Config()


class ReadMove(nn.Module):
    """Inverse dynamics as a term: the action is to be readable from the places before and after it."""

    def __init__(self, head: InverseDynamics, num_place: int) -> None:
        super().__init__()
        self.head = head
        self.num_place = num_place

    def forward(self, trajectory: Trajectory, step: int) -> Tensor:
        """Mean squared error of the standardized actions, scalar."""
        place = trajectory.latents[..., : self.num_place]
        return inverse_dynamics(self.head(place[:, :-1], place[:, 1:]), trajectory.actions)


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
        trained=("perception", "predictor", "penalties"),
        latents=LatentWorld.latents,
        look=LatentWorld.tokens,
        window=Window(cfg.num_frames, 1, cfg.action_size, cfg.skip),
        second_stage=partial(second_stage, cfg),
        planning=cfg.planning,
    )


def second_stage(
    cfg: Config, model: LatentWorld, episodes: Episodes, encode: Encode, rng: torch.Generator, watch: Watch
) -> None:
    """Train predictor and critic from nothing on the latents of episodes; a `train.recipe.SecondStage`."""
    assert isinstance(model.predictor, ResidualPredictor) and isinstance(model.critic, LatentMetric)
    seen = Encoded.of(episodes, encode, cfg.known_frames, watch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(1 << 31, (), generator=rng)))
        fresh = world(cfg)
    for part, new in ((model.predictor, fresh.predictor), (model.critic, fresh.critic)):
        part.load_state_dict(new.state_dict())
        part.scale.set(seen.latents)
    fit_dynamics(model, seen, cfg.skip, cfg.dynamics, rng, watch)
    fit_metric(model.critic, model, seen, cfg.skip, partial(elsewhere, cfg.place), cfg.metric, rng, watch)


def elsewhere(num_place: int, latents: Tensor, others: Tensor) -> Tensor:
    """The places of others [B, D] in the scenes of latents [B, D]."""
    return torch.cat([others[:, :num_place], latents[:, num_place:]], -1)


def world(cfg: Config) -> LatentWorld:
    """The model alone. Without `fit`, give it the statistics of the actions with `model.scale.set(mean, std)`."""
    scale = ActionScale(cfg.action_size)
    if cfg.action_mean is not None and cfg.action_std is not None:
        scale.set(tensor(cfg.action_mean), tensor(cfg.action_std))
    place = Keypoints(cfg.place_channels, cfg.place_maps)
    scene = Keypoints(cfg.scene_channels, cfg.scene_maps)
    model = LatentWorld(
        perception=Perception(PlaceScene(place, scene, cfg.place, cfg.scene, cfg.hidden)),
        scale=scale,
        actions=nn.Identity(),
        predictor=ResidualPredictor(cfg.width, cfg.action_width, cfg.hidden, cfg.depth, moving=cfg.place),
        history=1,
        num_steps=cfg.num_steps,
        terms=terms(cfg),
    )
    model.critic = LatentMetric(cfg.width, cfg.skip, cfg.metric_hidden)
    return model


def terms(cfg: Config) -> dict[str, Term]:
    """The terms that keep place and scene from collapsing; scenes have time first where they are compared at each."""
    weights = cfg.weights
    read = ReadMove(InverseDynamics(cfg.place, cfg.action_width, cfg.inverse_hidden), cfg.place)
    sigreg = SIGReg(cfg.num_directions, reduce=sum_over_ranks)

    def scene(seen: Trajectory) -> Tensor:
        return seen.latents[..., cfg.place :]

    every = {
        "inverse": Term(weights.inverse, read),
        "contrast": Term(weights.contrast, lambda seen, _: episode_contrast(scene(seen), cfg.temperature)),
        "variance": Term(weights.variance, lambda seen, _: variance(scene(seen).transpose(0, 1), sum_over_ranks)),
        "covariance": Term(
            from_mean(weights.covariance, cfg.scene),
            lambda seen, _: covariance(scene(seen).transpose(0, 1), sum_over_ranks),
        ),
        "similarity": Term(weights.similarity, lambda seen, _: temporal_similarity(scene(seen))),
        "sigreg": Term(weights.sigreg, lambda seen, step: sigreg(scene(seen).transpose(0, 1), step)),
    }
    return {name: term for name, term in every.items() if term.weight}
