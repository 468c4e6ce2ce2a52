"""The published curves of V-JEPA 2: warmup, stable, decay; the cooldown's line; curves that stay flat."""

from collections.abc import Callable

import pytest
import torch

from craik.train.schedule import Schedule, cosine, warmup_cosine, warmup_stable_decay
from tests.parity.golden import Fixture


def schedule_of(c: dict[str, float]) -> Schedule:
    match c["class"]:
        case "WSDSchedule":
            lengths = (c["warmup_steps"], c["anneal_steps"], c["T_max"])
            return warmup_stable_decay(c["start_lr"], c["ref_lr"], c["final_lr"], *lengths)
        case "LinearDecaySchedule":
            return warmup_stable_decay(c["ref_lr"], c["ref_lr"], c["final_lr"], 0, c["T_max"], c["T_max"])
        case "WarmupCosineSchedule":
            return warmup_cosine(c["start_lr"], c["ref_lr"], c["final_lr"], c["warmup_steps"], c["T_max"])
        case "CosineWDSchedule":
            return cosine(c["ref_wd"], c["final_wd"], c["T_max"])
    raise AssertionError(f"no schedule of ours for {c['class']}")


def test_curves(golden: Callable[[str], Fixture]) -> None:
    fixture = golden("vjepa2_schedules")
    assert fixture.config["curves"].keys() == fixture.outputs.keys()
    for name, curve in fixture.config["curves"].items():
        values, schedule = fixture.outputs[name], schedule_of(curve)
        assert len(values) == curve["n_steps"]
        ours = torch.tensor([schedule(step) for step in range(1, len(values) + 1)], dtype=torch.float64)
        for step, (mine, theirs) in enumerate(zip(ours.tolist(), values.tolist(), strict=True), start=1):
            assert mine == pytest.approx(theirs, rel=fixture.config["tolerance"]["rel"], abs=1e-18), (name, step)
