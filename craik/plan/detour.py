"""A way out when the world does not follow the plan: a random move for those that a wrong model keeps where they are.

A model that overlooks a wall plans through it, nothing happens, and the same situation gives the same plan again. What
was imagined beside what came tells that, without a reward: it is surprise, and surprise is a reason to explore. So is a
plan that leads nowhere though the goal is far: a place from which every way looks longer. Who stays at the goal has no
such reason.

Source: LeCun 2022, section 3.1 (what the world model predicts is compared with what is perceived).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from craik.plan.bounds import Bounds, Box

STILL = 0.1
"""Who imagines less than this share of its longest way so far, both squared, means to stay where it is."""


@dataclass(slots=True)
class Detour:
    """Watches B problems side by side, decision by decision.

    A planner calls it with what it wants to do; who does not plan where a random move is made asks `away` first, and
    then `instead`.

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
    steps: int = 1
    taken: int = field(default=0, init=False)
    _expected: tuple[Tensor, Tensor, Tensor | None] | None = field(default=None, init=False)
    _longest: Tensor | None = field(default=None, init=False)
    _left: Tensor | None = field(default=None, init=False)
    _move: Tensor | None = field(default=None, init=False)

    def reset(self) -> None:
        """New episodes begin."""
        self._expected = self._longest = self._left = self._move = None

    def __call__(self, now: Tensor, actions: Tensor) -> Tensor:
        """The actions to execute [B, E, block * A] at latents now [B, ...]: those given, or a random move."""
        self.away(now)
        return self.instead(actions)

    def away(self, now: Tensor) -> Tensor:
        """Who makes a random move at latents now [B, ...], bool [B]; to be asked once for each decision."""
        drawn = self.moves(now)
        if self._left is None or self._move is None:
            self._left, self._move = torch.zeros(len(now), dtype=torch.int64, device=now.device), drawn
        lost = self.missed(now) & (self._left <= 0)
        self.taken += int(lost.sum())
        self._left = torch.where(lost, self.steps, self._left)
        self._move = torch.where(lost[:, None], drawn, self._move)
        return self._left > 0

    def instead(self, actions: Tensor) -> Tensor:
        """The actions [B, E, block * A] that were meant, with a random move in place of those of who is away.

        Raises:
            ValueError: If `away` was not asked yet.
        """
        if self._left is None or self._move is None:
            raise ValueError("nothing was seen yet: ask away(now) before instead(actions)")
        away = self._left > 0
        self._left = self._left - actions.shape[1]
        return torch.where(away[:, None, None], self._move.to(actions).unsqueeze(1), actions)

    def missed(self, now: Tensor) -> Tensor:
        """Which of the last steps did not lead where they should have, or were to lead nowhere, bool [B]."""
        if self._expected is None:
            return torch.zeros(len(now), dtype=torch.bool, device=now.device)
        before, imagined, goal = self._expected
        off, way = (squared(x, imagined) for x in (now, before))
        self._longest = way if self._longest is None else torch.maximum(self._longest, way)
        goes = way > STILL * self._longest
        missed = goes & (off > self.share * way)
        return missed if goal is None else missed | (~goes & (squared(now, goal) > self._longest))

    def moves(self, now: Tensor) -> Tensor:
        """One random action for each of latents [B, ...], as far as it goes, held for a step of the model,
        [B, block * A].
        """
        bounds = self.bounds.to(now)
        drawn = bounds.uniform((len(now),), self.rng).to(now)
        if isinstance(bounds, Box):
            way = drawn - bounds.center
            reach = (way / bounds.half).abs().amax(-1, keepdim=True).clamp(min=1e-6)
            drawn = bounds.project(bounds.center + way / reach)
        return drawn.repeat(1, self.block)

    def expect(self, before: Tensor, imagined: Tensor, goal: Tensor | None = None) -> None:
        """What the executed actions should lead to: from latents before [B, ...] to imagined ones, on to a goal."""
        self._expected = before, imagined, goal

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the problems, bool [B]."""
        if self._expected is not None:
            before, imagined, goal = self._expected
            self._expected = before[rows], imagined[rows], None if goal is None else goal[rows]
        if self._longest is not None:
            self._longest = self._longest[rows]
        if self._left is not None and self._move is not None:
            self._left, self._move = self._left[rows], self._move[rows]


def squared(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of latents [B, ...], [B]."""
    return (a - b).flatten(1).square().sum(1)
