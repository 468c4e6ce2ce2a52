"""Mask: who predicts what. The only thing that every task has to become."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Mask:
    """One prediction task as index sets over the tokens of each sample.

    `context` int64 [B, Kc]: what the encoder may see. `target` int64 [B, T, Kt]: T sets it must answer for,
    each predicted alone. In-painting, the future from the past, the next sentence: all are such sets. `kind` numbers
    the kind of question, where a predictor asks different ones differently.
    """

    context: Tensor
    target: Tensor
    kind: int = 0

    def __post_init__(self) -> None:
        if self.context.ndim != 2 or self.target.ndim != 3 or len(self.context) != len(self.target):
            raise ValueError(
                f"Mask wants context [B, Kc] and target [B, T, Kt]; "
                f"got {list(self.context.shape)} and {list(self.target.shape)}"
            )
        if self.context.shape[1] == 0 or self.target.shape[2] == 0:
            raise ValueError("Mask has an empty context or target; use a larger grid or smaller target blocks")

    def check(self, num_tokens: int) -> None:
        """Raise ValueError if a set does not fit a grid of num_tokens, or if context and target overlap."""
        for name, index in (("context", self.context), ("target", self.target)):
            if int(index.min()) < 0 or int(index.max()) >= num_tokens:
                raise ValueError(
                    f"Mask.{name} has indices {int(index.min())} to {int(index.max())} but the grid holds "
                    f"{num_tokens} tokens; was the mask made for another input size?"
                )
        hidden = torch.zeros(len(self.target), num_tokens, dtype=torch.bool, device=self.target.device)
        hidden.scatter_(1, self.target.flatten(1), True)
        if bool(hidden.gather(1, self.context).any()):
            raise ValueError("Mask shows the encoder a token that it must predict; remove targets from context")

    def to(self, device: torch.device | str) -> "Mask":
        """Copy on another device."""
        return Mask(
            self.context.to(device, non_blocking=True),
            self.target.to(device, non_blocking=True),
            self.kind,
        )
