"""AdamW as the JEPA family uses it: four parameter groups, scheduled learning rate and weight decay."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from craik.train.schedule import Schedule, cosine, warmup_cosine, warmup_stable_decay


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamW:
    """Settings of the optimizer. Fractions are of all training steps."""

    lr: float = 1e-3
    """Peak learning rate."""
    start_lr: float = 2e-4
    """Learning rate of step 0."""
    final_lr: float = 1e-6
    """Learning rate at the end of the cosine."""
    warmup_fraction: float = 40 / 300
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.04
    """Weight decay at the start; biases and one-dimensional parameters have none."""
    final_weight_decay: float = 0.4
    """Weight decay at the end of its cosine."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the two moments."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    clip_norm: float | None = None
    """Largest gradient norm; None leaves gradients as they are, as I-JEPA does."""
    decay: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls after the warmup."""
    stretch: float = 1.0
    """Schedules are laid out over stretch x steps and training stops before their end."""

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf or not 0 <= self.warmup_fraction < 1 or not 1 <= self.stretch < math.inf:
            raise ValueError("AdamW wants lr > 0, warmup_fraction in [0, 1) and stretch >= 1")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm {self.clip_norm:g}: give a number above 0, or leave it out")

    def lr_schedule(self, steps: int) -> Schedule:
        """Learning rate of a run of so many steps."""
        total, warmup = int(self.stretch * steps), int(self.warmup_fraction * steps)
        if self.decay == "linear":
            return warmup_stable_decay(self.start_lr, self.lr, self.final_lr, warmup, total - warmup, total)
        return warmup_cosine(self.start_lr, self.lr, self.final_lr, warmup, total)

    def weight_decay_schedule(self, steps: int) -> Schedule:
        """Weight decay of a run of so many steps."""
        return cosine(self.weight_decay, self.final_weight_decay, int(self.stretch * steps))


def warmed_up(lr: float, weight_decay: float) -> AdamW:
    """A warmup from 0 over a tenth of the steps, a cosine to lr / 1000, and a weight decay that stays: LeJEPA's."""
    return AdamW(
        lr=lr,
        start_lr=0,
        final_lr=lr / 1000,
        warmup_fraction=0.1,
        weight_decay=weight_decay,
        final_weight_decay=weight_decay,
    )


def parameter_groups(modules: Iterable[nn.Module]) -> list[dict[str, object]]:
    """Two groups a module: decayed, and not decayed (biases and one-dimensional tensors).

    Mask tokens have three dimensions and are decayed, as published. Parameters without gradient are left out.
    """
    groups: list[dict[str, object]] = []
    for module in modules:
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        plain = [p for n, p in named if "bias" in n or p.ndim == 1]
        decayed = [p for n, p in named if not ("bias" in n or p.ndim == 1)]
        groups += [{"params": decayed, "decayed": True}, {"params": plain, "decayed": False, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def build_adamw(settings: AdamW, modules: Iterable[nn.Module]) -> torch.optim.AdamW:
    """The optimizer over all parameters of the modules; one fused update a step."""
    groups = parameter_groups(modules)
    return torch.optim.AdamW(
        groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay, fused=True
    )


def set_schedules(optimizer: torch.optim.Optimizer, lr: float, weight_decay: float) -> None:
    """Write the values of this step into the parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        if group["decayed"]:
            group["weight_decay"] = weight_decay
