"""k nearest neighbors: what features know without a single trained weight.

Protocol: features minus the training mean, L2-normalized; the k nearest training samples by cosine vote, each with
weight exp(cosine / temperature). Source of the weighted vote: Wu et al. 2018 (arXiv 1805.01978), section 3.4.
"""

import torch
from torch import Tensor

from craik.evaluate.neighbors import centered, search

NEIGHBORS = 20
TEMPERATURE = 0.07


def knn_predict(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    *,
    k: int = NEIGHBORS,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Class of each test sample by weighted vote.

    Args:
        train_x: Features [N, F].
        train_y: Classes 0 ... C - 1, int64 [N].
        test_x: Features [M, F].
        k: Number of voters; min(k, N) are used.
        temperature: Divides the cosines; small lets the nearest decide alone.

    Returns:
        int64 [M].
    """
    index, query = centered(train_x, test_x)
    cosine, rows = search(index, query, k)
    votes = torch.zeros(len(query), int(train_y.max()) + 1, device=query.device)
    votes.scatter_add_(1, train_y.to(rows.device)[rows], (cosine / temperature).exp())
    return votes.argmax(1)


def knn_accuracy(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    k: int = NEIGHBORS,
    temperature: float = TEMPERATURE,
) -> float:
    """Share of test samples, in [0, 1], whose class `knn_predict` finds."""
    predicted = knn_predict(train_x, train_y, test_x, k=k, temperature=temperature)
    return float((predicted == test_y.to(predicted.device)).float().mean())


def nearest_agreement(a: Tensor, b: Tensor) -> float:
    """Share of images, in [0, 1], whose crop finds the other crop of the same image; chance is 1 / N.

    The label-free stand-in for kNN accuracy: a[i] and b[i], both [N, F], are features of two crops of image i.
    Among all of b the nearest to a[i] should be b[i]. Features that are all equal agree by chance only.
    """
    if a.shape != b.shape:
        raise ValueError(f"two crops of the same images differ in shape: {list(a.shape)} and {list(b.shape)}")
    index, query = centered(b, a)
    _, rows = search(index, query, 1)
    return float((rows[:, 0] == torch.arange(len(a), device=rows.device)).float().mean())
