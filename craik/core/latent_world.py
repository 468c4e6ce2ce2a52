"""World model in latent space: encode frames, predict the next latent from the action, imagine by doing so again.

    s_t = perception(x_t)    s'_{t+1} = predictor(s_{<=t}, a_{<=t})    energy = D(s'_{t+1}, s_{t+1})

LeWorldModel, PLDM and DINO-WM differ by the parts passed in: what perceives, and which terms prevent collapse.
It is a `core.world.WorldModel`. Letters here: T is time, H a horizon.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from craik.core.batch import Batch, Part
from craik.core.energy import Energy, l2
from craik.core.jepa import Latents, Loss
from craik.core.target import Shared
from craik.core.tokens import Tokens


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
        seen = [self.observe(part) for part in batch.parts]
        by_step = torch.stack([self.energies(trajectory) for trajectory in seen]).mean(0)  # [K]
        terms = {"energy": by_step.mean()}
        total = terms["energy"]
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

    def energies(self, trajectory: Trajectory) -> Tensor:
        """Mean energy of the predictions one step ahead, two steps ahead, ... [K], from every place to start at."""
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
            pred = self.predictor(seen, cond[:, now - seen.shape[1] : now])
            judged = pred if ahead == 0 else pred[:, -1:]
            energies.append(self.energy(judged, goals[:, now + 1 - judged.shape[1] : now + 1]).mean())
            newest = pred[:, -1:].detach() if self.truncate else pred[:, -1:]
            seen = torch.cat([seen, newest], 1)
        return torch.stack(energies)

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
            z: None: this model has one future.

        Returns:
            [B, H, D] or [B, H, N, D].

        Raises:
            ValueError: If z is given, or the number of past actions does not fit.
        """
        if z is not None:
            raise ValueError("this world model has no latent variable z; leave it out")
        if past.shape[1] != latents.shape[1] - 1:
            raise ValueError(f"{latents.shape[1]} frames want {latents.shape[1] - 1} past actions, got {past.shape[1]}")
        seen = latents[:, -self.history :]
        taken = torch.cat([past, actions], 1)[:, latents.shape[1] - seen.shape[1] :]
        cond, imagined = self.actions(self.scale(taken)), []
        for now in range(seen.shape[1], cond.shape[1] + 1):
            pred = self.predictor(seen, cond[:, now - seen.shape[1] : now])[:, -1:]
            imagined.append(pred)
            seen = torch.cat([seen, pred], 1)[:, -self.history :]
        return torch.cat(imagined, 1)


def windows(x: Tensor, span: int) -> Tensor:
    """All runs of `span` neighbors along the second axis: [B, T, ...] -> [B * (T - span + 1), span, ...]."""
    return x.unfold(1, span, 1).movedim(-1, 2).flatten(0, 1)


def as_tokens(latents: Tensor) -> Tokens:
    """Latents [M, D] or [M, N, D] as tokens [M, 1 or N, D], each at its number."""
    x = latents if latents.ndim == 3 else latents.unsqueeze(1)
    at = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
    return Tokens(x, at.view(1, -1, 1).expand(len(x), -1, -1))
