"""The predictor of the next frame: who sees what, and where things are."""

import pytest
import torch
from torch import Tensor

from craik.core.tokens import Grid
from craik.nn.frame_predictor import FramePredictor, coordinates
from craik.nn.position import Rotary
from craik.nn.sizes import Size

GRID, SIZE = Grid(("h", "w"), (2, 3)), Size(24, 2, 2)


def predictor(told: tuple[int, ...] = (2, 3)) -> FramePredictor:
    torch.manual_seed(0)
    return FramePredictor(8, SIZE, told, GRID, Rotary(12, 3)).eval()


def inputs(num_frames: int = 4) -> tuple[Tensor, list[Tensor]]:
    rng = torch.Generator().manual_seed(1)
    told = [torch.randn(2, num_frames, num, generator=rng) for num in (2, 3)]
    return torch.randn(2, num_frames, 6, 8, generator=rng), told


@torch.no_grad()
def test_frames_do_not_see_later_ones() -> None:
    latents, told = inputs()
    whole = predictor()(latents, told)
    for num in (1, 2, 3):
        cut = predictor()(latents[:, :num], [t[:, :num] for t in told])
        assert torch.allclose(cut, whole[:, :num], atol=1e-6)


@pytest.mark.parametrize("which", [0, 1])
@torch.no_grad()
def test_what_is_told_is_heard_from_then_on(which: int) -> None:
    latents, told = inputs()
    before = predictor()(latents, told)
    told[which][:, 2] += 1
    changed = (predictor()(latents, told) - before).abs().amax((0, 2, 3))
    assert changed[:2].max() == 0 and changed[2:].min() > 0


@torch.no_grad()
def test_the_stream_holds_what_is_told_and_then_patches() -> None:
    latents, told = inputs()
    model = predictor()
    *_, last = model.states(latents, told)
    patches = model.trunk.norm(last).unflatten(1, (4, 8))[:, :, 2:]
    assert torch.allclose(model.proj(patches), model(latents, told), atol=1e-6)


def test_coordinates() -> None:
    """Told things lie at the time of their frame, row and column 0; columns are in units of a square frame."""
    at = coordinates(2, 1, GRID)[0].unflatten(0, (2, 7))
    assert torch.equal(at[:, :, 0], torch.tensor([[0.0], [1.0]]).expand(2, 7))
    assert torch.equal(at[1, 0], torch.tensor([1.0, 0.0, 0.0]))
    assert torch.allclose(at[0, 1:, 2], torch.tensor([0, 1, 2, 0, 1, 2]) * 2 / 3)


def test_refuses_what_does_not_fit() -> None:
    latents, told = inputs()
    for wrong in ((latents[:, :, :5], told), (latents, told[:1]), (latents, [told[0], told[1][:, :3]])):
        with pytest.raises(ValueError, match="6 patches in each frame"):
            predictor()(*wrong)
