"""Batch: what one training step looks at."""

from dataclasses import dataclass

import torch
from torch import Tensor

from craik.core.mask import Mask


@dataclass(frozen=True, slots=True)
class Part:
    """One input `x` of a batch with the tasks posed on it, and an optional condition (action, text)."""

    x: Tensor
    masks: tuple[Mask, ...] = ()
    cond: Tensor | None = None

    def to(self, device: torch.device | str) -> "Part":
        """Copy on another device."""
        cond = None if self.cond is None else self.cond.to(device, non_blocking=True)
        return Part(self.x.to(device, non_blocking=True), tuple(m.to(device) for m in self.masks), cond)


@dataclass(frozen=True, slots=True)
class Batch:
    """Parts that are looked at in one step: one for images, several for clips or views of several sizes."""

    parts: tuple[Part, ...]

    def to(self, device: torch.device | str) -> "Batch":
        """Copy on another device."""
        return Batch(tuple(part.to(device) for part in self.parts))
