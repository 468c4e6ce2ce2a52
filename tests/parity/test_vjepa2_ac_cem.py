"""The planner of V-JEPA 2-AC: poses, energies and plans of every iteration, with the noise recorded."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from craik.core.target import layer_normalize
from craik.nn.action import ActionScale
from craik.nn.motion import PoseMotion, change_of_pose, moved
from craik.nn.perception import FrozenPatches
from craik.plan import LatentDistance, Plan, Situation, evaluator
from craik.plan import cem as cem_module
from craik.plan.end_effector import EndEffector, moves, search
from craik.recipes.vjepa2_ac import ActionConditioned
from craik.weights import vjepa2_ac
from tests.parity.golden import Fixture, assert_close
from tests.parity.video import checkpoint, pair

ATOL = 1e-5


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("vjepa2_ac_cem")


@pytest.fixture(scope="module")
def model(fixture: Fixture, tmp_path_factory: pytest.TempPathFactory) -> ActionConditioned:
    c = fixture.config
    loaded = vjepa2_ac.load(
        checkpoint(fixture, tmp_path_factory.mktemp("cem") / "ac.pt"),
        heads=c["encoder"]["num_heads"],
        predictor_heads=c["predictor"]["num_heads"],
        image_size=pair(c["encoder"]["img_size"]),
    )
    perception = FrozenPatches(loaded.encoder, layer_normalize)
    scales = ActionScale(7), ActionScale(7)
    return ActionConditioned(perception, *scales, PoseMotion(), loaded.predictor, history=99, num_steps=2).eval()


class Watched:
    """Energies of the candidates, as they are tried."""

    def __init__(self, inner: Callable[[Tensor], Tensor]) -> None:
        self.inner = inner
        self.actions: list[Tensor] = []
        self.energies: list[Tensor] = []

    def __call__(self, actions: Tensor) -> Tensor:
        found = self.inner(actions)
        self.actions.append(actions[0])
        self.energies.append(found[0])
        return found


@torch.no_grad()
def planned(
    fixture: Fixture,
    model: ActionConditioned,
    monkeypatch: pytest.MonkeyPatch,
    num_iterations: int,
    fixed: dict[int, float],
) -> tuple[EndEffector, Plan, Watched]:
    """A search with the recorded noise, as `Controller` makes it."""
    args, gripper = fixture.config["mpc_args"], fixture.config["defaults_of_cem"]
    noise = iter(fixture.inputs["noise"].transpose(1, 2))  # each [S, H, 4]
    monkeypatch.setattr(cem_module, "white_noise", lambda shape, rng: next(noise).view(shape))
    now, goal = (encoded(model, fixture.inputs[f"{which}_image"]) for which in ("current", "goal"))
    arm = EndEffector(model, fixture.inputs["pose"], fixed, fixture.config["close_gripper"])
    objective = LatentDistance(goal[:, -1], scale=goal[0, -1].numel(), power=1)
    evaluate = Watched(evaluator(arm, Situation(now, torch.zeros(1, 0, 7)), objective))
    solver = search(
        args["samples"],
        args["topk"],
        num_iterations,
        args["momentum_mean"],
        args["momentum_std"],
        gripper["momentum_mean_gripper"],
        gripper["momentum_std_gripper"],
    )
    start = torch.zeros(1, args["rollout"], 4)
    return arm, solver(evaluate, moves(args["maxnorm"]), start, torch.Generator()), evaluate


def encoded(model: ActionConditioned, image: Tensor) -> Tensor:
    """Latents [1, 1, N, D] of an image [H, W, 3]."""
    return model.encode(image.permute(2, 0, 1)[None, None])


@torch.no_grad()
def test_images(fixture: Fixture, model: ActionConditioned) -> None:
    for name, which in (("rep", "current"), ("goal_rep", "goal")):
        assert_close(encoded(model, fixture.inputs[f"{which}_image"])[0], fixture.outputs[name], ATOL, name)


def test_every_iteration(fixture: Fixture, model: ActionConditioned, monkeypatch: pytest.MonkeyPatch) -> None:
    num = fixture.config["mpc_args"]["cem_steps"]
    arm, _, seen = planned(fixture, model, monkeypatch, num, {})
    for step in range(num):
        changes = arm.changes(seen.actions[step])
        assert_close(changes, fixture.outputs["actions"][step], ATOL, f"actions {step}")
        assert_close(seen.energies[step], fixture.outputs["energies"][step], ATOL, f"energies {step}")
        poses = [fixture.inputs["pose"][:, 0].expand(len(changes), -1)]
        poses.append(moved(poses[0], changes[:, 0]))
        assert_close(torch.stack(poses, 1), fixture.outputs["poses"][step], ATOL, f"poses {step}")


@pytest.mark.parametrize("num", [1, 2, 3, 4])
def test_plans(fixture: Fixture, model: ActionConditioned, monkeypatch: pytest.MonkeyPatch, num: int) -> None:
    arm, plan, _ = planned(fixture, model, monkeypatch, num, {})
    assert_close(arm.carried_out(plan.actions)[0], fixture.outputs[f"plan_after_{num}_steps"], ATOL)


def test_an_axis_that_is_fixed(fixture: Fixture, model: ActionConditioned, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = {int(axis): value for axis, value in fixture.config["args_axis"].items()}
    arm, plan, _ = planned(fixture, model, monkeypatch, fixture.config["mpc_args"]["cem_steps"], fixed)
    assert_close(arm.carried_out(plan.actions)[0], fixture.outputs["plan_with_fixed_axis"], ATOL)


def test_poses(fixture: Fixture) -> None:
    x, out = fixture.inputs, fixture.outputs
    assert_close(moved(x["pose_a"], x["pose_action"]), out["new_pose"], ATOL)
    assert_close(change_of_pose(x["pose_a"], x["pose_b"])[:, 0], out["pose_diff"], ATOL)
    there = change_of_pose(x["pose_a"], x["pose_b"])
    assert_close(moved(x["pose_a"], there)[..., :6], x["pose_b"][..., :6], ATOL)


def test_nothing_is_left(fixture: Fixture, tmp_path: Path) -> None:
    """Every output of the fixture is compared above."""
    assert set(fixture.outputs) == {
        *("rep", "goal_rep", "energies", "actions", "poses", "new_pose", "pose_diff", "plan_with_fixed_axis"),
        *(f"plan_after_{num}_steps" for num in (1, 2, 3, 4)),
    }
