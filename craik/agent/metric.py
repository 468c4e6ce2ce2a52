"""Training a metric of steps: lay states as far apart as the steps between their neighbors allow.

Two states one step apart are at most one step apart: that is all that data and imagination say. A metric that keeps to
it, and else lays everything as far apart as it can, is the length of the shortest way, for no chain of steps may be
shorter than the metric and one of them is as long. No goals, no rewards, and no episode has to have gone that way.

Steps are those of recorded episodes, and those that the world model imagines when actions of other moments are taken,
as large as any and held: few episodes walk straight and fast, and only straight and fast ways are short.

Source: Wang et al. 2023 (arXiv 2304.01203). Differences: symmetric, steps are imagined too, and the violation is
relative to the steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from craik.agent.dynamics import falling
from craik.agent.encoded import Encoded, Watch, unwatched
from craik.core.world import WorldModel
from craik.data.windows import Windows
from craik.errors import UsageError
from craik.nn.metric import LatentMetric

Elsewhere = Callable[[Tensor, Tensor], Tensor]
"""Goals [B, D] from latents [B, D] and those of other frames [B, D]: another place of the same world."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricTraining:
    """How a metric is trained. Defaults: two rooms."""

    num_steps: int = 3000
    """Optimizer steps; 0 trains none."""
    batch: int = 256
    """Pairs per step."""
    lr: float = 4e-3
    """Of AdamW at its highest; 100 steps of warmup, then a cosine to 0."""
    imagined_fraction: float = 0.8
    """Share of the steps that are imagined."""
    far: float = 60.0
    """Beyond about so many steps there is nothing to be gained by laying states further apart: more than the longest
    way, or the far look alike [steps]."""
    softness: float = 5.0
    """Over how many steps that sets in [steps]."""
    tolerance: float = 0.1
    """Violation that is aimed at: by how much neighbors are laid too far apart, relative, root mean square."""

    def __post_init__(self) -> None:
        inside = 0 <= self.imagined_fraction <= 1 and min(self.far, self.softness, self.tolerance) > 0
        if not inside or self.num_steps < 0 or self.batch < 1:
            raise UsageError(
                "training of a metric wants num_steps >= 0, batch >= 1, imagined_fraction from 0 to 1, and far, "
                f"softness and tolerance above 0; got {self}"
            )


class Neighbors(NamedTuple):
    """States [B, D], states that follow [B, D], and the steps of the environment between them [B]."""

    before: Tensor
    after: Tensor
    steps: Tensor


def fit_metric(
    metric: LatentMetric,
    model: WorldModel,
    encoded: Encoded,
    skip: int,
    elsewhere: Elsewhere,
    training: MetricTraining,
    rng: torch.Generator,
    watch: Watch = unwatched,
) -> None:
    """Train a metric of steps of the environment.

    Args:
        metric: To be trained.
        model: Imagines steps.
        encoded: The episodes.
        skip: Steps of the environment in one of the model; an imagined action is held for all of them.
        elsewhere: What the metric is to tell apart.
        training: How.
        rng: CPU generator; decides everything random.
        watch: Told of every step.
    """
    optimizer = torch.optim.AdamW(metric.parameters(), training.lr, weight_decay=1e-5)
    schedule = falling(optimizer, training.num_steps)
    price = encoded.latents.new_tensor(1.0).expm1().log().requires_grad_()  # of a violation; softplus of it is 1
    seller = torch.optim.Adam([price], 0.1, maximize=True)
    windows = encoded.windows(2, 1)
    for step in range(training.num_steps):
        pairs = neighbors(encoded, windows, model, skip, training, rng)
        goals = elsewhere(pairs.before, encoded.any(training.batch, rng))
        before, after, there = metric.lay(torch.cat([pairs.before, pairs.after, goals])).chunk(3)
        too_far = (metric.between(before, after) / pairs.steps - 1).clamp(min=0).square().mean()
        gain = training.softness * F.softplus((training.far - metric.between(before, there)) / training.softness).mean()
        excess = too_far - training.tolerance**2
        loss = gain + F.softplus(price.detach()) * excess
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        seller.zero_grad()
        (F.softplus(price) * excess.detach()).backward()
        seller.step()
        watch("metric", step + 1, training.num_steps, float(loss.detach()))


@torch.no_grad()
def neighbors(
    encoded: Encoded, windows: Windows, model: WorldModel, skip: int, training: MetricTraining, rng: torch.Generator
) -> Neighbors:
    """Steps as they were taken, and some of the same states with a step imagined from there."""
    span = encoded.draw(windows, training.batch, rng)
    before, after = span.latents[:, 0].clone(), span.latents[:, 1].clone()
    steps = before.new_ones(len(before))
    num = round(training.imagined_fraction * training.batch)
    if num:
        actions = as_large_as_any(encoded.draw(windows, num, rng).actions[:, :1]).repeat(1, 1, skip)
        after[:num] = model.rollout(before[:num, None], actions[:, :0], actions)[:, 0]
        steps[:num] = skip
    return Neighbors(before, after, steps)


def as_large_as_any(actions: Tensor) -> Tensor:
    """Actions [B, 1, A], each made as long as the longest one in a hundred of them."""
    length = actions.norm(dim=-1, keepdim=True)
    return actions * (length.quantile(0.99) / length.clamp(min=1e-6))
