"""JEPA: hide part of the world, predict its representation from the rest, and keep it from collapsing.

    s_x = encoder(x)    s_y = target(y)    s'_y = predictor(s_x, where, cond)    energy = D(s'_y, s_y)

Methods differ by the parts passed in, never by a subclass and never by a flag.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from craik.core.batch import Batch, Part
from craik.core.energy import Energy
from craik.core.target import Target
from craik.core.tokens import Tokens


class Loss(NamedTuple):
    """What is minimized, and the named terms it is made of; all scalar tensors, so that nothing syncs."""

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(slots=True)
class Latents:
    """The representations of one step, for regularizers to look at."""

    context: list[Tokens] = field(default_factory=list)
    goal: list[Tokens] = field(default_factory=list)
    pred: list[Tensor] = field(default_factory=list)

    def pooled_context(self) -> Tensor:
        """One embedding per context, [M, B, D]: M tasks, each a set of B samples."""
        return torch.stack([tokens.mean() for tokens in self.context])

    def context_tokens(self) -> Tensor:
        """Every context token of the step as a sample of its own, [M, D]."""
        return torch.cat([tokens.x.flatten(0, 1) for tokens in self.context])

    def predictions(self) -> Tensor:
        """Every predicted token of the step as a sample of its own, [M, D]."""
        return torch.cat([pred.flatten(0, -2) for pred in self.pred])


@dataclass(frozen=True, slots=True)
class Regularizer:
    """`weight` x `penalty(look(latents), step)`: look picks [..., N, D], the penalty makes a scalar of it."""

    weight: float
    penalty: Callable[[Tensor, int], Tensor]
    look: Callable[[Latents], Tensor] = Latents.pooled_context


class Solved(NamedTuple):
    """What came of one task."""

    context: Tokens
    """What the encoder made of what it saw, [B, Kc, D]."""
    pred: Tensor
    """[B, T, Kt, D]."""


Solve = Callable[[nn.Module, nn.Module, Part, list[Tensor]], list[Solved]]
"""From encoder, predictor, a part and the coordinates [B, T, Kt, A] of each of its tasks to what came of each."""


def one_by_one(encoder: nn.Module, predictor: nn.Module, part: Part, places: list[Tensor]) -> list[Solved]:
    """One task after the other: right for any encoder and predictor."""
    solved = []
    for mask, where in zip(part.masks, places, strict=True):
        context: Tokens = encoder(part.x, keep=mask.context)
        solved.append(Solved(context, predictor(context, where, part.cond)))
    return solved


class JEPA(nn.Module):
    """Predict the representation of the target from that of the context.

    `solve` says how the tasks of a part are carried out: networks that can do several in one pass come with a faster
    way (`nn/packed.py`).

    Source: LeCun 2022, "A Path Towards Autonomous Machine Intelligence", section 4.4.
    """

    def __init__(
        self,
        encoder: nn.Module,
        target: Target,
        predictor: nn.Module,
        energy: Energy,
        regularizers: Mapping[str, Regularizer] | None = None,
        solve: Solve = one_by_one,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.target = target
        self.predictor = predictor
        self.energy = energy
        self.regularizers = dict(regularizers or {})
        self.solve = solve

    def forward(self, batch: Batch, step: int = 0) -> Loss:
        """Loss of one batch. `step` seeds what a regularizer draws anew each step."""
        seen = Latents()
        energies = [energy for part in batch.parts for energy in self.energies(part, seen)]
        terms = {"energy": torch.stack(energies).mean()}
        total = terms["energy"]
        for name, regularizer in self.regularizers.items():
            terms[name] = regularizer.penalty(regularizer.look(seen), step)
            total = total + regularizer.weight * terms[name]
        return Loss(total, terms)

    def energies(self, part: Part, seen: Latents) -> list[Tensor]:
        """Mean energy of each task of a part; its representations are added to `seen`."""
        wanted = torch.cat([mask.target.flatten(1) for mask in part.masks], dim=1)
        y = part.x if part.y is None else part.y
        goals = self.target(self.encoder, y, wanted)  # [B, W, D], W = sum of T * Kt over masks
        sets = [mask.target.shape[1:] for mask in part.masks]  # (T, Kt)
        numbers = [size.numel() for size in sets]
        spans = list(zip(goals.x.split(numbers, 1), goals.at.split(numbers, 1), sets, strict=True))
        places = [part.where(at).unflatten(1, size) for _, at, size in spans]
        energies = []
        for (x, at, size), task in zip(spans, self.solve(self.encoder, self.predictor, part, places), strict=True):
            energies.append(self.energy(task.pred, x.unflatten(1, size)).mean())
            seen.context.append(task.context)
            seen.goal.append(Tokens(x, at))
            seen.pred.append(task.pred)
        return energies

    def latents(self, batch: Batch) -> Latents:
        """All representations of a batch, to look at."""
        seen = Latents()
        for part in batch.parts:
            self.energies(part, seen)
        return seen
