"""Training the critic: temporal distance from episodes alone, no labels, no reward.

Two states of one episode are at most as many steps apart as lie between them. A network that learns this from many
episodes knows how far a goal is to walk, where latent distance only knows how alike two states look. It also learns on
states that the world model imagined, for those are what a planner will show it.

Source: arXiv 2608.12959 (error under drift +74 % without imagined states, +11 % with them); LeCun 2022, section 3.4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from craik.agent.experience import Experience, checked, foresee, lengths
from craik.core.world import WorldModel
from craik.errors import UsageError
from craik.nn.critic import TemporalDistance
from craik.plan.ranks import spearman
from craik.plan.usable import squared_distance

Progress = Callable[[int, float], None]
"""Told the steps done and the last loss."""


@dataclass(frozen=True, slots=True)
class CriticTraining:
    """How a critic is trained.

    Attributes:
        num_steps: Optimizer steps.
        batch: Pairs per step.
        lr: Learning rate of AdamW at the start; falls to 0 along a cosine.
        hidden: Width of the hidden layers.
        depth: Hidden layers.
        imagined_fraction: Share of the pairs whose state was imagined; the goal is always encoded.
        horizon: Steps that are imagined.
        history: Frames the model sees before it imagines.
        max_imagined: Imagined states at most.
        held_out_fraction: Share of the episodes that only measure the error.
        expectile: 0.5 learns the mean time between two states; less leans towards the shortest that was seen, for
            episodes wander.
    """

    num_steps: int = 2000
    batch: int = 512
    lr: float = 1e-3
    hidden: int = 256
    depth: int = 2
    imagined_fraction: float = 0.5
    horizon: int = 10
    history: int = 1
    max_imagined: int = 50_000
    held_out_fraction: float = 0.2
    expectile: float = 0.25

    def __post_init__(self) -> None:
        inside = 0 < self.expectile < 1 and 0 < self.held_out_fraction < 1 and 0 <= self.imagined_fraction <= 1
        if not inside or min(self.num_steps, self.batch, self.horizon, self.history) < 1:
            raise UsageError(
                "training of a critic wants num_steps, batch, horizon and history of 1 or more, expectile and "
                f"held_out_fraction between 0 and 1, and imagined_fraction from 0 to 1; got {self}"
            )


@dataclass(frozen=True, slots=True)
class CriticReport:
    """How good a critic is, on episodes it never saw. Errors count steps between the frames of an episode, which a
    wandering policy makes larger than the shortest way: no critic brings them to 0.
    """

    num_pairs: int
    error: float
    """Mean absolute error on encoded states [steps]."""
    error_imagined: float
    """On imagined states [steps]; NaN where none were imagined."""
    error_of_median: float
    """Of the constant that does best [steps]."""
    spearman: float
    """Rank correlation with the steps."""
    spearman_imagined: float
    spearman_squared: float
    """Of the squared latent distance, for the same pairs."""

    def __str__(self) -> str:
        return (
            f"Critic on {self.num_pairs} unseen pairs: off by {self.error:.1f} steps, on imagined states by "
            f"{self.error_imagined:.1f} (a constant: {self.error_of_median:.1f}); Spearman {self.spearman:.2f} and "
            f"{self.spearman_imagined:.2f} (squared latent distance: {self.spearman_squared:.2f})."
        )


class TrainedCritic(NamedTuple):
    """A critic in evaluation mode, its weights fixed, and how good it is."""

    network: TemporalDistance
    report: CriticReport


def fit_critic(
    experiences: Sequence[Experience],
    model: WorldModel,
    rng: torch.Generator,
    training: CriticTraining | None = None,
    progress: Progress | None = None,
) -> TrainedCritic:
    """Train a critic.

    Args:
        experiences: Episodes, several; `Memory.experiences` gives them too.
        model: Imagines the states to learn on besides.
        rng: CPU generator; decides everything random.
        training: How; the defaults when None.
        progress: Called after every step.

    Raises:
        UsageError: If there are fewer than 2 episodes, or one of them is malformed.
    """
    training = training or CriticTraining()
    if len(checked(experiences)) < 2:
        raise UsageError(f"a critic wants 2 episodes at least, one to learn and one to test; got {len(experiences)}")
    order = torch.randperm(len(experiences), generator=rng).tolist()
    num_held = min(max(1, round(training.held_out_fraction * len(order))), len(order) - 1)
    held, used = ([experiences[i] for i in some] for some in (order[:num_held], order[num_held:]))
    lived = Lived(used, model, training)
    unit = max(1.0, float(lived.draw(lived.encoded, 5000, rng).steps.double().mean()))
    critic = TemporalDistance(lived.encoded.latents, rng, unit, training.hidden, training.depth).to(lived.device)
    _train(critic, lived, rng, training, progress)
    return TrainedCritic(critic.eval().requires_grad_(False), _judge(critic, Lived(held, model, training), rng))


class States(NamedTuple):
    """States of episodes and where they are from: latents [M, D], episode [M], time [M]."""

    latents: Tensor
    episode: Tensor
    time: Tensor


class Drawn(NamedTuple):
    """Pairs of an episode: states [P, D], goals [P, D], steps between them [P]."""

    latents: Tensor
    goals: Tensor
    steps: Tensor


class Lived:
    """Episodes as tables of encoded and of imagined states, to draw pairs from."""

    def __init__(self, experiences: Sequence[Experience], model: WorldModel, training: CriticTraining) -> None:
        self.lengths = torch.tensor(list(lengths(experiences)))
        self.first = self.lengths.cumsum(0) - self.lengths
        latents = torch.cat([e.latents for e in experiences])
        self.device = latents.device
        time = torch.cat([torch.arange(int(num)) for num in self.lengths])
        self.encoded = States(latents, torch.arange(len(self.lengths)).repeat_interleave(self.lengths), time)
        self.imagined = self._imagine(experiences, model, training) if training.imagined_fraction else None

    def draw(self, states: States, num: int, rng: torch.Generator) -> Drawn:
        """`num` pairs: a state, and an encoded goal before or after it.

        Half of them anywhere in the episode, for the far is where a critic is needed; the lags of the others are
        spread evenly over the logarithm, so that the near is told apart too.
        """
        which = torch.randint(len(states.time), (num,), generator=rng)
        episode, time = states.episode[which], states.time[which]
        uniform = torch.rand(2, num, generator=rng, dtype=torch.float64)
        after = self.lengths[episode] - 1 - time
        forward = uniform[0] * (after + time) < after
        longest = torch.where(forward, after, time)
        near = (longest + 2).double().pow(uniform[1]).long() - 1  # 0 to longest, evenly over the logarithm
        lag = torch.where(torch.arange(num) % 2 == 0, near, (uniform[1] * (longest + 1)).long()).clamp(max=longest)
        goal = self.first[episode] + time + torch.where(forward, lag, -lag)
        goals = self.encoded.latents[goal.to(self.device)]
        return Drawn(states.latents[which.to(self.device)], goals, lag.to(self.device))

    def _imagine(self, experiences: Sequence[Experience], model: WorldModel, training: CriticTraining) -> States | None:
        most = max(1, training.max_imagined // (len(experiences) * training.horizon))
        latents, episodes, times = [], [], []
        for index, experience in enumerate(experiences):
            horizon = min(training.horizon, len(experience.latents) - training.history)
            if horizon < 1:
                continue
            seen = foresee(model, experience, horizon, training.history, most)
            latents.append(seen.imagined.flatten(0, 1))
            times.append((seen.first[:, None] + torch.arange(horizon)).flatten())
            episodes.append(torch.full_like(times[-1], index))
        return States(torch.cat(latents), torch.cat(episodes), torch.cat(times)) if latents else None


def _train(
    critic: TemporalDistance, lived: Lived, rng: torch.Generator, training: CriticTraining, progress: Progress | None
) -> None:
    """Regress the steps; where it says too many, the error counts (1 - expectile) / expectile times as much."""
    optimizer = torch.optim.AdamW(critic.parameters(), training.lr, weight_decay=1e-4)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.num_steps)
    num_imagined = 0 if lived.imagined is None else round(training.imagined_fraction * training.batch)
    for step in range(training.num_steps):
        draws = [lived.draw(lived.encoded, training.batch - num_imagined, rng)]
        if lived.imagined is not None:
            draws.append(lived.draw(lived.imagined, num_imagined, rng))
        latents, goals, steps = (torch.cat(column) for column in zip(*draws, strict=True))
        pred, wanted = critic.relative(latents, goals), steps.to(latents.dtype) / critic.unit
        too_long = (pred.detach() > wanted).to(pred)
        weight = too_long.lerp(1 - too_long, training.expectile)  # 1 - expectile where too long, expectile where short
        loss = (2 * weight * F.mse_loss(pred, wanted, reduction="none")).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
        if progress is not None:
            progress(step + 1, float(loss.detach()))


@torch.no_grad()
def _judge(critic: TemporalDistance, unseen: Lived, rng: torch.Generator, num: int = 5000) -> CriticReport:
    """Errors on pairs of unseen episodes."""
    pairs = unseen.draw(unseen.encoded, num, rng)
    pred = critic(pairs.latents, pairs.goals)
    steps = pairs.steps.to(pred)
    error_imagined = spearman_imagined = float("nan")
    if unseen.imagined is not None:
        dreamt = unseen.draw(unseen.imagined, num, rng)
        pred_dreamt = critic(dreamt.latents, dreamt.goals)
        error_imagined = float((pred_dreamt - dreamt.steps).abs().mean())
        spearman_imagined = spearman(pred_dreamt, dreamt.steps)
    return CriticReport(
        num_pairs=num,
        error=float((pred - steps).abs().mean()),
        error_imagined=error_imagined,
        error_of_median=float((steps - steps.median()).abs().mean()),
        spearman=spearman(pred, steps),
        spearman_imagined=spearman_imagined,
        spearman_squared=spearman(squared_distance(pairs.latents, pairs.goals), steps),
    )
