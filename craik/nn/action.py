"""Actions as a model sees them: standardized and embedded; and read back from what they changed."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ActionScale(nn.Module):
    """z-scores of actions, kept with the weights: a model that forgets them misreads every action it is given.

    Where frames are skipped, all the actions between two come as one block [..., skip * A]; each of them is
    standardized with the same A means and deviations. Mean 0 and
    deviation 1 until `set` is called; one-hot actions are best left so.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    @torch.no_grad()
    def set(self, mean: Tensor, std: Tensor) -> None:
        """Take over the statistics [A] of the training actions.

        Raises:
            ValueError: If a shape differs, a number is not finite, or a deviation is not positive.
        """
        for name, value in (("mean", mean), ("std", std)):
            if value.shape != self.mean.shape or not bool(torch.isfinite(value).all()):
                raise ValueError(f"{name} of actions is to be {len(self.mean)} finite numbers, got {value.tolist()}")
        if not bool((std > 0).all()):
            raise ValueError(f"an action dimension never varies (std {std.tolist()}): leave it out, or use std 1")
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, actions: Tensor) -> Tensor:
        """[..., skip * A] in units of the environment -> standardized.

        Raises:
            ValueError: If the last axis is no multiple of A.
        """
        size = len(self.mean)
        if actions.shape[-1] % size:
            raise ValueError(f"actions are {actions.shape[-1]} wide, expected a multiple of {size}")
        single = actions.unflatten(-1, (-1, size))
        return ((single - self.mean) / self.std).flatten(-2)


class ActionEncoder(nn.Module):
    """A linear map, then linear, SiLU, linear: standardized actions [..., A] -> [..., D].

    Args:
        size: Width of an action A; that of the whole block where frames are skipped.
        width: Features of an embedded action D.
        smoothed: Width between the first and the second map; None takes A.
        ratio: Hidden width over D.

    Source: LeWorldModel (arXiv 2603.19312); its 1 x 1 convolution over time is the first linear map.
    """

    def __init__(self, size: int, width: int, smoothed: int | None = None, ratio: int = 4) -> None:
        super().__init__()
        self.smooth = nn.Linear(size, smoothed or size)
        self.fc1 = nn.Linear(smoothed or size, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, actions: Tensor) -> Tensor:
        """[..., A] -> [..., D]."""
        out: Tensor = self.fc2(F.silu(self.fc1(self.smooth(actions))))
        return out


class InverseDynamics(nn.Module):
    """The action that leads from one latent to the next: latents [..., D] twice -> [..., A].

    Two hidden layers with GELU, as wide as `hidden`; PLDM's is 512 wide.
    """

    def __init__(self, width: int, size: int, hidden: int = 512) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2 * width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, size),
        )

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Actions [..., A] between latents [..., D] and [..., D]."""
        out: Tensor = self.net(torch.cat([before, after], -1))
        return out
