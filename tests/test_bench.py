"""The benchmark compares like with like: equal mathematics, and work counted as published."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from bench import flops, reference
from bench.contenders import Contender, draw_work, our_step, reference_step
from bench.measure import PHASES, race
from bench.settings import SETTINGS, SMALL_32, Setting
from bench.table import Machine, Row, show, write_json
from craik.core import JEPA
from craik.masking.block import BlockSize
from craik.nn.sizes import Size
from craik.weights import ijepa

CPU = torch.device("cpu")
MICRO = Setting(
    name="micro",
    image=32,
    patch=4,
    encoder=Size(48, 3, 3),
    predictor=Size(24, 2, 3),
    batch=3,
    context=9,
    block=BlockSize(3, 4),
    min_keep=4,
)


def our_gradients(contender: Contender) -> dict[str, torch.Tensor]:
    """Gradients of our step under the published names."""
    model = contender.model
    assert isinstance(model, JEPA)
    named = {}
    for network, module, keys in (
        ("encoder", model.encoder, ijepa.ENCODER),
        ("predictor", model.predictor, ijepa.PREDICTOR),
    ):
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                named[f"{network}.{keys.theirs(name)[0]}"] = parameter.grad
    return named


def assert_equal_step(setting: Setting) -> None:
    work = draw_work(setting)
    ours, plain = our_step(setting, CPU), reference_step(setting, CPU)
    assert float(ours.backward(work)) == pytest.approx(float(plain.backward(work)), abs=1e-6)
    mine = our_gradients(ours)
    theirs = {name: p.grad for name, p in plain.model.named_parameters() if p.grad is not None}
    assert sorted(mine) == sorted(theirs)
    for name, grad in theirs.items():
        gap = (mine[name].view_as(grad) - grad).abs().max() / grad.abs().max()
        assert float(gap) < 1e-5 or float(grad.abs().max()) < 1e-6, name


@pytest.mark.parametrize(
    "setting",
    [MICRO, replace(MICRO, block=BlockSize(4, 5), context=4)],
    ids=["fewer targets than tokens", "more targets than tokens"],
)
def test_both_steps_have_equal_loss_and_gradients(setting: Setting) -> None:
    assert_equal_step(setting)


def test_together_is_another_method() -> None:
    """One predictor pass over all blocks is no rounding difference: it gets a row of its own."""
    work = draw_work(MICRO)
    apart, together = (our_step(MICRO, CPU, together=t).backward(work) for t in (False, True))
    assert abs(float(apart) - float(together)) > 1e-6


@pytest.mark.slow
def test_both_steps_are_equal_at_a_measured_size() -> None:
    assert_equal_step(replace(SMALL_32, batch=4))


def test_both_steps_stay_equal_after_updates() -> None:
    """Optimizer and EMA too: after three steps the losses still agree."""
    work = draw_work(MICRO)
    ours, plain = our_step(MICRO, CPU), reference_step(MICRO, CPU)
    for group in (*ours.optimizer.param_groups, *plain.optimizer.param_groups):
        group["lr"] = 1e-3
    first = float(ours.backward(work))
    for contender in (ours, plain):
        for _ in range(3):
            contender.step(work)
    assert float(ours.backward(work)) == pytest.approx(float(plain.backward(work)), abs=1e-5)
    assert float(ours.backward(work)) < first


@pytest.mark.parametrize("setting", [MICRO, replace(MICRO, patch=8, block=BlockSize(1, 2), context=5)])
def test_flops_are_those_of_the_reference(setting: Setting) -> None:
    """The count on paper is what torch counts in the plain step."""
    work, plain = draw_work(setting), reference_step(setting, CPU)
    with FlopCounterMode(display=False) as counter:
        plain.backward(work)
    assert counter.get_total_flops() == flops.training_step(setting)


@pytest.mark.parametrize("setting", [MICRO, *SETTINGS.values()])
def test_masks_have_the_stated_numbers_of_tokens(setting: Setting) -> None:
    mask = setting.mask(torch.Generator().manual_seed(1))
    assert mask.context.shape == (setting.batch, setting.context)
    assert mask.target.shape == (setting.batch, setting.sets, setting.target)
    mask.check(setting.grid.num_tokens)


def test_reference_masks_are_disjoint_and_avoid_the_last_row_and_column() -> None:
    keep, targets = reference.sample_masks(MICRO, torch.Generator().manual_seed(0))
    for row in range(MICRO.batch):
        hidden = {int(i) for target in targets for i in target[row]}
        assert hidden.isdisjoint(keep[row].tolist())
        assert all(i % 8 < 7 and i // 8 < 7 for i in hidden | set(keep[row].tolist()))


def test_race_and_table(tmp_path: Path) -> None:
    from bench.__main__ import row

    contenders = [reference_step(MICRO, CPU), our_step(MICRO, CPU)]
    result = race(contenders, draw_work(MICRO), rounds=2, side=64)
    times = result.times[contenders[1].name]
    assert set(times.phases) == {*PHASES, "augment"} and all(len(t) == 2 for t in times.phases.values())
    rows = [row(MICRO, contender, result, 1e6, None) for contender in contenders]
    assert rows[0].times_reference == 1.0
    assert rows[1].share_float32 > 0
    assert rows[1].step_ms == pytest.approx(1e3 * MICRO.batch / rows[1].images_per_s)
    machine = Machine.of(CPU, False, result.peaks, 2)
    write_json(machine, rows, tmp_path / "speed.json")
    assert Row(**json.loads((tmp_path / "speed.json").read_text())["rows"][1]) == rows[1]
    console = Console(record=True, width=120)
    show(machine, rows, console)
    text = console.export_text()
    assert all(label in text for label in ("images/s", "masks, ms", "share of float32 peak", "micro"))
