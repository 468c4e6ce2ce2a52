"""Running statistics that lag behind are measured anew."""

import pytest
import torch
from torch import nn

from craik.nn.norm import SharedBatchNorm
from craik.nn.statistics import reestimating, settled


@pytest.mark.parametrize("shared", [False, True])
def test_statistics_are_the_means_over_the_batches(shared: bool) -> None:
    norm: nn.Module = nn.BatchNorm1d(3)
    norm = SharedBatchNorm(norm, lambda x: x) if shared else norm
    model = nn.Sequential(nn.Dropout(0.9), norm).train()
    batches = [torch.randn(8, 3) + i for i in range(4)]
    model(batches[0] + 100)  # what they must forget
    with torch.no_grad(), reestimating(model):
        for batch in batches:
            model(batch)
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean(0) for b in batches]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([b.var(0) for b in batches]).mean(0))
    assert norm.momentum == 0.1 and all(m.training for m in model.modules())


def test_modes_and_momentum_come_back_after_an_error() -> None:
    norm = nn.BatchNorm1d(3).eval()
    with pytest.raises(ValueError, match="more than 1 value"), reestimating(norm):
        norm(torch.randn(1, 3))
    assert norm.momentum == 0.1 and not norm.training


def test_a_settled_model_leaves_no_trace_and_a_frozen_part_stays() -> None:
    frozen = nn.BatchNorm1d(3).requires_grad_(False)
    model = nn.Sequential(nn.BatchNorm1d(3), frozen).train()
    frozen.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batch = torch.randn(64, 3) + 5
    with settled(model, lambda: model(batch)):
        assert not any(module.training for module in model.modules())
        torch.testing.assert_close(model[0].running_mean, batch.mean(0))
        assert torch.equal(frozen.running_mean, torch.zeros(3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model[0].training and not frozen.training
