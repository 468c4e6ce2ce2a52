"""A way out when the world does not follow the plan: a random move for those that a wrong model keeps where they are.

A model that overlooks a wall plans through it, nothing happens, and the same situation gives the same plan again. What
was imagined beside what came tells that, without a reward: it is surprise, and surprise is a reason to explore.

Source: LeCun 2022, section 3.1 (what the world model predicts is compared with what is perceived).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from craik.plan.bounds import Bounds, Box


@dataclass(slots=True)
class Detour:
    """Watches B problems side by side, decision by decision.

    Attributes:
        bounds: Actions of the environment.
        block: Actions of the environment in one step of the model.
        rng: Decides where to.
        share: A step missed its plan when it ended farther from the imagined latent than this share of the imagined
            way, both squared.
        steps: Model steps that a random move goes on.
        taken: Random moves so far.
    """

    bounds: Bounds
    block: int
    rng: torch.Generator
    share: float = 0.5
    steps: int = 2
    taken: int = field(default=0, init=False)
    _expected: tuple[Tensor, Tensor] | None = field(default=None, init=False)
    _left: Tensor | None = field(default=None, init=False)
    _move: Tensor | None = field(default=None, init=False)

    def reset(self) -> None:
        """New episodes begin."""
        self._expected = self._left = self._move = None

    def __call__(self, now: Tensor, actions: Tensor) -> Tensor:
        """The actions to execute [B, E, block * A] at latents now [B, ...]: those given, or a random move."""
        if self._left is None or self._move is None:
            self._left = torch.zeros(len(now), dtype=torch.int64, device=now.device)
            self._move = actions[:, 0].clone()
        lost = self.missed(now) & (self._left <= 0)
        self.taken += int(lost.sum())
        self._left = torch.where(lost, self.steps, self._left)
        self._move = torch.where(lost[:, None], self.moves(actions), self._move)
        away = self._left > 0
        self._left = self._left - actions.shape[1]
        return torch.where(away[:, None, None], self._move.unsqueeze(1), actions)

    def missed(self, now: Tensor) -> Tensor:
        """Which of the last steps did not lead where they should have, bool [B]."""
        if self._expected is None:
            return torch.zeros(len(now), dtype=torch.bool, device=now.device)
        before, imagined = self._expected
        off, way = ((x - imagined).flatten(1).square().sum(1) for x in (now, before))
        return off > self.share * way

    def moves(self, actions: Tensor) -> Tensor:
        """One random action for each problem, as far as it goes, held for a step of the model, [B, block * A]."""
        bounds = self.bounds.to(actions)
        drawn = bounds.uniform((len(actions),), self.rng).to(actions)
        if isinstance(bounds, Box):
            way = drawn - bounds.center
            reach = (way / bounds.half).abs().amax(-1, keepdim=True).clamp(min=1e-6)
            drawn = bounds.project(bounds.center + way / reach)
        return drawn.repeat(1, self.block)

    def expect(self, before: Tensor, imagined: Tensor) -> None:
        """What the executed actions should lead to: from latents before [B, ...] to imagined ones."""
        self._expected = before, imagined

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the problems, bool [B]."""
        if self._expected is not None:
            self._expected = self._expected[0][rows], self._expected[1][rows]
        if self._left is not None and self._move is not None:
            self._left, self._move = self._left[rows], self._move[rows]
