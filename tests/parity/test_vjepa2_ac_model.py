"""The action-conditioned predictor of V-JEPA 2-AC against the published one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from craik.core.target import layer_normalize
from craik.core.tokens import Grid
from craik.nn.causal import frame_causal
from craik.nn.frame_predictor import FramePredictor
from craik.nn.perception import FrozenPatches
from craik.weights import vjepa2_ac
from tests.parity.golden import Fixture, assert_close, assert_output
from tests.parity.video import checkpoint, pair, weights_of

ATOL = 1e-5


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Fixture]) -> Fixture:
    return golden("vjepa2_ac")


@pytest.fixture(scope="module")
def networks(fixture: Fixture, tmp_path_factory: pytest.TempPathFactory) -> vjepa2_ac.LoadedActionConditioned:
    path = checkpoint(fixture, tmp_path_factory.mktemp("ac") / "ac.pt")
    c = fixture.config
    return vjepa2_ac.load(
        path,
        heads=c["encoder"]["num_heads"],
        predictor_heads=c["predictor"]["num_heads"],
        image_size=pair(c["encoder"]["img_size"]),
    )


def other(fixture: Fixture, name: str, extrinsics: bool) -> FramePredictor:
    """A predictor of the fixture that is no part of an official file."""
    c = fixture.config[name]
    grid = Grid(("h", "w"), tuple(side // c["patch_size"] for side in c["img_size"]))
    tensors = {key.removeprefix("module."): t for key, t in weights_of(fixture, name).items()}
    if not extrinsics:
        tensors = {key: t for key, t in tensors.items() if "extrinsics" not in key}
    told = vjepa2_ac.TOLD if extrinsics else vjepa2_ac.TOLD[:2]
    return vjepa2_ac.build_predictor(tensors, told, c["num_heads"], grid, name)


def frames(tokens: Tensor, grid: Grid) -> Tensor:
    """[B, T * N, D] -> [B, T, N, D]."""
    return tokens.unflatten(1, (-1, grid.num_tokens))


@torch.no_grad()
def test_predictor_and_its_blocks(fixture: Fixture, networks: vjepa2_ac.LoadedActionConditioned) -> None:
    x, told = fixture.inputs, [fixture.inputs["actions"], fixture.inputs["states"]]
    predictor = networks.predictor
    latents = frames(x["tokens"], predictor.grid)
    assert_output(predictor(latents, told).flatten(1, 2), fixture.outputs["predictor"], ATOL)
    for number, state in enumerate(predictor.states(latents, told)):
        assert_output(state, fixture.outputs[f"predictor.block{number}"], ATOL, f"block {number}")
    two = predictor(latents[:, :2], [t[:, :2] for t in told])
    assert_output(two.flatten(1, 2), fixture.outputs["predictor_first_2_frames"], ATOL)


@torch.no_grad()
def test_float64(fixture: Fixture, networks: vjepa2_ac.LoadedActionConditioned) -> None:
    x = {name: t.double() for name, t in fixture.inputs.items()}
    predictor = other(fixture, "predictor", extrinsics=False).double()
    ours = predictor(frames(x["tokens"], predictor.grid), [x["actions"], x["states"]])
    assert_close(ours.flatten(1, 2), fixture.outputs["predictor_f64"], 1e-9)


@torch.no_grad()
def test_extrinsics_and_a_frame_that_is_not_square(fixture: Fixture) -> None:
    x = fixture.inputs
    seeing = other(fixture, "predictor_extrinsics", extrinsics=True)
    ours = seeing(frames(x["tokens"], seeing.grid), [x["actions"], x["states"], x["extrinsics"]])
    assert_output(ours.flatten(1, 2), fixture.outputs["predictor_extrinsics"], ATOL)
    wide = other(fixture, "predictor_nonsquare", extrinsics=False)
    latents = frames(x["tokens_nonsquare"], wide.grid)
    told = [x[name][:, : latents.shape[1]] for name in ("actions", "states")]
    assert_output(wide(latents, told).flatten(1, 2), fixture.outputs["predictor_nonsquare"], ATOL)


def test_who_sees_whom(fixture: Fixture) -> None:
    golden = fixture.outputs["attention_mask_3_frames"].bool()
    assert torch.equal(frame_causal(3, len(golden) // 3), golden)


@torch.no_grad()
def test_frames_are_encoded_one_by_one_and_normalized(
    fixture: Fixture, networks: vjepa2_ac.LoadedActionConditioned
) -> None:
    clips = fixture.inputs["clips"].transpose(1, 2)  # [B, T, 3, H, W]
    latents = FrozenPatches(networks.encoder, layer_normalize)(clips.flatten(0, 1))
    ours = latents.unflatten(0, clips.shape[:2]).flatten(1, 2)
    assert_output(ours, fixture.outputs["target_tokens"], ATOL)


def test_what_the_file_carries_beside_the_model_is_named(fixture: Fixture, tmp_path: Path) -> None:
    path = checkpoint(fixture, tmp_path / "ac.pt")
    assert set(vjepa2_ac.info(path).extra) >= {"extrinsics_encoder.weight", "extrinsics_encoder.bias", "opt"}
