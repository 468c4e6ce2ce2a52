"""AdaLN-zero: the identity at first, then what the condition makes of it; causal over time."""

import pytest
import torch
from torch import nn

from craik.nn.adaln import ActionPredictor, ConditionalBlock, ConditionalTrunk, modulate
from craik.nn.causal import CausalSize, frame_causal

SIZE = CausalSize(width=10, depth=2, heads=3, head_width=4, hidden=12)


def stirred(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter moved, so that no path is hidden by zeros."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng)
    return module.eval()


def test_a_new_block_is_the_identity() -> None:
    x, cond = torch.randn(2, 4, 10), torch.randn(2, 4, 10)
    assert torch.equal(ConditionalBlock(SIZE)(x, cond, frame_causal(4)), x)


def test_modulation_by_hand() -> None:
    x = torch.tensor([[1.0, 3.0]])  # normed: -1, 1
    out = modulate(x, torch.tensor([[10.0, 20.0]]), torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(out, torch.tensor([[10 - 2.0, 20 + 3.0]]), atol=1e-5, rtol=0)


def test_chunks_are_shift_scale_gate_of_attention_then_of_the_mlp() -> None:
    """With one gate open at a time, only that branch acts, on what its own shift and scale made."""
    block = stirred(ConditionalBlock(SIZE))
    x, cond, mask = torch.randn(2, 4, 10), torch.randn(2, 4, 10), frame_causal(4)
    with torch.no_grad():
        block.modulation.weight.zero_()
        parts = [torch.randn(10) for _ in range(6)]
        parts[5] = torch.zeros(10)
        block.modulation.bias.copy_(torch.cat(parts))
        attended = x + parts[2] * block.inner.mix(modulate(x, parts[0], parts[1]), mask)
        torch.testing.assert_close(block(x, cond, mask), attended)
        parts[2], parts[5] = torch.zeros(10), torch.randn(10)
        block.modulation.bias.copy_(torch.cat(parts))
        fed = x + parts[5] * block.inner.feed(modulate(x, parts[3], parts[4]))
        torch.testing.assert_close(block(x, cond, mask), fed)


@pytest.mark.parametrize("width", [10, 6])
def test_predictor_is_causal_in_latents_and_actions(width: int) -> None:
    model = stirred(ActionPredictor(width, SIZE, num_frames=4))
    latents, cond = torch.randn(2, 4, width), torch.randn(2, 4, width)
    out = model(latents, cond)
    assert out.shape == latents.shape
    for t in range(4):
        for which in (0, 1):
            given = [latents.clone(), cond.clone()]
            given[which][:, t] += torch.linspace(-1, 1, width)
            moved = (model(*given) - out).abs().amax((0, 2))
            assert (moved[:t] < 1e-6).all() and (moved[t:] > 1e-5).all()
    torch.testing.assert_close(model(latents[:, :2], cond[:, :2]), out[:, :2])


def test_other_widths_are_mapped_in_and_out() -> None:
    narrow, wide = ConditionalTrunk(10, SIZE), ConditionalTrunk(6, SIZE)
    assert not any(isinstance(m, nn.Linear) for m in (narrow.embed, narrow.embed_cond, narrow.proj))
    assert [tuple(m.weight.shape) for m in (wide.embed, wide.embed_cond, wide.proj)] == [(10, 6), (10, 6), (6, 10)]
    assert wide(torch.randn(2, 3, 6), torch.randn(2, 3, 6)).shape == (2, 3, 6)


def test_head_sees_samples_in_one_axis() -> None:
    model = ActionPredictor(10, SIZE, num_frames=3, head=nn.BatchNorm1d(10)).train()
    out = model(torch.randn(5, 3, 10), torch.randn(5, 3, 10))
    torch.testing.assert_close(out.flatten(0, 1).mean(0), torch.zeros(10), atol=1e-5, rtol=0)


def test_dropout_is_for_training() -> None:
    plain, dropping = (stirred(ActionPredictor(10, SIZE, 3, dropout_prob=prob)) for prob in (0.0, 0.5))
    dropping.load_state_dict(plain.state_dict())
    x, cond = torch.randn(2, 3, 10), torch.randn(2, 3, 10)
    torch.testing.assert_close(dropping(x, cond), plain(x, cond))
    dropping.train()
    assert (dropping(x, cond) - dropping(x, cond)).abs().max() > 1e-3


def test_wrong_shapes_are_refused() -> None:
    model = ActionPredictor(10, SIZE, num_frames=3)
    with pytest.raises(ValueError, match="at most 3 frames"):
        model(torch.zeros(2, 4, 10), torch.zeros(2, 4, 10))
    with pytest.raises(ValueError, match="one action for each"):
        model(torch.zeros(2, 3, 10), torch.zeros(2, 2, 10))
