"""A recipe whose model knows the plain of `tests.act_run.plain`: the latent is the place, and nothing is learned."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from craik.core.target import Shared
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.plan.settings import Planning
from craik.train.optim import AdamW
from craik.train.recipe import Recipe, View, Window

EDGE, REACH = 100.0, 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What may be wrong with it."""

    speed: float = 1.0
    """How far it believes an action goes."""
    action_size: int = 2
    skip: int = 1
    guided: bool = False
    """Whether it brings a critic, and is planned with by it, with held actions and detours."""
    optim: AdamW = field(default_factory=lambda: AdamW(lr=1e-3))


class WayToGo(nn.Module):
    """Steps of the environment between two places."""

    def forward(self, latents: Tensor, goals: Tensor) -> Tensor:
        return (latents - goals).norm(dim=-1) * (EDGE / 2) / REACH


class Place(nn.Module):
    """Latents are places [-1, 1]^2, read from the color of a frame."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.register_buffer("speed", torch.tensor(cfg.speed))
        self.target = Shared()
        self.encoder = nn.Identity()
        self.skip = cfg.skip
        self.critic = WayToGo() if cfg.guided else None

    def encode(self, frames: Tensor) -> Tensor:
        mean, std = (torch.tensor(x, device=frames.device) for x in (IMAGENET_MEAN, IMAGENET_STD))
        color = frames.mean((-2, -1)) * std + mean
        return color[..., :2] * 255 / 2.5 / (EDGE / 2) - 1

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        at, found = latents[:, -1], []
        for block in actions.unbind(1):
            for action in block.unflatten(-1, (self.skip, 2)).unbind(1):
                length = action.norm(dim=-1, keepdim=True).clamp(min=REACH)
                at = (at + self.speed * action * REACH / length / (EDGE / 2)).clamp(-1, 1)
            found.append(at)
        return torch.stack(found, 1)


def oracle() -> Config:
    """Knows the world."""
    return Config()


def blocks() -> Config:
    """Two actions in one step of the model."""
    return Config(skip=2)


def guided() -> Config:
    """Two actions in one step of the model, and a critic."""
    return Config(skip=2, guided=True)


def build(cfg: Config) -> Recipe:
    """The parts of the method; it cannot be trained."""
    recipe = Recipe(
        model=Place(cfg),
        prepare=lambda samples, rng: samples,
        optim=cfg.optim,
        momentum=None,
        batch=4,
        epochs=1,
        view=View(8, IMAGENET_MEAN, IMAGENET_STD),
        window=Window(frames=4, history=1, action_size=cfg.action_size, skip=cfg.skip),
    )
    planning = Planning(horizon=5, execute=2, samples=40, iterations=3)
    if cfg.guided:
        planning = replace(planning, cost="critic", hold=True, detour=0.5)
    if "planning" in Recipe.__dataclass_fields__:
        object.__setattr__(recipe, "planning", planning)
    return recipe
