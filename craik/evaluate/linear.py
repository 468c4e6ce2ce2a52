"""Linear probe: multinomial logistic regression by full-batch L-BFGS on standardized features.

Minimized is the mean cross-entropy + l2 / 2 * |W|^2, bias unpenalized, W in standardized units. It is convex with
one optimum, so nothing but `l2` is left to choose, and a validation split of the training data chooses it.

Features of one encoder are strongly correlated, which would cost L-BFGS hundreds of steps. It therefore runs on
weights that are rescaled along the principal axes of the features; this changes its path and not the optimum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from craik.evaluate.axes import PrincipalAxes

L2_GRID = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
DEFAULT_L2 = 1e-2  # where the classes have too few samples to spare any for validation
VALIDATION_FRACTION = 0.1
MAX_STEPS = 200  # of L-BFGS; 20 to 60 are the rule


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """A fitted linear classifier of raw (not standardized) features."""

    weight: Tensor
    """float32 [F, C]."""
    bias: Tensor
    """float32 [C]."""
    l2: float
    """The regularization that was chosen."""
    validation: float | None
    """Accuracy on the validation split, in [0, 1], of the fit that led to the choice; None without a split."""

    def logits(self, x: Tensor) -> Tensor:
        """[N, F] -> [N, C]."""
        return x.float() @ self.weight + self.bias

    def predict(self, x: Tensor) -> Tensor:
        """Most likely class of each row of [N, F], int64 [N]."""
        return self.logits(x).argmax(1)

    def accuracy(self, x: Tensor, y: Tensor) -> float:
        """Share of rows of [N, F], in [0, 1], whose class int64 [N] is predicted."""
        return float((self.predict(x) == y).float().mean())


def fit_linear(
    x: Tensor,
    y: Tensor,
    *,
    l2_grid: Sequence[float] = L2_GRID,
    seed: int = 0,
    axes: PrincipalAxes | None = None,
) -> LinearProbe:
    """Fit the probe: choose `l2` on a stratified tenth of the samples, then fit all of them with it.

    The grid is walked from strong to weak, each fit starting from the last, until validation accuracy has been
    below its best for two steps: the weak end is slow and never returns. Ties go to the stronger.

    Args:
        x: Features [N, F].
        y: Classes 0 ... C - 1, int64 [N]; C is one more than the largest.
        l2_grid: Regularization strengths to choose from, all above 0.
        seed: Draws the validation split.
        axes: `PrincipalAxes.of(x)`, where several probes share x.
    """
    if min(l2_grid) <= 0:
        raise ValueError(f"l2 must be above 0 for the optimum to be unique, got {min(l2_grid)}")
    axes = axes or PrincipalAxes.of(x)
    fit, val = stratified_split(y, VALIDATION_FRACTION, seed)
    order = torch.cat([fit, val])
    z, y = axes.standardize(x[order.to(x.device)]), y[order.to(y.device)].to(x.device)
    start = z.new_zeros(z.shape[1] + 1, int(y.max()) + 1)
    if len(val) == 0:
        return _in_raw_units(axes, minimize(z, y, start, axes, DEFAULT_L2), DEFAULT_L2, None)
    weights, l2, score = _choose(z, y, len(fit), start, axes, sorted(l2_grid, reverse=True))
    return _in_raw_units(axes, minimize(z, y, weights, axes, l2), l2, score)


def _choose(
    z: Tensor, y: Tensor, num_fit: int, weights: Tensor, axes: PrincipalAxes, grid: Sequence[float]
) -> tuple[Tensor, float, float]:
    """Fit the first `num_fit` samples, score the rest: best weights, their l2 and validation accuracy."""
    chosen, worse = (weights, grid[0], -1.0), 0
    for l2 in grid:
        weights = minimize(z[:num_fit], y[:num_fit], weights, axes, l2, tolerance=1e-4)
        predicted = (z[num_fit:] @ weights[:-1] + weights[-1]).argmax(1)
        score = float((predicted == y[num_fit:]).float().mean())
        worse = worse + 1 if score < chosen[2] else 0
        if score > chosen[2]:
            chosen = (weights, l2, score)
        if worse == 2:
            break
    return chosen


def minimize(z: Tensor, y: Tensor, start: Tensor, axes: PrincipalAxes, l2: float, *, tolerance: float = 1e-5) -> Tensor:
    """The weights [F + 1, C], bias last, that minimize mean cross-entropy + l2 / 2 * |W|^2.

    Args:
        z: Standardized features, [N, F].
        y: Classes, int64 [N].
        start: Where to start, [F + 1, C].
        axes: Principal axes of z.
        l2: Regularization strength.
        tolerance: Largest slope, in rescaled units, that counts as the bottom.
    """
    rescale = Rescaling(axes, l2, start.shape[1])
    free = rescale.inverse(start).requires_grad_()
    solver = torch.optim.LBFGS(
        [free],
        max_iter=MAX_STEPS,
        history_size=20,
        tolerance_grad=tolerance,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        solver.zero_grad()
        weights = rescale(free)
        loss = F.cross_entropy(torch.addmm(weights[-1], z, weights[:-1]), y)
        loss = loss + l2 / 2 * weights[:-1].square().sum()
        loss.backward()
        return loss

    solver.step(objective)
    return rescale(free.detach())


class Rescaling:
    """Weights [F + 1, C] times curvature ** -1/2 along each principal axis, so that L-BFGS sees a round bowl.

    The curvature of the cross-entropy along an axis is taken as its variance times p (1 - p) at p = 1 / C.
    """

    def __init__(self, axes: PrincipalAxes, l2: float, num_classes: int) -> None:
        spread = (num_classes - 1) / num_classes**2
        self.axes = axes.axes
        self.along = (axes.variance * spread + l2).rsqrt().unsqueeze(1)
        self.across = (axes.rest * spread + l2) ** -0.5
        self.bias = spread**-0.5

    def __call__(self, free: Tensor) -> Tensor:
        """From what L-BFGS moves to weights."""
        return self._apply(free, self.along, self.across, self.bias)

    def inverse(self, weights: Tensor) -> Tensor:
        """From weights to what L-BFGS moves."""
        return self._apply(weights, 1 / self.along, 1 / self.across, 1 / self.bias)

    def _apply(self, w: Tensor, along: Tensor, across: float, bias: float) -> Tensor:
        inner = self.axes @ ((along - across) * (self.axes.T @ w[:-1]))
        return torch.cat([across * w[:-1] + inner, bias * w[-1:]])


def stratified_split(y: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Row numbers of the rest and of a random `fraction` of each class, ascending.

    The part gets at least one of each class that has two; the rest keeps at least one of every class.
    """
    generator = torch.Generator().manual_seed(seed)
    y = y.cpu()
    shuffled = torch.randperm(len(y), generator=generator)
    shuffled = shuffled[y[shuffled].argsort(stable=True)]  # class after class, each in random order
    chosen, at = torch.zeros(len(y), dtype=torch.bool), 0
    for count in torch.bincount(y).tolist():
        part = min(max(1, round(fraction * count)), count - 1) if count > 1 else 0
        chosen[shuffled[at : at + part]] = True
        at += count
    return (~chosen).nonzero().squeeze(1), chosen.nonzero().squeeze(1)


def few_labels(y: Tensor, fraction: float, seed: int) -> Tensor:
    """Row numbers, ascending, of a random `fraction` of each class of y int64 [N], at least one of each."""
    counts = torch.bincount(y.cpu())
    single = (counts == 1).nonzero().squeeze(1)
    _, part = stratified_split(y, fraction, seed)
    return torch.cat([part, torch.isin(y.cpu(), single).nonzero().squeeze(1)]).sort().values


def _in_raw_units(axes: PrincipalAxes, weights: Tensor, l2: float, validation: float | None) -> LinearProbe:
    weight = weights[:-1] / axes.scale.unsqueeze(1)
    return LinearProbe(weight, weights[-1] - axes.mean @ weight, l2, validation)
