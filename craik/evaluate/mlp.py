"""A small MLP as a probe of continuous factors: what features hold, though not linearly."""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.evaluate.axes import moments

HIDDEN = 128
STEPS = 300
BATCH = 256
CHECK = 20  # steps from one look at the validation error to the next
VALIDATION_FRACTION = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class MLP:
    """A fitted network of raw (not standardized) features."""

    net: nn.Sequential
    """Standardized features [N, F] to standardized factors [N, P]."""
    x: tuple[Tensor, Tensor]
    """Mean and deviation of the features, [F] each."""
    y: tuple[Tensor, Tensor]
    """Mean and deviation of the factors, [P] each."""

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """[N, F] -> [N, P]."""
        out: Tensor = self.net((x.float() - self.x[0]) / self.x[1])
        return out * self.y[1] + self.y[0]


def fit_mlp(x: Tensor, y: Tensor, *, lr: float = 2e-3, weight_decay: float = 1e-2, seed: int = 0) -> MLP:
    """Fit factors [N, P] to features [N, F] with one hidden layer; the step with the best validation error is kept.

    Args:
        x: Features.
        y: Factors.
        lr: Peak of a cosine to 0, AdamW.
        weight_decay: Of AdamW.
        seed: Draws weights, batches and the tenth of the samples that is held back for validation.
    """
    rng = torch.Generator().manual_seed(seed)
    of_x, of_y = moments(x), moments(y)
    order = torch.randperm(len(x), generator=rng)
    num_val = max(1, round(VALIDATION_FRACTION * len(x))) if len(x) > 1 else 0
    inputs = ((x.float() - of_x[0]) / of_x[1])[order]
    goals = ((y.float() - of_y[0]) / of_y[1])[order]
    net = fresh(x.shape[1], y.shape[1], seed).to(x.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    best, kept = float("inf"), copy.deepcopy(net.state_dict())
    for step in range(STEPS):
        rows = num_val + torch.randint(len(x) - num_val, (min(BATCH, len(x)),), generator=rng)
        loss = F.mse_loss(net(inputs[rows]), goals[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % CHECK == 0 and (error := validation_error(net, inputs[:num_val], goals[:num_val])) < best:
            best, kept = error, copy.deepcopy(net.state_dict())
    net.load_state_dict(kept)
    return MLP(net, of_x, of_y)


@torch.no_grad()
def validation_error(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Mean squared error."""
    return float(F.mse_loss(net(x), y))


def fresh(num_in: int, num_out: int, seed: int) -> nn.Sequential:
    """First weights, without a trace in the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(num_in, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, num_out))
