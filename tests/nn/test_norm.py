"""Batch norm over ranks: on one rank it is torch's; that it is the same on several, tests/core/test_ranks.py shows."""

import copy

import pytest
import torch
from torch import nn

from craik.core.regularize import alone
from craik.nn.conv import ConvEncoder
from craik.nn.norm import SharedBatchNorm, share_statistics

RNG = torch.Generator().manual_seed(0)


def pair(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[nn.Module, SharedBatchNorm]:
    """A batch norm with weights of its own, and its shared twin with parameters of their own."""
    if norm.affine:
        for parameter in norm.parameters():
            nn.init.normal_(parameter, generator=RNG)
    return norm, SharedBatchNorm(copy.deepcopy(norm), alone)


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(5), (9, 5)),
        (nn.BatchNorm1d(5, momentum=None), (9, 5, 4)),
        (nn.BatchNorm2d(5), (3, 5, 4, 6)),
        (nn.BatchNorm2d(5, affine=False, momentum=0.3), (3, 5, 4, 6)),
        (nn.BatchNorm2d(5, track_running_stats=False), (3, 5, 4, 6)),
    ],
)
def test_one_rank_is_torch(norm: nn.BatchNorm1d | nn.BatchNorm2d, shape: tuple[int, ...]) -> None:
    torchs, ours = pair(norm)
    for step in range(3):
        x = torch.randn(shape, generator=RNG) * 2 + step
        goal = torch.randn(shape, generator=RNG)
        found = []
        for module in (torchs, ours):
            z = x.clone().requires_grad_()
            y = module(z)
            wanted = [z, *module.parameters()]
            found.append([y, *torch.autograd.grad((y * goal).sum(), wanted), *module.buffers()])
        for a, b in zip(*found, strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    assert torchs.state_dict().keys() == ours.state_dict().keys()
    assert torch.equal(torchs.eval()(x), SharedBatchNorm(norm.eval(), alone)(x))


def test_arithmetic_is_float32_inside_autocast() -> None:
    _, ours = pair(nn.BatchNorm2d(4))
    x = (torch.randn(4, 4, 8, 8, generator=RNG) + 100).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = ours(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), ours(x.float()), atol=0.05)


def test_a_model_keeps_its_names_parameters_and_layout() -> None:
    torch.manual_seed(0)
    model = ConvEncoder((4, 8))
    before, parameters = model.state_dict(), [id(p) for p in model.parameters()]
    twin = copy.deepcopy(model)
    share_statistics(model, alone)
    share_statistics(model, alone)
    assert sum(isinstance(m, SharedBatchNorm) for m in model.modules()) == 6
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert model.state_dict().keys() == before.keys()
    assert [id(p) for p in model.parameters()] == parameters
    x = torch.randn(4, 3, 8, 8, generator=RNG)
    assert torch.allclose(model(x).x, twin(x).x, atol=1e-5)
    assert model.features(x)[0].is_contiguous(memory_format=torch.channels_last)
