"""Attention: one formula, whatever kernel is chosen."""

import pytest
import torch

from craik.nn.attention import Attention, attend, attention_map
from craik.nn.block import Block
from craik.nn.position import Rotary
from craik.nn.sizes import Size


def heads(num: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, 3, num, 8).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num", [7, 300])
def test_kernels_agree(dtype: torch.dtype, num: int) -> None:
    q, k, v = heads(5, dtype), heads(num, dtype), heads(num, dtype)
    valid = torch.rand(2, num) > 0.3
    valid[:, 0] = True
    for mask in (None, valid):
        scores = q.double() @ k.double().transpose(-2, -1) / 8**0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
        expected = scores.softmax(-1) @ v.double()
        out = attend(q, k, v, mask)
        assert out.dtype == dtype
        assert (out.double() - expected).abs().max() < (1e-5 if dtype == torch.float32 else 3e-2)


def test_unseen_keys_change_nothing() -> None:
    attention = Attention(24, 3)
    x, valid = torch.randn(1, 6, 24), torch.tensor([[True] * 4 + [False] * 2])
    other = torch.cat([x[:, :4], torch.randn(1, 2, 24)], 1)
    assert torch.allclose(attention(x, valid=valid)[:, :4], attention(other, valid=valid)[:, :4], atol=1e-6)
    assert torch.allclose(attention(x, valid=valid)[:, :4], attention(x[:, :4]), atol=1e-6)


@pytest.mark.parametrize("rotary", [None, Rotary(8, 2)])
def test_fewer_queries_are_the_same_rows(rotary: Rotary | None) -> None:
    block = Block(Size(24, 1, 3))
    x, at = torch.randn(2, 6, 24), torch.rand(2, 6, 2) * 9
    rotation = None if rotary is None else rotary(at)
    everything = block(x, rotation)
    assert torch.allclose(block(x, rotation, pick=lambda t: t[:, 2:4]), everything[:, 2:4], atol=1e-6)


def test_map_is_what_is_attended_with() -> None:
    attention = Attention(24, 3)
    x = torch.randn(2, 6, 24)
    weights = attention.map(x)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 6), atol=1e-6)
    _, _, v = attention.split(attention.qkv(x), 3)
    assert torch.allclose(attention.proj((weights @ v).transpose(1, 2).flatten(2)), attention(x), atol=1e-6)
    assert torch.equal(attention_map(torch.zeros(1, 1, 2, 4), heads(5)[:1, :1, :, :4]), torch.full((1, 1, 2, 5), 0.2))
