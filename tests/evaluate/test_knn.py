import math

import pytest
import torch

from craik.evaluate.knn import knn_accuracy, knn_predict, nearest_agreement


def by_loop(train_x, train_y, test_x, k: int, temperature: float) -> list[int]:
    mean = train_x.mean(0)

    def cosine(a, b) -> float:
        return float(a @ b / (a.norm() * b.norm()))

    predicted = []
    for query in test_x - mean:
        near = sorted(((cosine(query, x), int(y)) for x, y in zip(train_x - mean, train_y, strict=True)), reverse=True)
        votes = [0.0] * (int(train_y.max()) + 1)
        for similarity, label in near[:k]:
            votes[label] += math.exp(similarity / temperature)
        predicted.append(votes.index(max(votes)))
    return predicted


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (20, 1.0), (500, 0.07)])
def test_equals_a_loop(k: int, temperature: float) -> None:
    g = torch.Generator().manual_seed(0)
    train_y = torch.randint(4, (120,), generator=g)
    train_x = torch.randn(120, 6, generator=g) + train_y[:, None] * 0.3 + 4
    test_x = torch.randn(40, 6, generator=g) + 4
    expected = by_loop(train_x, train_y, test_x, k, temperature)
    assert knn_predict(train_x, train_y, test_x, k=k, temperature=temperature).tolist() == expected


def test_separable_classes_are_known_and_noise_is_not() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 4
    centers = 10 * torch.eye(4, 8)
    x = centers[y] + torch.randn(400, 8, generator=g)
    assert knn_accuracy(x[:200], y[:200], x[200:], y[200:]) == 1.0
    noise = torch.randn(4000, 8, generator=g)
    labels = torch.randint(4, (4000,), generator=g)
    assert abs(knn_accuracy(noise[:2000], labels[:2000], noise[2000:], labels[2000:]) - 0.25) < 0.04


def test_a_large_common_mean_does_not_blind_it() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 4
    x = torch.eye(4, 8)[y] + 0.1 * torch.randn(400, 8, generator=g) + 1000
    assert knn_accuracy(x[:200], y[:200], x[200:], y[200:]) > 0.95


def test_crops_find_each_other() -> None:
    g = torch.Generator().manual_seed(0)
    a = torch.randn(300, 16, generator=g)
    assert nearest_agreement(a, a + 0.05 * torch.randn(300, 16, generator=g)) == 1.0
    assert nearest_agreement(a, torch.randn(300, 16, generator=g)) < 0.05
    assert nearest_agreement(torch.ones(300, 16), torch.ones(300, 16)) == pytest.approx(1 / 300)


def test_crops_must_pair() -> None:
    with pytest.raises(ValueError, match="shape"):
        nearest_agreement(torch.zeros(3, 2), torch.zeros(4, 2))
