"""A world model that knows the truth, as a user's recipe file: for the line of `tests.collect.worlds`.

Its latent is the place. What is planned with it is known beforehand: tests can tell a wrong evaluation from a wrong
model.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from craik import api
from craik.core.batch import Batch
from craik.plan.settings import Planning
from craik.recipes import find
from craik.train.optim import AdamW
from craik.train.recipe import Recipe, View, Window

SIDE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What is wrong with the model, if anything."""

    skip: int = 1
    history: int = 1
    sign: float = 1.0
    """-1: it believes that actions move the other way."""
    offset: float = 0.0
    """Added to every latent; NaN is a model whose training met NaN."""


def line() -> Config:
    """The truth."""
    return Config()


def skipping() -> Config:
    """Two steps in one, two frames of history."""
    return Config(skip=2, history=2)


def backward() -> Config:
    """The contrary of the truth."""
    return Config(sign=-1.0)


def broken() -> Config:
    """Not a number."""
    return Config(offset=float("nan"))


class Line(nn.Module):
    """A point on a line from 0 to 100."""

    sign: Tensor

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.register_buffer("sign", torch.tensor(cfg.sign))

    def encode(self, frames: Tensor) -> Tensor:
        """The place [B, T, 1] that a frame [B, T, 3, H, W] in 0 to 1 is as bright as."""
        return frames.mean((2, 3, 4))[..., None] * 255 / 2.5 + self.cfg.offset

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        """Places [B, H, 1]."""
        assert 1 <= latents.shape[1] <= self.cfg.history and past.shape == (
            len(latents),
            latents.shape[1] - 1,
            self.cfg.skip,
        )
        if latents.shape[1] > 1:  # it was told what really was done
            moved = latents[:, 1:, 0] - latents[:, :-1, 0]
            inside = ((latents > 1) & (latents < 99)).all(1)[:, 0]
            assert torch.allclose(moved[inside], past.sum(-1)[inside], atol=0.5)
        return latents[:, -1:] + self.sign * actions.sum(-1, keepdim=True).cumsum(1)


def build(cfg: Config) -> Recipe:
    """Never trained."""
    return Recipe(
        model=Line(cfg),
        prepare=lambda clips, rng: Batch(()),
        optim=AdamW(lr=1e-3),
        momentum=None,
        batch=1,
        epochs=1,
        view=View(SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        window=Window(cfg.history + 1, cfg.history, 1, cfg.skip),
    )


def planning(horizon: int = 6) -> Planning:
    """Small, and enough here."""
    return Planning(horizon=horizon, execute=2, samples=32, iterations=2)


def save(folder: Path, variant: str = "line") -> Path:
    """A run with this model."""
    method = find(f"{Path(__file__).resolve()}:{variant}")
    cfg: Config = getattr(method.module, variant)()
    api.save_model(folder / "model", method.build(cfg).model, api.describe(method, cfg))
    return folder
