"""The published curves of learning rate, weight decay and momentum."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from craik.train.schedule import Schedule, cosine, linear, warmup_cosine
from tests.parity.golden import Fixture


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("ijepa_schedules")


def values(schedule: Schedule, first: int, num: int) -> Tensor:
    return torch.tensor([schedule(step) for step in range(first, first + num)], dtype=torch.float64)


def test_curves(fixture: Fixture) -> None:
    """Learning rate and weight decay count from 1, the momentum from 0; beyond the end too."""
    compared = set()
    for curve, c in fixture.config["curves"].items():
        exact = c["iterations_per_epoch"] * c["num_epochs"] * c["ipe_scale"]
        total = int(c["ipe_scale"] * c["num_epochs"] * c["iterations_per_epoch"])
        warmup = int(c["warmup"] * c["iterations_per_epoch"])
        schedules = {
            "lr": (warmup_cosine(c["start_lr"], c["lr"], c["final_lr"], warmup, total), 1),
            "weight_decay": (cosine(c["weight_decay"], c["final_weight_decay"], total), 1),
            "ema_momentum": (linear(*c["ema"], exact), 0),
        }
        for name, (schedule, first) in schedules.items():
            golden = fixture.outputs[f"{curve}.{name}"]
            ours = values(schedule, first, len(golden))
            gap = ((ours - golden).abs() / golden.abs().clamp(min=1e-300)).max().item()
            assert gap <= fixture.config["tolerance"]["rel"], f"{curve}.{name}: relative difference {gap:.1e}"
            compared.add(f"{curve}.{name}")
    assert compared == set(fixture.outputs)
