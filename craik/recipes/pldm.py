"""PLDM: a world model whose latents vary, are decorrelated, change slowly, and tell the action. No EMA, no SIGReg.

Paper: Sobal et al. 2025, arXiv 2502.14819; coefficients of arXiv 2603.19312's grid search on the same body.

    prediction + variance + covariance (both over the batch at each time) + temporal similarity
               + variance and covariance over time + inverse dynamics

The flow is `craik.core.latent_world`; networks and what becomes of the data are those of `leworldmodel`.

Differences from the paper: its predictors are a GRU or a ConvNet and its coefficients are chosen per environment.
Differences of the variant `tiny` from EB-JEPA (arXiv 2602.03604), whose coefficients for two rooms it has: a ViT and a
transformer in place of an Impala ConvNet and a GRU; variance and covariance over the batch at each time, not over all
times at once, which variation over time alone could satisfy.
"""

from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from craik.core.dynamics import inverse_dynamics, temporal_covariance, temporal_similarity, temporal_variance
from craik.core.latent_world import LatentWorld, Term, Trajectory
from craik.core.regularize import VICRegWeights, covariance, variance
from craik.data.episode import Episodes
from craik.nn.action import InverseDynamics
from craik.recipes import leworldmodel
from craik.recipes.leworldmodel import Body, as_recipe, build_body, fit_body, tiny_body
from craik.train.optim import AdamW
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Coefficients:
    """Weights of the terms beside the prediction's 1, in the published form: covariances are means over D(D-1)."""

    variance: float = 18.0
    """Over the batch at each time."""
    covariance: float = 12.0
    """Over the batch at each time."""
    similarity: float = 0.2
    """Squared difference of neighbors in time."""
    temporal_variance: float = 0.7
    """Over the times of a sample."""
    temporal_covariance: float = 0.0
    """Over the times of a sample."""
    inverse: float = 0.0
    """Inverse dynamics: without it two rooms fall from 97 to 1 % in EB-JEPA."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Every number of the method. Defaults: Push-T as in LeWorldModel's comparison, 78 % there."""

    body: Body = field(default_factory=Body)
    """The networks: those of LeWorldModel."""
    weights: Coefficients = field(default_factory=Coefficients)
    """Of the terms; one that is 0 is not computed."""
    inverse_hidden: int = 512
    """Hidden width of the inverse dynamics."""
    batch: int = 128
    """Windows per step on all ranks together."""
    epochs: float = 10
    """Length of the run."""
    optim: AdamW = field(default_factory=lambda: leworldmodel.pusht().optim)
    """As for LeWorldModel."""


def pusht() -> Config:
    """Push-T at 224 px with the coefficients of LeWorldModel's grid search: 78 % there."""
    return Config()


def two_room() -> Config:
    """Two rooms at 224 px, one frame of history: 97 % in LeWorldModel's comparison."""
    return Config(body=Body(history=1))


def tiny() -> Config:
    """A minute on a laptop: 64 px, with EB-JEPA's coefficients for two rooms, inverse dynamics among them."""
    return Config(
        body=replace(tiny_body(), num_steps=4),
        weights=Coefficients(variance=16.0, covariance=8.0, similarity=12.0, temporal_variance=0.0, inverse=1.0),
        inverse_hidden=128,
        batch=64,
        optim=leworldmodel.tiny().optim,
    )


class ReadAction(nn.Module):
    """Inverse dynamics as a term: the action is to be readable from the latents before and after it."""

    def __init__(self, head: InverseDynamics) -> None:
        super().__init__()
        self.head = head

    def forward(self, trajectory: Trajectory, step: int) -> Tensor:
        """Mean squared error of the standardized actions, scalar."""
        z = trajectory.latents
        return inverse_dynamics(self.head(z[:, :-1], z[:, 1:]), trajectory.actions)


def fit(cfg: Config, episodes: Episodes) -> Config:
    """The configuration with what the data alone tells: size, mean and deviation of its actions."""
    return replace(cfg, body=fit_body(cfg.body, episodes))


def build(cfg: Config) -> Recipe:
    """The parts of the method."""
    return as_recipe(world(cfg), cfg.body, cfg.optim, cfg.batch, cfg.epochs)


def world(cfg: Config) -> LatentWorld:
    """The model alone. Without `fit`, give it the statistics of the actions with `model.scale.set(mean, std)`."""
    weights, width = cfg.weights, cfg.body.embedding
    read = ReadAction(InverseDynamics(width, cfg.body.action_width, cfg.inverse_hidden))
    terms = {
        "variance": Term(weights.variance, lambda seen, _: variance(seen.latents.transpose(0, 1), sum_over_ranks)),
        "covariance": Term(
            from_mean(weights.covariance, width),
            lambda seen, _: covariance(seen.latents.transpose(0, 1), sum_over_ranks),
        ),
        "similarity": Term(weights.similarity, lambda seen, _: temporal_similarity(seen.latents)),
        "temporal_variance": Term(
            weights.temporal_variance, lambda seen, _: temporal_variance(seen.latents, sum_over_ranks)
        ),
        "temporal_covariance": Term(
            from_mean(weights.temporal_covariance, width),
            lambda seen, _: temporal_covariance(seen.latents, sum_over_ranks),
        ),
        "inverse": Term(weights.inverse, read),
    }
    return build_body(cfg.body, {name: term for name, term in terms.items() if term.weight})


def from_mean(coefficient: float, width: int) -> float:
    """Our coefficient of a covariance term from one of the published form."""
    return VICRegWeights.from_mean_off_diagonal(width, covariance=coefficient).covariance
