"""Perception: from observations to the state of the world, with as much of the past as the model looks at.

Source: LeCun 2022, section 3.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from craik.core.world import WorldModel
from craik.errors import UsageError
from craik.plan import Situation

Observation = np.ndarray | Tensor


@dataclass(slots=True)
class Perception:
    """Encodes observations, and remembers the last few and the actions between them.

    Attributes:
        model: Encodes.
        prepare: From a batch of observations [B, ...] to normalized frames [B, C, H, W], as the model was trained
            on; None takes them as float32.
        history: Frames that make a state, the present one included: 2 or more where one does not show velocity.
        device: Where the model is.
    """

    model: WorldModel
    prepare: Callable[[Tensor], Tensor] | None = None
    history: int = 1
    device: torch.device | str = "cpu"
    _latents: list[Tensor] = field(default_factory=list, init=False)
    _actions: list[Tensor] = field(default_factory=list, init=False)
    _action_size: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.history < 1:
            raise UsageError(f"perception wants a history of 1 frame at least, the present one; got {self.history}")

    def perceive(self, observation: Observation) -> Situation:
        """The situation after one more observation [B, ...].

        Raises:
            UsageError: If a number is not finite, or there are more or fewer environments than before.
        """
        latent = self.encode(observation)
        if self._latents and len(latent) != len(self._latents[-1]):
            raise UsageError(
                f"there were {len(self._latents[-1])} environments and now there are {len(latent)}: call "
                "agent.begin(task) when new episodes begin"
            )
        if len(self._actions) < len(self._latents):
            raise ValueError("two observations without an action between them: call acted(actions) after each")
        self._latents = [*self._latents, latent][-self.history :]
        self._actions = self._actions[len(self._actions) + 1 - len(self._latents) :]
        return Situation(torch.stack(self._latents, 1), self._past(latent))

    def acted(self, actions: Tensor) -> None:
        """What was done about the last observation, as the model takes it, [B, A]."""
        self._actions.append(actions)

    @torch.no_grad()
    def encode(self, observation: Observation) -> Tensor:
        """Latents [B, D] of observations [B, ...], each alone.

        Raises:
            UsageError: If a number is not finite.
        """
        seen = torch.as_tensor(observation, device=self.device)
        if not bool(torch.isfinite(seen).all()):
            bad = int(torch.nonzero(~torch.isfinite(seen).flatten(1).all(1))[0])
            raise UsageError(
                f"the observation of environment {bad} has numbers that are not finite: look at its source"
            )
        frames = seen.float() if self.prepare is None else self.prepare(seen)
        return self.model.encode(frames.unsqueeze(1))[:, 0]

    def begin(self, action_size: int) -> None:
        """Forget: new episodes begin, in which the model takes actions of this width A."""
        self._latents, self._actions, self._action_size = [], [], action_size

    def _past(self, like: Tensor) -> Tensor:
        return torch.stack(self._actions, 1) if self._actions else like.new_zeros(len(like), 0, self._action_size)
