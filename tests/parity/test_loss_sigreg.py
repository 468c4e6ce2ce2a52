"""SIGReg in the forms of four public libraries, by documented conversions of ours."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from craik.core.energy import l2
from craik.core.regularize import SIGReg, SIGRegWeight, directions, epps_pulley
from tests.parity.golden import Fixture, assert_relative


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("loss_sigreg")


def build(settings: dict[str, Any], num_directions: int) -> SIGReg:
    """Ours with the settings of a public half-line test: they have the same form."""
    return SIGReg(num_directions, t_max=settings["t_max"], num_nodes=settings["n_points"])


def with_gradient(x: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    value = loss(x)
    (grad,) = torch.autograd.grad(value.mean(), x)
    return value.detach(), grad


def check(fixture: Fixture, name: str, value: Tensor, grad: Tensor | None = None) -> None:
    golden = fixture.outputs[name]
    assert_relative(value.reshape(golden.shape), golden, fixture.config["tolerance"]["rel"], name)
    if grad is not None:
        assert_relative(grad, fixture.outputs[f"{name}.grad"], fixture.config["tolerance"]["grad_rel"], name)


def steps(fixture: Fixture, name: str) -> int:
    """How many calls the fixture has of a test, one per step."""
    num = 0
    while any(key.split(".")[:2] == [name, f"step{num}"] for key in fixture.outputs):
        num += 1
    assert num > 0
    return num


def full_line(settings: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Nodes and trapezoid weights on a whole interval: EB-JEPA, with the defaults of its code."""
    start, end = settings.get("t_min", -3), settings.get("t_max", 3)
    nodes = torch.linspace(start, end, settings.get("n_points", 10), dtype=torch.float64)
    weights = torch.full_like(nodes, (end - start) / (len(nodes) - 1))
    weights[[0, -1]] /= 2
    return nodes, weights


def test_every_output_is_compared(fixture: Fixture) -> None:
    tables = ("epps_pulley", "sliced")
    known = {name for table in tables for name in fixture.config[table]}
    known |= {"world_model_sigreg", "spt_sliced", "spt_lejepa", "eb", "eb_bcs"}
    assert {name.split(".")[0] for name in fixture.outputs} == known


def test_directions_of_each_step(fixture: Fixture) -> None:
    for name, golden in fixture.inputs.items():
        if name.startswith("directions.step"):
            ours = directions(*golden.shape, step=int(name.removeprefix("directions.step")))
            assert_relative(ours, golden, 1e-6, name)


def test_nodes_and_weights(fixture: Fixture) -> None:
    for name, settings in fixture.config["epps_pulley"].items():
        nodes, weights = build(settings, 1).quadrature()
        normal = torch.exp(-nodes.square() / 2)
        check(fixture, f"{name}.t", nodes)
        check(fixture, f"{name}.phi", normal)
        check(fixture, f"{name}.weights", weights * normal)


def test_statistic_of_each_slice(fixture: Fixture) -> None:
    z, axes = fixture.inputs["z"], fixture.inputs["directions.step0"]
    for name, settings in fixture.config["epps_pulley"].items():
        test = build(settings, axes.shape[1])
        check(fixture, f"{name}.per_slice", test.statistic(z @ axes))
        check(fixture, f"{name}.raw_projection", test.statistic(fixture.inputs["x1d"]))
        golden = fixture.outputs[f"{name}.per_slice_f64"]
        wide = z.double() @ axes.double()
        assert_relative(test.statistic(wide), golden, 1e-6, name)  # some forms hold nodes in float32


def test_sliced(fixture: Fixture) -> None:
    """Mean over slices is ours; a sum is that times the number of slices; clipping zeroes small statistics."""
    z, views = fixture.inputs["z"], fixture.inputs["views"]
    for name, settings in fixture.config["sliced"].items():
        num = settings["num_slices"]
        test = build(settings["test"], num)

        def value(x: Tensor, step: int, test: SIGReg = test, num: int = num, settings: Any = settings) -> Tensor:
            if settings["reduction"] == "mean":
                return test(x, step)
            statistic = test.statistic(x @ directions(x.shape[-1], num, step))
            if "clip_value" in settings:
                statistic = torch.where(statistic < settings["clip_value"], 0.0, statistic)
            return statistic if settings["reduction"] is None else statistic.sum()

        calls = steps(fixture, name)
        for step in range(calls):
            check(fixture, f"{name}.step{step}", *with_gradient(z, lambda x, step=step: value(x, step)))
        check(fixture, f"{name}.views", value(views, calls))


def test_sum_is_the_mean_times_the_slices(fixture: Fixture) -> None:
    for name, settings in fixture.config["sliced"].items():
        if settings["reduction"] == "sum" and "clip_value" not in settings:
            mean = build(settings["test"], settings["num_slices"])(fixture.inputs["z"], 0)
            check(fixture, f"{name}.step0", mean * settings["num_slices"])


def test_world_model_form(fixture: Fixture) -> None:
    """Samples on the second last axis of [T, B, D]; half line [0, 3]; directions drawn elsewhere."""
    settings = fixture.config["world_model_sigreg"]
    raw = fixture.inputs["raw_directions"]
    assert raw.shape[1] == settings["num_proj"]
    test = SIGReg(settings["num_proj"], num_nodes=settings["knots"])
    value, grad = with_gradient(fixture.inputs["views"], lambda x: test.statistic(x @ (raw / raw.norm(dim=0))).mean())
    check(fixture, "world_model_sigreg", value, grad)


def test_stable_pretraining_sliced(fixture: Fixture) -> None:
    settings = fixture.config["spt_sliced"]
    test = build(settings, settings["num_slices"])
    for step in range(steps(fixture, "spt_sliced")):
        check(fixture, f"spt_sliced.step{step}", *with_gradient(fixture.inputs["z"], lambda x, s=step: test(x, s)))


def test_stable_pretraining_lejepa(fixture: Fixture) -> None:
    """invariance + lamb x SIGReg with all views as one sample set."""
    settings, sliced = fixture.config["spt_lejepa"], fixture.config["spt_sliced"]
    test = build(sliced, sliced["num_slices"])
    weight = SIGRegWeight.from_additive(settings["lamb"])

    def terms(views: Tensor) -> tuple[Tensor, Tensor]:
        centre = views[: settings["n_global"]].mean(0, keepdim=True).expand_as(views)
        return l2(views.unsqueeze(2), centre.unsqueeze(2)).mean(), test(views.flatten(0, 1), 0)

    def loss(views: Tensor) -> Tensor:
        invariance, sigreg = terms(views)
        return weight.invariance * invariance + weight.sigreg * sigreg

    views = fixture.inputs["views"]
    invariance, sigreg = terms(views)
    value, grad = with_gradient(views, loss)
    check(fixture, "spt_lejepa.invariance", invariance)
    check(fixture, "spt_lejepa.sigreg", sigreg)
    check(fixture, "spt_lejepa.loss", value)
    golden = fixture.outputs["spt_lejepa.grad"]
    assert_relative(grad, golden, fixture.config["tolerance"]["grad_rel"], "spt_lejepa.grad")


def test_eb_jepa_statistic(fixture: Fixture) -> None:
    """The whole line, not multiplied by the number of samples."""
    projections = fixture.inputs["z"] @ fixture.inputs["directions.step0"]
    for name, settings in fixture.config["eb_epps_pulley"].items():
        check(fixture, f"eb.{name}", epps_pulley(projections, *full_line(settings)))


def test_eb_jepa_loss(fixture: Fixture) -> None:
    """invariance + lmbd x mean of both views, by `SIGRegWeight.from_sample_free`."""
    settings, z, z2 = fixture.config["eb_bcs"], fixture.inputs["z"], fixture.inputs["z2"]
    weight = SIGRegWeight.from_sample_free(settings["lmbd"], len(z))
    for step in range(steps(fixture, "eb_bcs")):
        axes = directions(z.shape[1], settings["num_slices"], step)
        sample_free = torch.stack([epps_pulley(x @ axes, *full_line({})).mean() for x in (z, z2)]).mean()
        invariance = F.mse_loss(z, z2)
        loss = weight.invariance * invariance + weight.sigreg * len(z) * sample_free
        check(fixture, f"eb_bcs.step{step}.bcs_loss", sample_free)
        check(fixture, f"eb_bcs.step{step}.invariance_loss", invariance)
        check(fixture, f"eb_bcs.step{step}.loss", loss)
