"""VICReg, Barlow Twins and BYOL in the forms of public libraries, by documented conversions of ours."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from craik.core.dynamics import (
    inverse_dynamics,
    straightening,
    temporal_covariance,
    temporal_similarity,
    temporal_variance,
)
from craik.core.energy import cosine
from craik.core.regularize import Barlow, VICReg, VICRegWeights, covariance, variance
from tests.parity.golden import Fixture, assert_relative

NOT_OURS = ("eb.reg.", "eb.vcloss", "eb.square_loss_seq")
"""Optional outputs: regularizers of sequences of another library."""


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
    compared |= set(world_model_terms(fixture))
    left = {
        name
        for name in fixture.outputs
        if name not in compared and name.rpartition(".")[0] not in compared and not name.startswith(NOT_OURS)
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


def world_model_terms(fixture: Fixture) -> dict[str, Tensor]:
    """Terms of world models [B, T, D] by the conversions that `core.dynamics` states."""
    z, inputs = fixture.inputs["btd"], fixture.inputs
    per_time, off_diagonals = z.transpose(0, 1), z.shape[-1] - 1
    shared = {
        "std_loss": variance(per_time),
        "std_t_loss": temporal_variance(z),
        "cov_loss": covariance(per_time) / off_diagonals,
        "cov_t_loss": temporal_covariance(z) / off_diagonals,
    }
    return {
        **{f"wm_vcreg.{name}": value for name, value in shared.items()},
        **{f"wm_pldm.{name}": value for name, value in shared.items()},
        "wm_pldm.idm_loss": inverse_dynamics(inputs["a_pred"], inputs["a_target"]),
        "wm_pldm.temp_align_loss": temporal_similarity(z),
        "wm_straightening": straightening(z) - 1,
    }


def test_world_model_terms(fixture: Fixture) -> None:
    for name, value in world_model_terms(fixture).items():
        check_value(fixture, name, value)


def test_conversions_are_inverse() -> None:
    weights = VICRegWeights(3.0, 5.0, 7.0)
    assert VICRegWeights.from_mean_off_diagonal(24, *weights.to_mean_off_diagonal(24)) == weights
    assert VICRegWeights.from_halved_variance(*weights.to_halved_variance()) == weights
