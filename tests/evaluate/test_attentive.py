import time

import pytest
import torch

from craik.evaluate.attentive import AttentiveOptions, AttentivePool, AttentiveProbe, fit_attentive


def marked(num: int, seed: int = 0):
    """Tokens in which one of 12, at a random place, carries the class; their mean is drowned by noise."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (num,), generator=g)
    x = torch.randn(num, 12, 8, generator=g) * torch.tensor([1.0] * 4 + [0.1] * 4)
    place = torch.randint(12, (num,), generator=g)
    x[torch.arange(num), place, 4] = 6.0
    x[torch.arange(num), place, 5 + y % 3] = 6.0
    return x, y


def test_finds_what_one_token_says() -> None:
    x, y = marked(600)
    options = AttentiveOptions(lrs=(1e-2, 1e-7), epochs=10, batch=50)
    fitted = fit_attentive(x[:400], y[:400], heads=2, options=options)
    assert fitted.lr == 1e-2  # the other learns nothing
    assert fitted.epochs == 10
    assert float((fitted.predict(x[400:]) == y[400:]).float().mean()) > 0.9


def test_noise_stays_at_chance() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(600, 4, 8, generator=g), torch.randint(2, (600,), generator=g)
    fitted = fit_attentive(x[:300], y[:300], heads=1, options=AttentiveOptions(lrs=(1e-3,), epochs=3))
    assert abs(float((fitted.predict(x[300:]) == y[300:]).float().mean()) - 0.5) < 0.1


def test_each_rate_trains_as_if_it_were_alone() -> None:
    x, y = marked(100)
    both = fit_attentive(x, y, heads=2, options=AttentiveOptions(lrs=(3e-3, 1e-9), epochs=2, batch=20))
    alone = fit_attentive(x, y, heads=2, options=AttentiveOptions(lrs=(3e-3,), epochs=2, batch=20))
    torch.testing.assert_close(both.probe(x), alone.probe(x), atol=1e-5, rtol=1e-5)


def test_global_random_state_is_left_alone() -> None:
    x, y = marked(60)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit_attentive(x, y, heads=2, options=AttentiveOptions(lrs=(1e-3,), epochs=1))
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_time_bound_ends_training() -> None:
    x, y = marked(200)
    begin = time.monotonic()
    fitted = fit_attentive(x, y, heads=2, options=AttentiveOptions(epochs=10_000, seconds=0.3, batch=50))
    assert time.monotonic() - begin < 20
    assert 0 < fitted.epochs < 10_000


def test_half_precision_tokens_will_do() -> None:
    x, y = marked(60)
    fitted = fit_attentive(x.half(), y, heads=2, options=AttentiveOptions(lrs=(1e-3,), epochs=1))
    assert fitted.predict(x.half()).shape == (60,)


def test_attention_is_what_the_formula_says() -> None:
    torch.manual_seed(0)
    pool, x = AttentivePool(6, 2), torch.randn(3, 5, 6)
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    keys, values = pool.kv(pool.norm1(x)).chunk(2, dim=-1)
    query = pool.q(pool.query)
    heads = []
    for h in (slice(0, 3), slice(3, 6)):
        weights = (query[..., h] @ keys[..., h].mT / 3**0.5).softmax(-1)
        heads.append(weights @ values[..., h])
    pooled = pool.query + torch.cat(heads, dim=-1)
    expected = (pooled + pool.mlp(pool.norm2(pooled))).squeeze(1)
    torch.testing.assert_close(pool(x), expected)
    assert pool.norm1.eps == pool.norm2.eps == 1e-5


def test_order_of_tokens_does_not_matter() -> None:
    torch.manual_seed(0)
    probe, x = AttentiveProbe(8, 2, 4), torch.randn(2, 9, 8)
    torch.testing.assert_close(probe(x), probe(x[:, torch.randperm(9)]))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="heads"):
        AttentivePool(10, 3)
