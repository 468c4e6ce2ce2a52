"""Ridge regression: how much of a continuous factor (a position, a size, an angle) features hold linearly.

Minimized is the mean squared error + l2 * |w|^2 on standardized features and centered, scaled factors, in closed
form; `l2` is chosen on a validation split of the training data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from craik.evaluate.axes import CHUNK, moments, standardize

L2_GRID = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
VALIDATION_FRACTION = 0.1


@dataclass(frozen=True, slots=True)
class Ridge:
    """A fitted linear regression of raw (not standardized) features."""

    weight: Tensor
    """float32 [F, P]."""
    bias: Tensor
    """float32 [P]."""
    l2: float
    """The regularization that was chosen."""

    def predict(self, x: Tensor) -> Tensor:
        """[N, F] -> [N, P]."""
        return x.float() @ self.weight + self.bias


def fit_ridge(x: Tensor, y: Tensor, *, l2_grid: Sequence[float] = L2_GRID, seed: int = 0) -> Ridge:
    """Fit factors to features: choose one `l2` on a random tenth of the samples, then fit all of them with it.

    Args:
        x: Features [N, F].
        y: Factors [N, P].
        l2_grid: Regularization strengths to choose from, all above 0. Ties go to the stronger.
        seed: Draws the validation split.
    """
    if min(l2_grid) <= 0:
        raise ValueError(f"l2 must be above 0, got {min(l2_grid)}")
    (mean, scale), (y_mean, y_scale) = moments(x), moments(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    num_val = max(1, round(VALIDATION_FRACTION * len(x))) if len(x) > 1 else 0
    z = standardize(x[order], mean, scale)
    target = ((y[order] - y_mean) / y_scale).double()
    val, fit = _products(z[:num_val], target[:num_val]), _products(z[num_val:], target[num_val:])
    scores = {
        l2: _squared_error(z[:num_val], target[:num_val], _solve(fit, l2)) for l2 in sorted(l2_grid, reverse=True)
    }
    best = min(scores, key=lambda l2: scores[l2])
    solution = _solve((fit[0] + val[0], fit[1] + val[1]), best).float()
    weight = solution[:-1] / scale.unsqueeze(1) * y_scale
    return Ridge(weight, solution[-1] * y_scale + y_mean - mean @ weight, best)


def r2(predicted: Tensor, actual: Tensor) -> Tensor:
    """Share of the variance of each column of `actual` [N, P] that `predicted` explains, [P].

    1 is perfect, 0 is no better than the mean of `actual`, and below 0 is worse than it; NaN for a constant.
    """
    total = (actual - actual.mean(0)).double().square().sum(0)
    return (1 - (actual - predicted).double().square().sum(0) / total).float()


def linear_r2(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, *, seed: int = 0) -> Tensor:
    """R^2 of a ridge regression from features [N, F] to factors [N, P] on test samples, [P]."""
    return r2(fit_ridge(train_x, train_y, seed=seed).predict(test_x), test_y)


def _products(z: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of [z, 1] times itself and times the target, float64 [F + 1, F + 1] and [F + 1, P]."""
    width = z.shape[1] + 1
    gram = torch.zeros(width, width, dtype=torch.float64, device=z.device)
    moment = torch.zeros(width, target.shape[1], dtype=torch.float64, device=z.device)
    for part, goal in zip(z.split(CHUNK), target.split(CHUNK), strict=True):
        rows = torch.cat([part.double(), part.new_ones(len(part), 1, dtype=torch.float64)], dim=1)
        gram.addmm_(rows.T, rows)
        moment.addmm_(rows.T, goal)
    return gram, moment


def _solve(products: tuple[Tensor, Tensor], l2: float) -> Tensor:
    """Weights [F + 1, P], bias last and unpenalized; l2 counts per sample, so it does not depend on how many."""
    gram, moment = products
    count = gram[-1, -1]
    penalty = torch.full((len(gram),), l2, dtype=gram.dtype, device=gram.device)
    penalty[-1] = 0
    return torch.cholesky_solve(moment / count, torch.linalg.cholesky(gram / count + penalty.diag()))


def _squared_error(z: Tensor, target: Tensor, weights: Tensor) -> float:
    return float((z @ weights[:-1].float() + weights[-1] - target).square().mean())
