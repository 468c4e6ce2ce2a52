"""Checks: look at a model in training without disturbing it."""

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from craik.core.batch import Batch
from craik.core.collapse import spectrum, variance_share
from craik.core.target import EMA, Shared
from craik.core.tokens import Tokens
from craik.data.augment import normalize, resize_center_crop
from craik.data.loader import Images, read_samples
from craik.data.view import as_volume
from craik.nn.mode import evaluating
from craik.train.health import Errors, Observation, prediction_errors
from craik.train.recipe import Learner, Recipe, Sampled, View
from craik.train.runtime import Runtime, step_rng

CHECK_SEED = 0x5EED


def show(samples_x: Tensor, sizes: Tensor, view: View) -> Tensor:
    """Images as the encoder is to see them outside of training: uint8 [B, 3, S, S] -> [B, 3, size, size].

    Clips uint8 [B, T, 3, S, S] -> [B, 3, T, size, size].
    """
    return as_volume(normalize(resize_center_crop(samples_x, sizes, view.size), view.mean, view.std))


@dataclass(slots=True)
class Checker:
    """Observes the model on the same images and masks every time, so that numbers can be compared over a run."""

    recipe: Recipe
    runtime: Runtime
    x: Tensor
    """Images or frames in evaluation view, [M, 3, size, size], or clips, [M, 3, T, size, size]."""
    batch: Batch
    """The same kind of batch as in training, drawn once."""
    width: int
    """Features per embedding D."""
    past: dict[str, Tensor] = field(default_factory=dict)
    """Parameters at the last check."""

    @classmethod
    def create(cls, recipe: Recipe, runtime: Runtime, images: Images, num: int = 384) -> "Checker":
        """A checker on `num` images spread over the data."""
        index = np.linspace(0, len(images) - 1, min(num, len(images))).astype(np.int64)
        samples = read_samples(images, index).to(runtime.device)
        some = read_samples(images, index[:: max(1, len(index) // 128)]).to(runtime.device)
        return cls.on(recipe, runtime, show(samples.x, samples.sizes, recipe.view), some)

    @classmethod
    def on(cls, recipe: Recipe, runtime: Runtime, x: Tensor, some: Sampled) -> "Checker":
        """A checker on what the encoder is to see, [M, 3, (T,) size, size], and on samples to make a batch of."""
        batch = recipe.prepare(some.to(runtime.device), step_rng(CHECK_SEED, 0)).to(runtime.device)
        x = x.to(runtime.device)
        with evaluating(recipe.model), torch.inference_mode():
            width = recipe.look(recipe.model, x[:1]).x.shape[-1]
        return cls(recipe, runtime, x, batch, width)

    def observe(self, step: int) -> Observation:
        """What the model is like after a step."""
        model = cast(Learner, self.recipe.model)
        with evaluating(self.recipe.model), torch.inference_mode(), self.runtime.autocast():
            pooled, rms, tokens = self.embed()
            share = None
            errors: Errors | None = None
            if self.recipe.latents is not None:
                latents = self.recipe.latents(self.recipe.model, self.batch)
                errors = prediction_errors(latents, model.target.normalize)
                share = variance_share(self.targets(model, tokens))
        measured = spectrum(pooled)
        moved = self.movement(model)
        return Observation(
            step=step,
            embedding=measured,
            relative_std=measured.std_median / max(rms, 1e-12),
            targets=share,
            error=None if errors is None else errors.predictor,
            error_mean=None if errors is None else errors.mean,
            error_context=None if errors is None else errors.context,
            error_position=None if errors is None else errors.position,
            target_distance=moved.distance,
            target_moved=moved.target,
            encoder_moved=moved.encoder,
        )

    def embed(self) -> tuple[Tensor, float, Tensor]:
        """Pooled embeddings [M, D], root mean square of all tokens, and the tokens [m, N, D] of the first images."""
        pooled, square, first = [], 0.0, None
        for x in self.x.split(128):
            tokens = self.recipe.look(self.recipe.model, x)
            first = tokens.x.float() if first is None else first
            pooled.append(tokens.mean().float())
            square += float(tokens.x.float().square().mean()) * len(x)
        assert first is not None
        return torch.cat(pooled), (square / len(self.x)) ** 0.5, first

    def targets(self, model: Learner, tokens: Tensor) -> Tensor:
        """Target tokens [m, N, D] of the first images, as the predictor has to match them."""
        if isinstance(model.target, EMA | Shared):  # it is the encoder in use: no need to ask it again
            return model.target.normalize(tokens)
        full: Tokens = model.target(model.encoder, self.x[:128])
        return full.x.float()

    def movement(self, model: Learner) -> "Movement":
        """How far encoder and target moved since the last check, relative to their size."""
        if not isinstance(model.target, EMA):
            return Movement(None, None, None)
        now = {"encoder": flat(model.encoder), "target": flat(model.target.encoder)}
        past, self.past = self.past, now
        distance = float((now["target"] - now["encoder"]).norm() / now["encoder"].norm())
        if not past:
            return Movement(distance, None, None)
        moved = {name: float((now[name] - past[name]).norm() / now[name].norm()) for name in now}
        return Movement(distance, moved["target"], moved["encoder"])


@dataclass(frozen=True, slots=True)
class Movement:
    """Relative distances in parameter space; None where there is no slow target, or no check before."""

    distance: float | None
    target: float | None
    encoder: float | None


def flat(module: nn.Module) -> Tensor:
    """A sample of the parameters as one vector: at most 2,000 numbers of each tensor."""
    parts = [p.detach().flatten()[:: max(1, p.numel() // 2000)].float() for p in module.parameters()]
    return torch.cat(parts).clone()
