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
