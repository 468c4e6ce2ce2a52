"""World model in latent space: encode frames, predict the next latent from the action, imagine by doing so again.

    s_t = perception(x_t)    s'_{t+1} = predictor(s_{<=t}, a_{<=t}, z_{<=t})    energy = D(s'_{t+1}, s_{t+1})

z is what the action does not decide, see `core.latent`; without it there is one future. LeWorldModel, PLDM and DINO-WM
differ by the parts passed in: what perceives, and which terms prevent collapse.
It is a `core.world.WorldModel`. Letters here: T is time, H a horizon.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from craik.core.batch import Batch, Part
from craik.core.energy import Energy, l2
from craik.core.jepa import Latents, Loss
from craik.core.latent import Inferred, Latent, another_row
from craik.core.target import Shared
from craik.core.tokens import Tokens

CHANCE_SEED = 1 << 40  # plus the step: apart from whatever else is drawn from the step number


class Trajectory(NamedTuple):
    """What a term of the loss may look at."""

    latents: Tensor
    """Of the observed frames, [B, T, D] or [B, T, N, D]."""
    actions: Tensor
    """Between them, standardized, [B, T - 1, A]."""


@dataclass(frozen=True, slots=True)
class Term:
    """`weight` x `penalty(trajectory, step)`; a penalty that is a module is trained with the model."""

    weight: float
    penalty: Callable[[Trajectory, int], Tensor]


@dataclass(slots=True)
class Chance:
    """What one training step draws z with, and what it found out about it."""

    rng: torch.Generator
    inferred: list[Inferred] = field(default_factory=list)


class Steps(NamedTuple):
    """Predictions to be made side by side: T frames seen, and the last n <= T of the T that follow."""

    seen: Tensor
    """Latents, [B, T, D] or [B, T, N, D]."""
    cond: Tensor
    """Embedded actions taken there, [B, T, W]; where z is known already, with what it tells."""
    goals: Tensor
    """Latents to be predicted, [B, n, D] or [B, n, N, D]."""


class Control(NamedTuple):
    """Whether z carries too much: mean energies, one step ahead, scalar."""

    own: Tensor
    """With the z inferred for each goal."""
    shuffled: Tensor
    """With the z of another row. Near `own`: z is not used."""
    wrong: Tensor
    """Of the goal of another row, with the z inferred for it. Near `own`: every goal is believed, z tells it all."""


class LatentWorld(nn.Module):
    """Predicts the latents of frames from earlier latents and actions. Gradient flows through both sides.

    A batch has parts with x = normalized frames [B, T, C, H, W] and cond = actions [B, T - 1, A] in units of the
    environment, or [B, T, A], where the last is left out. With one step, latent t + 1 is predicted from the observed
    ones up to t. With K steps, each prediction is put in the place of the observed latent and the next is predicted
    from it, K times, exactly as `rollout` does, and the energy is the mean over the K steps.

    Args:
        perception: Frames [M, C, H, W] to latents [M, D] or [M, N, D]; has an `encoder`.
        scale: Standardizes actions [..., A].
        actions: Embeds standardized actions [..., A].
        predictor: (latents [B, T, ...], embedded actions [B, T, D]) to next latents of the same shape, causal.
        history: Most frames the predictor looks at [model steps].
        num_steps: K, predictions in a row during training.
        truncate: Stop the gradient between these predictions, which saves memory.
        terms: Named terms against collapse.
        energy: D.
        latent: The latent variable z; what it tells is added to the embedded action. None: there is one future.

    With z, the loss gains the terms `latent`, which limits what z carries, and `nats`, which says how much it does.

    Sources: arXiv 2603.19312 (LeWorldModel), 2502.14819 (PLDM), 2411.04983 (DINO-WM).
    """

    def __init__(
        self,
        perception: nn.Module,
        scale: nn.Module,
        actions: nn.Module,
        predictor: nn.Module,
        history: int,
        num_steps: int = 1,
        truncate: bool = False,
        terms: Mapping[str, Term] | None = None,
        energy: Energy = l2,
        latent: Latent | None = None,
    ) -> None:
        super().__init__()
        if history < 1 or num_steps < 1:
            raise ValueError(f"history and num_steps are at least 1, got {history} and {num_steps}")
        self.perception = perception
        self.scale = scale
        self.actions = actions
        self.predictor = predictor
        self.history = history
        self.num_steps = num_steps
        self.truncate = truncate
        self.terms = dict(terms or {})
        self.penalties = nn.ModuleDict(
            {name: term.penalty for name, term in self.terms.items() if isinstance(term.penalty, nn.Module)}
        )
        self.energy = energy
        self.critic: nn.Module | None = None
        """Steps [...] from latents [..., D] to others, to plan with; of a recipe that trains one, not by `forward`."""
        self.latent = latent
        self.target = Shared()

    @property
    def encoder(self) -> nn.Module:
        """What turns a frame into tokens: the representation that is used and probed."""
        encoder: nn.Module = self.perception.get_submodule("encoder")
        return encoder

    def forward(self, batch: Batch, step: int = 0) -> Loss:
        """Loss of one batch. `step` seeds what a term draws anew each step.

        `copy` among the terms is the energy of predicting that nothing changes: not trained, to be compared.
        """
        seen, chance = (
            [self.observe(part) for part in batch.parts],
            Chance(torch.Generator().manual_seed(CHANCE_SEED + step)),
        )
        by_step = torch.stack([self.energies(trajectory, chance) for trajectory in seen]).mean(0)  # [K]
        terms = {"energy": by_step.mean()}
        total = terms["energy"]
        if chance.inferred:
            terms["latent"] = torch.stack([inferred.penalty for inferred in chance.inferred]).mean()
            terms["nats"] = torch.stack([inferred.nats for inferred in chance.inferred]).mean()
            total = total + terms["latent"]
        if self.num_steps > 1:
            terms |= {f"energy_{k}": by_step[k - 1].detach() for k in (1, self.num_steps)}
        for name, term in self.terms.items():
            terms[name] = torch.stack([term.penalty(trajectory, step) for trajectory in seen]).mean()
            total = total + term.weight * terms[name]
        terms["copy"] = torch.stack([self.still(trajectory.latents) for trajectory in seen]).mean()
        return Loss(total, terms)

    def observe(self, part: Part) -> Trajectory:
        """Latents and standardized actions of a part.

        Raises:
            ValueError: If there are no actions, or their number does not fit that of the frames.
        """
        num_frames = part.x.shape[1]
        if part.cond is None or part.cond.shape[1] not in (num_frames - 1, num_frames):
            found = "none" if part.cond is None else list(part.cond.shape)
            raise ValueError(
                f"frames are {list(part.x.shape)} and actions {found}; expected [B, {num_frames - 1}, A], "
                "actions[t] taken between frame t and t + 1"
            )
        return Trajectory(self.encode(part.x), self.scale(part.cond[:, : num_frames - 1]))

    def energies(self, trajectory: Trajectory, chance: Chance | None = None) -> Tensor:
        """Mean energy of the predictions one step ahead, two steps ahead, ... [K], from every place to start at.

        z of a step is inferred when the step is first predicted. What was found is added to `chance`; None draws
        nothing.
        """
        context = min(self.history, trajectory.latents.shape[1] - self.num_steps)
        if context < 1:
            raise ValueError(
                f"{self.num_steps} steps ahead want {self.num_steps + 1} frames or more, "
                f"got {trajectory.latents.shape[1]}"
            )
        goals = windows(trajectory.latents, context + self.num_steps)  # [M, c + K, ...]
        cond = windows(self.actions(trajectory.actions), context + self.num_steps - 1)
        seen, energies = goals[:, :context], []
        for ahead in range(self.num_steps):
            now = context + ahead
            seen = seen[:, -self.history :]
            first, num = now - seen.shape[1], 1 if ahead else context
            goal = goals[:, now + 1 - num : now + 1]
            if self.latent is not None:
                steps = Steps(seen, cond[:, first:now], goal)
                inferred = self.infer(steps, None if chance is None else chance.rng)
                told = self.told(seen, cond[:, first:now], inferred.z)
                cond = torch.cat([cond[:, :first], told, cond[:, now:]], 1)
                if chance is not None:
                    chance.inferred.append(inferred)
            pred = self.predictor(seen, cond[:, first:now])
            energies.append(self.energy(pred[:, -num:], goal).mean())
            newest = pred[:, -1:].detach() if self.truncate else pred[:, -1:]
            seen = torch.cat([seen, newest], 1)
        return torch.stack(energies)

    def infer(self, steps: Steps, rng: torch.Generator | None = None) -> Inferred:
        """Infer z [B, n, Z] of steps, by looking at their goals; without a generator nothing is drawn."""
        num, fixed = steps.goals.shape[1], Steps(*(x.detach() for x in steps))
        context = self.context(steps.seen[:, -num:], steps.cond[:, -num:])
        with unrecorded(self.predictor):
            return self.variable().infer(context, pooled(steps.goals), lambda z: self.judge(fixed, z), rng)

    def judge(self, steps: Steps, z: Tensor) -> Tensor:
        """Energy [B, n] of each step, predicted with z [B, n, Z]."""
        pred = self.predictor(steps.seen, self.told(steps.seen, steps.cond, z))[:, -z.shape[1] :]
        return self.energy(as_sets(pred), as_sets(steps.goals))

    def told(self, seen: Tensor, cond: Tensor, z: Tensor) -> Tensor:
        """Embedded actions [B, T, W] taken at latents [B, T, ...], with what z [B, n, Z] tells in the last n steps."""
        num = z.shape[1]
        told = self.variable().tell(z, self.context(seen[:, -num:], cond[:, -num:]))
        return torch.cat([cond[:, :-num], cond[:, -num:] + told], 1)

    def context(self, latents: Tensor, cond: Tensor) -> Tensor:
        """What is known before a step: latent, its mean over patches, and embedded action, [B, n, D + W]."""
        return torch.cat([pooled(latents), cond], -1)

    def variable(self) -> Latent:
        """The latent variable.

        Raises:
            ValueError: If there is none.
        """
        if self.latent is None:
            raise ValueError("this world model has no latent variable z; leave it out")
        return self.latent

    @torch.no_grad()
    def control(self, batch: Batch, rng: torch.Generator) -> Control:
        """What z does to the energies of a batch one step ahead; to be called in evaluation mode."""
        found = []
        for trajectory in (self.observe(part) for part in batch.parts):
            span = min(self.history, trajectory.latents.shape[1] - 1)
            goals = windows(trajectory.latents, span + 1)
            steps = Steps(goals[:, :-1], windows(self.actions(trajectory.actions), span), goals[:, 1:])
            found.append(self.control_of(steps, rng))
        return Control(*(torch.stack(energies).mean() for energies in zip(*found, strict=True)))

    @torch.no_grad()
    def control_of(self, steps: Steps, rng: torch.Generator) -> Control:
        """What z does to the energies of steps; to be called in evaluation mode."""
        z, wrong = self.infer(steps, rng).z, steps._replace(goals=another_row(steps.goals, rng))
        return Control(
            own=self.judge(steps, z).mean(),
            shuffled=self.judge(steps, another_row(z, rng)).mean(),
            wrong=self.judge(wrong, self.infer(wrong, rng).z).mean(),
        )

    @torch.no_grad()
    def still(self, latents: Tensor) -> Tensor:
        """Energy of predicting each latent by the one before it."""
        return self.energy(latents[:, :-1], latents[:, 1:]).mean()

    def latents(self, batch: Batch) -> Latents:
        """Every prediction one step ahead, to look at: the context is the last frame it was made from."""
        found = Latents()
        for part in batch.parts:
            trajectory = self.observe(part)
            context = min(self.history, trajectory.latents.shape[1] - 1)
            seen = windows(trajectory.latents, context + 1)  # [M, c + 1, ...]
            pred = self.predictor(seen[:, :-1], windows(self.actions(trajectory.actions), context))
            found.context.append(as_tokens(seen[:, -2]))
            found.goal.append(as_tokens(seen[:, -1]))
            found.pred.append(as_tokens(pred[:, -1]).x.unsqueeze(1))
        return found

    def tokens(self, frames: Tensor) -> Tokens:
        """The latents of normalized frames [M, C, H, W] as tokens [M, 1 or N, D]."""
        return as_tokens(self.perception(frames))

    def encode(self, frames: Tensor) -> Tensor:
        """Latents [B, T, D] or [B, T, N, D] of normalized frames [B, T, C, H, W], each of its own frame alone."""
        latents: Tensor = self.perception(frames.flatten(0, 1))
        return latents.unflatten(0, frames.shape[:2])

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        """Latents that follow when `actions` are taken; see `core.world.WorldModel`.

        Args:
            latents: Of the frames seen, [B, T, D] or [B, T, N, D].
            past: Actions between those frames, [B, T - 1, A], in units of the environment.
            actions: To be imagined, [B, H, A].
            z: Draws of the latent variable [B, H, Z]; None takes the default future, z = 0.

        Returns:
            [B, H, D] or [B, H, N, D].

        Raises:
            ValueError: If z is given and there is no latent variable, or a shape does not fit.

        z of the steps between the frames seen is inferred, without gradient.
        """
        if past.shape[1] != latents.shape[1] - 1:
            raise ValueError(f"{latents.shape[1]} frames want {latents.shape[1] - 1} past actions, got {past.shape[1]}")
        seen = latents[:, -self.history :]
        taken = torch.cat([past, actions], 1)[:, latents.shape[1] - seen.shape[1] :]
        cond, imagined = self.actions(self.scale(taken)), []
        known, z = self.past(seen, cond, z)
        for step in range(actions.shape[1]):
            now = step + taken.shape[1] - actions.shape[1]
            known = torch.cat([known, cond[:, now : now + 1]], 1)[:, -seen.shape[1] :]
            if z is not None:
                known = self.told(seen, known, z[:, step : step + 1])
            pred = self.predictor(seen, known)[:, -1:]
            imagined.append(pred)
            seen = torch.cat([seen, pred], 1)[:, -self.history :]
        return torch.cat(imagined, 1)

    def past(self, seen: Tensor, cond: Tensor, z: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What was told in the steps between the frames seen [B, T - 1, W], and z [B, H, Z] of those to come."""
        num = seen.shape[1] - 1
        known, wanted = cond[:, :num], [*cond.shape[:1], cond.shape[1] - num]
        if self.latent is None and z is None:
            return known, None
        wanted.append(self.variable().size)
        if z is not None and list(z.shape) != wanted:
            raise ValueError(f"z is {list(z.shape)}, expected {wanted}: one for each action")
        if num:
            with torch.no_grad():
                inferred = self.infer(Steps(seen[:, :-1], known, seen[:, 1:]))
            known = self.told(seen[:, :-1], known, inferred.z)
        return known, seen.new_zeros(wanted) if z is None else z.to(seen)


def pooled(latents: Tensor) -> Tensor:
    """One vector per frame, [B, T, D], of latents [B, T, D] or [B, T, N, D]."""
    return latents.mean(2) if latents.ndim == 4 else latents


def as_sets(latents: Tensor) -> Tensor:
    """Latents [B, T, N, D]; N is 1 where there is one vector per frame, [B, T, D]."""
    return latents.unsqueeze(2) if latents.ndim == 3 else latents


@contextmanager
def unrecorded(module: nn.Module) -> Iterator[None]:
    """For trials: no dropout inside, and batch norms in training use the statistics of the batch but keep none."""
    modes = [(part, part.training) for part in module.modules()]
    norms = [part for part, training in modes if isinstance(part, _BatchNorm) and training]
    records = [(norm.running_mean, norm.running_var, norm.num_batches_tracked) for norm in norms]
    module.eval()
    for norm in norms:
        norm.train()
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, record in zip(norms, records, strict=True):
            norm.running_mean, norm.running_var, norm.num_batches_tracked = record
        for part, training in modes:
            part.training = training


def windows(x: Tensor, span: int) -> Tensor:
    """All runs of `span` neighbors along the second axis: [B, T, ...] -> [B * (T - span + 1), span, ...]."""
    return x.unfold(1, span, 1).movedim(-1, 2).flatten(0, 1)


def as_tokens(latents: Tensor) -> Tokens:
    """Latents [M, D] or [M, N, D] as tokens [M, 1 or N, D], each at its number."""
    x = latents if latents.ndim == 3 else latents.unsqueeze(1)
    at = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
    return Tokens(x, at.view(1, -1, 1).expand(len(x), -1, -1))
