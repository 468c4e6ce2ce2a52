"""Batch: what one training step looks at."""

from dataclasses import dataclass

import torch
from torch import Tensor

from craik.core.mask import Mask


@dataclass(frozen=True, slots=True)
class Part:
    """One input of a batch with the tasks posed on it.

    `x` is what the encoder observes. `y` is what the target represents, x itself when None; it differs where the
    context is disturbed and the target is not. `cond` is an optional condition (action, text). `place` [B, 2, A] says
    where y lies, if not where x does: coordinates of y's tokens are place[:, 0] + place[:, 1] x at in those of x.
    """

    x: Tensor
    masks: tuple[Mask, ...] = ()
    cond: Tensor | None = None
    y: Tensor | None = None
    place: Tensor | None = None

    def where(self, at: Tensor) -> Tensor:
        """Coordinates [B, N, A] of tokens of y, in those of x."""
        return at if self.place is None else self.place[:, :1] + self.place[:, 1:] * at

    def to(self, device: torch.device | str) -> "Part":
        """Copy on another device."""
        cond = None if self.cond is None else self.cond.to(device, non_blocking=True)
        y = None if self.y is None else self.y.to(device, non_blocking=True)
        place = None if self.place is None else self.place.to(device, non_blocking=True)
        return Part(self.x.to(device, non_blocking=True), tuple(m.to(device) for m in self.masks), cond, y, place)

    def chunks(self, num: int) -> list["Part"]:
        """The part cut into `num` smaller ones along the samples.

        Raises:
            ValueError: If the samples do not divide evenly; unequal pieces would be weighted unfairly.
        """
        if len(self.x) % num:
            raise ValueError(f"{len(self.x)} samples do not divide into {num} equal pieces")
        size = len(self.x) // num
        return [self.rows(slice(i * size, (i + 1) * size)) for i in range(num)]

    def rows(self, rows: slice) -> "Part":
        """Some of the samples."""
        masks = tuple(Mask(m.context[rows], m.target[rows], m.kind) for m in self.masks)
        cond = None if self.cond is None else self.cond[rows]
        y = None if self.y is None else self.y[rows]
        return Part(self.x[rows], masks, cond, y, None if self.place is None else self.place[rows])


@dataclass(frozen=True, slots=True)
class Batch:
    """Parts that are looked at in one step: one for images, several for clips or views of several sizes."""

    parts: tuple[Part, ...]

    def to(self, device: torch.device | str) -> "Batch":
        """Copy on another device."""
        return Batch(tuple(part.to(device) for part in self.parts))

    def chunks(self, num: int) -> list["Batch"]:
        """The batch cut into `num` smaller ones along the samples, for gradient accumulation."""
        if num == 1:
            return [self]
        return [Batch(tuple(part)) for part in zip(*(p.chunks(num) for p in self.parts), strict=True)]
