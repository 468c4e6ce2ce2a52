"""Running statistics of batch norm, measured anew once the weights stand still."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from craik.nn.mode import evaluating


@contextmanager
def reestimating(model: nn.Module) -> Iterator[None]:
    """Inside, batch norms average over all batches that pass; the rest of the model is in evaluation mode.

    While weights move fast, running statistics lag behind them, and what a model does in evaluation mode is not what
    it learned: prediction errors of world models were reported up to 300 times too large (arXiv 2608.10145). A few
    batches of the training loss without gradient repair it:

        with torch.no_grad(), reestimating(model):
            for batch in batches:
                model(batch, step)
    """
    norms = running(model)
    momentum = [norm.momentum for norm in norms]
    with evaluating(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        try:
            yield
        finally:
            for norm, usual in zip(norms, momentum, strict=True):
                norm.momentum = usual


@contextmanager
def settled(model: nn.Module, passes: Callable[[], None]) -> Iterator[None]:
    """Inside, the model is as it is to be used: in evaluation mode, with statistics of what `passes` sends through it.

    Afterwards mode and running statistics are what they were, so that looking at a model in training leaves no trace.
    """
    norms = running(model)
    before = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    try:
        if norms:
            with torch.no_grad(), reestimating(model):
                passes()
        with evaluating(model):
            yield
    finally:
        for norm, kept in zip(norms, before, strict=True):
            for name, buffer in norm.named_buffers():
                buffer.copy_(kept[name])


def running(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a model that keep running statistics; those of a frozen part stay as they are."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    return [norm for norm in norms if all(parameter.requires_grad for parameter in norm.parameters())]
