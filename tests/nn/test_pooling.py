"""Attentive pooling."""

import pytest
import torch

from craik.nn.pooling import AttentivePooler

X = torch.randn(3, 11, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("refine", ["queries", "tokens"])
@pytest.mark.parametrize("depth", [1, 3])
def test_order_of_tokens_does_not_matter(refine: str, depth: int) -> None:
    torch.manual_seed(0)
    pooler = AttentivePooler(24, 4, num_queries=2, depth=depth, refine=refine)
    pooled = pooler(X)
    assert pooled.shape == (3, 2, 24)
    torch.testing.assert_close(pooler(X.flip(1)), pooled)


def test_levels_work_on_queries_afterwards_or_on_tokens_before() -> None:
    torch.manual_seed(0)
    after = AttentivePooler(24, 4, depth=2, refine="queries")
    before = AttentivePooler(24, 4, depth=2, refine="tokens")
    before.load_state_dict(after.state_dict())
    plain = AttentivePooler(24, 4)
    plain.load_state_dict({k: v for k, v in after.state_dict().items() if not k.startswith("blocks.")})
    (block,) = after.blocks
    torch.testing.assert_close(after(X), block(plain(X)))
    torch.testing.assert_close(before(X), plain(block(X)))


def test_cross_attention_alone() -> None:
    pooler = AttentivePooler(24, 4, complete=False)
    assert sorted(pooler.state_dict()) == [
        "cross.kv.bias",
        "cross.kv.weight",
        "cross.q.bias",
        "cross.q.weight",
        "query",
    ]
    values = pooler.cross.kv(X)[..., 24:]
    with torch.no_grad():
        pooler.cross.q.weight.zero_()  # every token counts alike
    torch.testing.assert_close(pooler(X)[:, 0], values.mean(1))
    with pytest.raises(ValueError, match="width 24 is not a multiple of heads 5"):
        AttentivePooler(24, 5)
