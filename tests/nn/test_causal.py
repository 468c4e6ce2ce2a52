"""Time runs forward: what a predictor may see, and what it must not."""

import pytest
import torch

from craik.nn.causal import CausalBlock, CausalSize, PatchPredictor, frame_causal

SIZE = CausalSize(width=10, depth=2, heads=2, head_width=8, hidden=12)


def predictor(dropout_prob: float = 0.0) -> PatchPredictor:
    torch.manual_seed(0)
    return PatchPredictor(6, 4, SIZE, num_frames=3, per_frame=2, dropout_prob=dropout_prob).eval()


def test_mask() -> None:
    assert frame_causal(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    frames = frame_causal(2, 2)
    assert frames.tolist() == [[True, True, False, False]] * 2 + [[True] * 4] * 2


def test_block_ignores_the_future() -> None:
    block, x = CausalBlock(SIZE), torch.randn(2, 4, 10)
    later = torch.cat([x[:, :2], torch.randn(2, 2, 10)], 1)
    ours, others = (block(tokens, frame_causal(4)) for tokens in (x, later))
    torch.testing.assert_close(ours[:, :2], others[:, :2])
    assert ((ours - others)[:, 2:].abs().amax((0, 2)) > 1e-6).all()
    assert (block(x) - ours)[:, 0].abs().max() > 1e-6  # without a mask the first token sees the rest


def test_patches_see_their_frame_and_earlier_ones() -> None:
    model, latents, cond = predictor(), torch.randn(2, 3, 2, 6), torch.randn(2, 3, 4)
    out = model(latents, cond)
    assert out.shape == latents.shape
    for frame in range(3):
        changed = latents.clone()
        changed[:, frame, 1] += 1
        moved = (model(changed, cond) - out).abs().amax((0, 2, 3))
        assert (moved[:frame] == 0).all() and (moved[frame:] > 1e-6).all()
    changed = latents.clone()
    changed[:, 1, 1] += 1
    assert (model(changed, cond) - out)[:, 1, 0].abs().max() > 1e-6  # the other patch of the same frame


def test_actions_are_seen_from_their_frame_on() -> None:
    model, latents, cond = predictor(), torch.randn(2, 3, 2, 6), torch.randn(2, 3, 4)
    changed = cond.clone()
    changed[:, 1] += 1
    moved = (model(latents, changed) - model(latents, cond)).abs().amax((0, 3))
    assert (moved[0] == 0).all() and (moved[1:] > 1e-6).all()


def test_dropout_is_for_training() -> None:
    model, latents, cond = predictor(0.5), torch.randn(2, 3, 2, 6), torch.randn(2, 3, 4)
    torch.testing.assert_close(model(latents, cond), predictor(0.0)(latents, cond))
    model.train()
    assert (model(latents, cond) - model(latents, cond)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("latents", "cond"), [((2, 4, 2, 6), (2, 4, 4)), ((2, 3, 3, 6), (2, 3, 4)), ((2, 3, 2, 6), (2, 2, 4))]
)
def test_wrong_shapes_are_refused(latents: tuple[int, ...], cond: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at most 3 frames of 2 patches"):
        predictor()(torch.zeros(latents), torch.zeros(cond))


def test_wrong_width_is_refused() -> None:
    with pytest.raises(ValueError, match="blocks are 10 wide, expected 6 \\+ 5"):
        PatchPredictor(6, 5, SIZE, 3, 2)
