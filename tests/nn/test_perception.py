"""Frames to latents."""

import torch
from torch import nn

from craik.core.tokens import Grid, Tokens
from craik.nn.perception import FrozenPatches, Perception


class Rows(nn.Module):
    """The rows of an image are its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor, keep=None, wanted=None) -> Tokens:
        rows = self.drop(self.norm(x.mean(1).mT).mT)
        return Tokens(rows, Grid(("h",), (x.shape[2],)).coords().expand(len(x), -1, -1))


def test_head_sees_the_pooled_tokens() -> None:
    encoder, frames = Rows().eval(), torch.randn(5, 3, 2, 4)
    model = Perception(encoder, nn.Linear(4, 6)).eval()
    torch.testing.assert_close(model(frames), model.head(encoder(frames).x.mean(1)))
    torch.testing.assert_close(Perception(encoder)(frames), encoder(frames).x.mean(1))


def test_frozen_stays_as_it_is_in_training() -> None:
    model, frames = FrozenPatches(Rows()), torch.randn(5, 3, 2, 4)
    model.train()
    first = model(frames)
    assert first.shape == (5, 2, 4) and not first.requires_grad
    torch.testing.assert_close(model(frames), first)  # neither dropout nor running statistics
    assert not any(p.requires_grad for p in model.parameters()) and model.training
