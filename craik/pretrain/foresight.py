"""Scores of a world model while it trains, on episodes it never saw: what it imagines, and what its latents know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from craik.core.world import WorldModel
from craik.data.episode import Episodes
from craik.data.windows import Windows
from craik.evaluate.ridge import fit_ridge
from craik.pretrain.score import random_twin
from craik.recipes import Method
from craik.train.loop import Probe
from craik.train.recipe import Recipe
from craik.train.runtime import Runtime

AHEAD = 8  # model steps that are imagined in a row, where episodes are long enough
NUM_WINDOWS = 128
NUM_FRAMES = (1024, 512)  # that states are fitted on, and scored on
CHUNK = 64  # frames, or windows, encoded at once
LEAST_SPREAD = 1e-6  # of a state that varies at all


def make_foresight(
    method: Method, record: dict[str, Any], recipe: Recipe, train: Episodes, held: Episodes, runtime: Runtime
) -> Probe | None:
    """The scores of a run; None where the episodes that were kept back are too short and have no states.

    `ahead_K` is the squared error K steps ahead, open loop, over the variance of the latents: 1 is as good as their
    mean. `ahead_K_copy` is that of a world that stands still. `state_r2` is how much of the variance of the true state
    over all these episodes a ridge regression reads from the latent of a frame, mean over what varies;
    `state_r2_random` is the same of random weights.
    """
    future = Future.of(recipe, held, runtime)
    states = States.of(recipe, train, held, runtime)
    random = {} if states is None else states.score(random_twin(method, record).model.to(runtime.device).eval())
    beside = {f"{name}_random": value for name, value in random.items()}
    if future is None and states is None:
        return None

    def score(model: nn.Module) -> Mapping[str, float]:
        ahead = {} if future is None else future.score(model)
        return {**ahead, **({} if states is None else states.score(model)), **beside}

    return score


@dataclass(frozen=True, slots=True, eq=False)
class Future:
    """Windows long enough to imagine what follows the first frames, and to compare it with what followed."""

    recipe: Recipe
    runtime: Runtime
    windows: Windows
    history: int
    """Frames that are seen."""

    @classmethod
    def of(cls, recipe: Recipe, held: Episodes, runtime: Runtime) -> "Future | None":
        """As many steps ahead as episodes are long, up to `AHEAD`; None where there is not one."""
        assert recipe.window is not None
        window = recipe.window
        longest = (int(held.lengths.max()) - 1) // window.skip + 1  # frames of a window
        ahead = min(AHEAD, longest - window.history)
        if ahead < 1:
            return None
        return cls(recipe, runtime, Windows(held, window.history + ahead, window.skip), window.history)

    def score(self, model: Any) -> dict[str, float]:
        """Errors one step and all steps ahead, each beside that of a world that stands still."""
        imagined, latents = self.imagine(model)
        goals, last = latents[:, self.history :], latents[:, self.history - 1 : self.history]
        spread = (goals - goals.mean((0, 1))).square().mean().clamp(min=1e-12)
        errors, still = mean_square(imagined - goals) / spread, mean_square(last - goals) / spread
        found = {}
        for ahead in sorted({1, goals.shape[1]}):
            found[f"ahead_{ahead}"] = float(errors[ahead - 1])
            found[f"ahead_{ahead}_copy"] = float(still[ahead - 1])
        return found

    @torch.inference_mode()
    def imagine(self, model: WorldModel) -> tuple[Tensor, Tensor]:
        """What the model makes of first frames and actions [M, K, ...], and latents of all frames [M, T, ...]."""
        rows = np.linspace(0, len(self.windows) - 1, min(NUM_WINDOWS, len(self.windows))).astype(np.int64)
        seen = self.history
        imagined, latents = [], []
        for part in np.array_split(rows, -(-len(rows) // CHUNK)):
            clips = self.windows.read(part).to(self.runtime.device)
            assert clips.actions is not None
            with self.runtime.autocast():
                found = model.encode(self.recipe.view.show(clips.frames))
                future = model.rollout(found[:, :seen], clips.actions[:, : seen - 1], clips.actions[:, seen - 1 :])
            latents.append(found.float())
            imagined.append(future.float())
        return torch.cat(imagined), torch.cat(latents)


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Frames with what a simulator knows of them: to fit a regression on, and to score it on."""

    recipe: Recipe
    runtime: Runtime
    frames: tuple[np.ndarray, np.ndarray]
    """uint8 [N, H, W, C] of trained and of kept episodes."""
    states: tuple[Tensor, Tensor]
    """float32 [N, K], what varies of the state."""

    @classmethod
    def of(cls, recipe: Recipe, train: Episodes, held: Episodes, runtime: Runtime) -> "States | None":
        """Frames spread over the episodes; None where there are no states, or none that varies."""
        if train.states is None:
            return None
        rows = [
            part.every_row[np.linspace(0, part.num_frames - 1, min(num, part.num_frames)).astype(np.int64)]
            for part, num in zip((train, held), NUM_FRAMES, strict=True)
        ]
        known = [torch.from_numpy(train.states[part]) for part in rows]
        varies = (known[0].std(0) > LEAST_SPREAD) & torch.isfinite(known[1]).all(0)  # NaN is not above either
        if not bool(varies.any()):
            return None
        frames = (train.frames.read(rows[0]), train.frames.read(rows[1]))
        return cls(recipe, runtime, frames, (known[0][:, varies], known[1][:, varies]))

    def score(self, model: nn.Module) -> dict[str, float]:
        """How much of the state can be read from the latents."""
        fitted, scored = (self.latents(model, frames) for frames in self.frames)
        wrong = (fit_ridge(fitted, self.states[0]).predict(scored) - self.states[1]).square().mean(0)
        return {"state_r2": float((1 - wrong / torch.cat(self.states).var(0, correction=0)).mean())}

    @torch.inference_mode()
    def latents(self, model: nn.Module, frames: np.ndarray) -> Tensor:
        """Latents of frames, a mean over patches where there are several, float32 [N, D]."""
        found = []
        for part in torch.from_numpy(frames).permute(0, 3, 1, 2).split(CHUNK):
            with self.runtime.autocast():
                tokens = self.recipe.look(model, self.recipe.view.show(part.to(self.runtime.device)))
            found.append(tokens.mean().float().cpu())
        return torch.cat(found)


def mean_square(x: Tensor) -> Tensor:
    """Mean of the squares at each time: [M, K, ...] -> [K]."""
    return x.square().transpose(0, 1).flatten(1).mean(1)
