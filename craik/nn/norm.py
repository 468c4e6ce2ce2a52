"""Batch norm over the samples of all ranks."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from craik.core.precision import full_precision
from craik.core.regularize import Reduce


class SharedBatchNorm(_BatchNorm):
    """Batch norm whose statistics in training are those of all ranks; parameters and running statistics of `norm`.

    Torch's own SyncBatchNorm does the same on GPUs alone. Here the sums are taken by a differentiable `reduce`, as in
    the regularizers, so W ranks have the output, the gradient and the running statistics of one with the whole batch.
    Computed in float32 inside autocast.

    Source: Ioffe and Szegedy 2015 (arXiv 1502.03167), algorithm 1.
    """

    def __init__(self, norm: _BatchNorm, reduce: Reduce) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.reduce = reduce
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, C, ...]; in evaluation mode as any batch norm, without a word to other ranks."""
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            samples = x.movedim(1, -1)  # [B, ..., C]
            z = full_precision(samples.flatten(0, -2))  # [N, C]
            total = self.reduce(torch.cat([z.sum(0), z.new_full((1,), len(z))]))  # sums, and the number of samples
            mean, count = total[:-1] / total[-1], total[-1]
            z = z - mean
            variance = self.reduce(z.square().sum(0)) / count
            self.follow(mean.detach(), (variance * count / (count - 1)).detach())
            z = z * (variance + self.eps).rsqrt()
            if self.affine:
                z = z * self.weight + self.bias
            return z.view(samples.shape).movedim(-1, 1).to(x.dtype)

    def follow(self, mean: Tensor, variance: Tensor) -> None:
        """Let the running statistics follow those of a batch, mean and unbiased variance [C]."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes."""


def share_statistics(model: nn.Module, reduce: Reduce) -> None:
    """Put a `SharedBatchNorm` in the place of every batch norm inside a model; names and parameters stay."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                setattr(parent, name, SharedBatchNorm(child, reduce))
