"""Running statistics of batch norm, measured anew once the weights stand still."""

from collections.abc import Iterator
from contextlib import contextmanager

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
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
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
