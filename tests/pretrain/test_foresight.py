"""Scores of a world model on episodes kept back: a model that knows the world has no error."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from craik.core.latent_world import as_tokens
from craik.core.tokens import Tokens
from craik.pretrain.foresight import Future, States
from craik.recipes import leworldmodel
from craik.train.recipe import Recipe, Window
from craik.train.runtime import Runtime
from tests.data.episodes import write

CPU = Runtime(torch.device("cpu"), bf16=False)
SKIP = 2


class Counting(torch.nn.Module):
    """Latents are the mean color of a frame: episode and time, in units of a step; it imagines `speed` steps a step."""

    def __init__(self, speed: float = 1.0) -> None:
        super().__init__()
        self.speed = speed

    def encode(self, frames: Tensor) -> Tensor:
        std = torch.tensor(leworldmodel.IMAGENET_STD)
        return frames.mean((-2, -1)) * 255 * std

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        assert past.shape[1:] == (latents.shape[1] - 1, 2 * SKIP)
        moved = latents[:, -1:].repeat(1, actions.shape[1], 1)
        moved[..., 1] += SKIP * self.speed * torch.arange(1, actions.shape[1] + 1)
        return moved


def look(model: Counting, x: Tensor) -> Tokens:
    return as_tokens(model.encode(x))


@pytest.fixture
def recipe() -> Recipe:
    body = replace(leworldmodel.tiny_body(), image=8)
    with torch.device("meta"):
        built = leworldmodel.build(replace(leworldmodel.tiny(), body=body))
    return replace(built, look=look, window=Window(frames=4, history=2, action_size=2, skip=SKIP))


def test_the_truth_has_no_error_and_standing_still_has(recipe: Recipe, tmp_path: Path) -> None:
    future = Future.of(recipe, write(tmp_path / "data", (13, 13)), CPU)
    assert future is not None
    true, still = future.score(Counting()), future.score(Counting(speed=0))
    assert list(true) == ["ahead_1", "ahead_1_copy", "ahead_5", "ahead_5_copy"]  # 7 frames of a window, 2 are seen
    assert true["ahead_1"] == pytest.approx(0, abs=1e-6) and true["ahead_5"] == pytest.approx(0, abs=1e-6)
    for ahead in ("ahead_1", "ahead_5"):
        assert still[ahead] == pytest.approx(still[f"{ahead}_copy"]) == pytest.approx(true[f"{ahead}_copy"])
    assert true["ahead_5_copy"] == pytest.approx(25 * true["ahead_1_copy"], rel=1e-4)


def test_episodes_that_are_too_short_have_no_future(recipe: Recipe, tmp_path: Path) -> None:
    assert Future.of(recipe, write(tmp_path / "data", (4, 4)), CPU) is None


def test_states_are_read_from_latents_that_hold_them(recipe: Recipe, tmp_path: Path) -> None:
    train, held = write(tmp_path / "data", (40, 30, 20, 40)).split(0.75)
    states = States.of(recipe, train, held, CPU)
    assert states is not None and states.states[0].shape[1] == 2  # the third never varies
    assert states.score(Counting())["state_r2"] == pytest.approx(1, abs=1e-3)
    noise = Counting()
    noise.encode = lambda frames: torch.randn(len(frames), 3)  # type: ignore[method-assign]
    assert states.score(noise)["state_r2"] < 0.3
