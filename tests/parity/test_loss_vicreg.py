"""VICReg, Barlow Twins and BYOL in the forms of public libraries, by documented conversions of ours."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from craik.core.energy import cosine
from craik.core.regularize import Barlow, VICReg, VICRegWeights, covariance, variance
from tests.parity.golden import Fixture, assert_relative

NOT_OURS = ("eb.reg.", "eb.vcloss", "eb.square_loss_seq")
"""Optional outputs: regularizers of sequences of another library."""
OF_WORLD_MODELS = ("wm_pldm.", "wm_straightening", "wm_vcreg.cov_t_loss")
"""Terms over time, for which `core.regularize` has no function."""


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("loss_vicreg")


def check_views(fixture: Fixture, name: str, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Value and gradients of a loss of two views."""
    z, z2 = (fixture.inputs[key].clone().requires_grad_() for key in ("z", "z2"))
    value = loss(z, z2)
    grads = torch.autograd.grad(value, (z, z2))
    tolerance = fixture.config["tolerance"]
    assert_relative(value.reshape(1), fixture.outputs[f"{name}.loss"], tolerance["rel"], name)
    for key, grad in zip(("grad_z", "grad_z2"), grads, strict=True):
        assert_relative(grad, fixture.outputs[f"{name}.{key}"], tolerance["grad_rel"], f"{name}.{key}")


def check_value(fixture: Fixture, name: str, value: Tensor) -> None:
    assert_relative(value.reshape(1), fixture.outputs[name], fixture.config["tolerance"]["rel"], name)


def test_every_output_is_compared(fixture: Fixture) -> None:
    compared = {f"eb.{name}" for name in fixture.config["eb_vicreg"]}
    compared |= {f"spt.{name}" for name in fixture.config["spt_vicreg"]} | {"spt.barlow", "spt.byol"}
    wm = {f"wm_vcreg.{term}" for term in ("std_loss", "std_t_loss", "cov_loss")}
    left = {
        name
        for name in fixture.outputs
        if name not in wm
        and name.rpartition(".")[0] not in compared
        and not name.startswith(NOT_OURS + OF_WORLD_MODELS)
    }
    assert left == set()


def test_eb_jepa(fixture: Fixture) -> None:
    """Mean over off-diagonals in place of the sum over D."""
    for name, settings in fixture.config["eb_vicreg"].items():
        dim = fixture.inputs["z"].shape[1]
        weights = VICRegWeights.from_mean_off_diagonal(
            dim, variance=settings.get("std_coeff", 1.0), covariance=settings.get("cov_coeff", 1.0)
        )
        check_views(fixture, f"eb.{name}", VICReg(weights))
        z, z2 = fixture.inputs["z"], fixture.inputs["z2"]
        check_value(fixture, f"eb.{name}.invariance_loss", F.mse_loss(z, z2))
        check_value(fixture, f"eb.{name}.var_loss", variance(z) + variance(z2))
        check_value(fixture, f"eb.{name}.cov_loss", (covariance(z) + covariance(z2)) / (dim - 1))


def test_stable_pretraining(fixture: Fixture) -> None:
    """The variance term of each view is halved."""
    for name, settings in fixture.config["spt_vicreg"].items():
        weights = VICRegWeights.from_halved_variance(
            settings.get("sim_coeff", 25.0), settings.get("std_coeff", 25.0), settings.get("cov_coeff", 1.0)
        )
        check_views(fixture, f"spt.{name}", VICReg(weights, eps=settings.get("epsilon", 1e-4)))


def test_barlow(fixture: Fixture) -> None:
    check_views(fixture, "spt.barlow", Barlow(fixture.config["spt_barlow"]["lambd"]))


def test_byol(fixture: Fixture) -> None:
    """2 - 2 cos: twice our cosine energy."""
    check_views(fixture, "spt.byol", lambda z, z2: 2 * cosine(z[:, None, None], z2[:, None, None]).mean())


def test_world_model_variance_and_covariance(fixture: Fixture) -> None:
    """Per time step over the batch, and per sample over time once the mean over the batch is taken away."""
    btd = fixture.inputs["btd"]
    per_time = btd.transpose(0, 1)
    check_value(fixture, "wm_vcreg.std_loss", variance(per_time))
    check_value(fixture, "wm_vcreg.cov_loss", covariance(per_time) / (btd.shape[-1] - 1))
    check_value(fixture, "wm_vcreg.std_t_loss", variance(btd - btd.mean(0, keepdim=True)))


def test_conversions_are_inverse() -> None:
    weights = VICRegWeights(3.0, 5.0, 7.0)
    assert VICRegWeights.from_mean_off_diagonal(24, *weights.to_mean_off_diagonal(24)) == weights
    assert VICRegWeights.from_halved_variance(*weights.to_halved_variance()) == weights
