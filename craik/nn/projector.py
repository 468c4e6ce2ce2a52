"""Projector: an MLP between the representation that is used and the embedding that is trained."""

from torch import nn


def projector(width: int, hidden: int, out: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, twice, then linear: [B, width] -> [B, out]."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out),
    )


def shallow_projector(width: int, hidden: int, out: int, batch_norm: bool = True) -> nn.Sequential:
    """Linear, norm, GELU, linear: [M, width] -> [M, out]; LeWorldModel's after its encoder and its predictor.

    With batch norm, what one sample becomes depends on running statistics that lag behind training: see
    `nn.statistics`. Layer norm has no such state, and does not spread inputs that are nearly alike.
    """
    norm = nn.BatchNorm1d(hidden) if batch_norm else nn.LayerNorm(hidden)
    return nn.Sequential(nn.Linear(width, hidden), norm, nn.GELU(), nn.Linear(hidden, out))
