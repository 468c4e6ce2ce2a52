"""World models that know the ice by heart: what can be read off a frame, and what a move comes to. No learning."""

import math

import torch
from torch import Tensor, nn

from craik.core.latent import Discrete
from craik.core.latent_world import LatentWorld
from craik.envs.stochastic import Ice
from craik.evaluate.chance import Seer

WORLD = Ice()


class Dot(nn.Module):
    """The place of the red dot, (x, y) [px]."""

    def forward(self, frames: Tensor) -> Tensor:
        weight = (frames[:, 0] - frames[:, 2] - 30).clamp(min=0)  # [M, H, W]
        at = torch.arange(frames.shape[-1]) + 0.5
        total = weight.sum((-2, -1))
        return torch.stack([(weight.sum(-2) * at).sum(-1) / total, (weight.sum(-1) * at).sum(-1) / total], -1)


class Sided(nn.Module):
    """Actions (x, y), and room for the side to which they veer."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, actions: Tensor) -> Tensor:
        return nn.functional.pad(actions, (0, 1)) + self.nothing


class Skates(nn.Module):
    """What a move comes to, by its side: -1 left, 1 right, 0 the mean of both."""

    def forward(self, latents: Tensor, cond: Tensor) -> Tensor:
        x, y, side = cond.unbind(-1)
        ice = (latents[..., 0] >= WORLD.strip[0]) & (latents[..., 0] <= WORLD.strip[1])
        angle = math.radians(WORLD.veer)
        sin = math.sin(angle) * torch.where(side == 0, 1 - 2 * WORLD.left_prob, side)
        turned = torch.stack([math.cos(angle) * x - sin * y, sin * x + math.cos(angle) * y], -1)
        moved = latents + torch.where(ice.unsqueeze(-1), turned, cond[..., :2])
        return moved.clamp(WORLD.border, WORLD.side - WORLD.border)


def knowing() -> Seer:
    """Without z: the mean of both sides."""
    return seer(None)


def choosing(left_prob: float) -> Seer:
    """With a code for each side, of which the left is drawn with this probability."""
    latent = Discrete(2, 3)
    with torch.no_grad():
        latent.embed.weight.copy_(torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]))
        latent.usage.copy_(torch.tensor([left_prob, 1 - left_prob]))
    return seer(latent)


def seer(latent: Discrete | None) -> Seer:
    """A model with this z."""
    model = LatentWorld(Dot(), nn.Identity(), Sided(), Skates(), history=1, latent=latent)
    return Seer(model.eval(), lambda frames: frames.float())
