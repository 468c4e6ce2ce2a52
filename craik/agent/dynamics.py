"""Training the predictor alone, on latents that no longer change.

While perception is still learning, a predictor runs after a goal that moves, and most of the time goes into encoding
frames. Once it stands still a step costs a tenth or less, and what is rare can be learned: in two rooms a predictor
trained together with perception let 97 % of moves through the walls, and one trained so 0 to 3 % (results/two_rooms).
"""

from dataclasses import dataclass

import torch
from torch import nn

from craik.agent.encoded import Encoded, Watch, unwatched
from craik.core.latent_world import LatentWorld
from craik.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicsTraining:
    """How a predictor is trained on fixed latents. Defaults: two rooms."""

    num_steps: int = 6000
    """Optimizer steps; 0 leaves the predictor as it is."""
    batch: int = 256
    """Rollouts per step."""
    ahead: int = 2
    """Predictions in a row K [model steps]."""
    lr: float = 8e-3
    """Of AdamW at its highest; 100 steps of warmup, then a cosine to 0."""
    weight_decay: float = 1e-5
    """Of AdamW."""

    def __post_init__(self) -> None:
        if self.num_steps < 0 or min(self.batch, self.ahead) < 1:
            raise UsageError(f"training of a predictor wants num_steps >= 0, batch and ahead >= 1; got {self}")


def fit_dynamics(
    world: LatentWorld,
    encoded: Encoded,
    skip: int,
    training: DynamicsTraining,
    rng: torch.Generator,
    watch: Watch = unwatched,
) -> None:
    """Train `world.predictor` to roll out as the episodes went; errors count in deviations of each feature.

    Args:
        world: Its predictor is trained, and nothing else of it.
        encoded: The episodes.
        skip: Steps of the environment in one of the model.
        training: How.
        rng: CPU generator; decides which windows.
        watch: Told of every step.
    """
    std = encoded.latents.std(0).clamp(min=1e-6)
    parameters = [p for p in world.predictor.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, training.lr, weight_decay=training.weight_decay)
    schedule = falling(optimizer, training.num_steps)
    seen = world.history
    windows = encoded.windows(seen + training.ahead, skip)
    for step in range(training.num_steps):
        span = encoded.draw(windows, training.batch, rng)
        imagined = world.rollout(span.latents[:, :seen], span.actions[:, : seen - 1], span.actions[:, seen - 1 :])
        loss = ((imagined - span.latents[:, seen:]) / std).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        watch("predictor", step + 1, training.num_steps, float(loss.detach()))


def falling(optimizer: torch.optim.Optimizer, num_steps: int, warmup: int = 100) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warmup, then half a cosine down to 0."""

    def share(step: int) -> float:
        fallen = torch.tensor(torch.pi * step / max(1, num_steps)).cos()
        return min(1.0, (step + 1) / warmup) * float(0.5 + 0.5 * fallen)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)
