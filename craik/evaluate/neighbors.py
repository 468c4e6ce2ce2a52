"""Exact nearest neighbors by cosine, and groups of near-duplicates; in chunks, so that memory stays bounded."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MAX_SCORES = 1 << 25  # similarities held at once: 128 MiB in float32
BLOCK = 2048  # rows and columns of one block of pairs


def search(index: Tensor, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest of `index` for every query, by cosine.

    Pooled features share a large mean that drowns their differences: give `centered` features where the index is
    large enough to have a mean (`knn` does).

    Args:
        index: Features to look in, [N, F].
        query: Features to look for, [Q, F].
        k: How many to find; at most N are.

    Returns:
        Cosines float32 [Q, k] and row numbers int64 [Q, k], nearest first; k = min(k, N).

    Raises:
        ValueError: An empty index, k below 1, or features of different widths.
    """
    if index.ndim != 2 or query.ndim != 2 or index.shape[1] != query.shape[1]:
        raise ValueError(f"search wants index [N, F] and query [Q, F], got {list(index.shape)} and {list(query.shape)}")
    if k < 1 or len(index) == 0:
        raise ValueError(f"search needs k of at least 1 and a filled index, got k {k} and {len(index)} rows")
    k = min(k, len(index))
    index = F.normalize(index.float(), dim=1)
    found = [
        (F.normalize(part.float(), dim=1) @ index.T).topk(k, dim=1)
        for part in query.split(max(1, MAX_SCORES // len(index)))
    ]
    if not found:
        return query.new_empty(0, k, dtype=torch.float32), query.new_empty(0, k, dtype=torch.int64)
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def centered(index: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """`index` [N, F] and the other features, all minus the mean of `index`, unless it is a single row; float32."""
    mean = index.double().mean(0).float() if len(index) > 1 else torch.zeros_like(index[0], dtype=torch.float32)
    return tuple(features.float() - mean for features in (index, *others))


def near_duplicates(features: Tensor, threshold: float) -> list[list[int]]:
    """Groups of rows that are chained by pairs whose centered features have at least this cosine.

    The mean is that of `features`, so this wants a data set, not a handful of images.

    Args:
        features: One embedding per image, [N, F].
        threshold: Least cosine of a pair, in (0, 1].

    Returns:
        Groups of two or more row numbers, ascending; the largest group first.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is a cosine in (0, 1], got {threshold}")
    unit = _directions(features)
    parent = np.arange(len(unit))
    for first, second in _blocks(len(unit)):
        close = (unit[first] @ unit[second].T >= threshold - 1e-6).cpu().numpy()
        close &= parent[first][:, None] != parent[second][None, :]  # what is joined already needs no pair
        rows, columns = np.nonzero(close)
        if len(rows):
            parent = _join(parent, rows + first.start, columns + second.start)
    return _groups(parent)


def _directions(features: Tensor) -> Tensor:
    """Centered unit vectors; rows that equal the mean itself all point one way, as they equal each other."""
    (z,) = centered(features)
    at_mean = z.norm(dim=1) <= 1e-5 * features.float().norm(dim=1)
    z = F.normalize(z, dim=1)
    if bool(at_mean.any()):
        z = torch.cat([z * ~at_mean[:, None], at_mean[:, None].float()], dim=1)  # an axis of their own
    return z


def _blocks(count: int) -> Iterator[tuple[slice, slice]]:
    """Blocks that cover the upper triangle of all pairs."""
    starts = range(0, count, BLOCK)
    for a in starts:
        for b in starts:
            if b >= a:
                yield slice(a, min(a + BLOCK, count)), slice(b, min(b + BLOCK, count))


def _join(parent: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Union-find on arrays: every row ends with the smallest number of its group, given pairs a[i], b[i]."""
    while True:
        low, high = np.minimum(parent[a], parent[b]), np.maximum(parent[a], parent[b])
        open_ = low != high
        if not open_.any():
            return parent
        a, b = a[open_], b[open_]
        np.minimum.at(parent, high[open_], low[open_])
        while (parent[parent] != parent).any():
            parent = parent[parent]


def _groups(parent: np.ndarray) -> list[list[int]]:
    order = np.argsort(parent, kind="stable")
    cuts = np.flatnonzero(np.diff(parent[order])) + 1
    groups = [group.tolist() for group in np.split(order, cuts) if len(group) > 1]
    return sorted(groups, key=lambda group: (-len(group), group[0]))
