"""Keypoints: coordinates that follow what moves; two streams that share nothing."""

import pytest
import torch

from craik.nn.keypoints import SPREAD, Keypoints, lattice
from craik.nn.place_scene import PlaceScene


def bright(model: Keypoints) -> Keypoints:
    """Heat where a frame is bright, whatever the channel."""
    with torch.no_grad():
        for layer in (model.stem, model.conv, model.heat):
            layer.weight.zero_()
            layer.bias.zero_()
        model.stem.weight[0] = 1 / model.stem.weight[0].numel()
        model.conv.weight[0, 0, 1, 1] = 1.0
        model.heat.weight[:, 0] = 10.0
    return model


def test_keypoint_lies_where_the_map_is_hot() -> None:
    frames = torch.zeros(2, 3, 32, 48)
    frames[0, :, 4:8, 40:44] = 1.0  # row 1 of 8, column 10 of 12
    frames[1, :, 28:32, 0:4] = 1.0
    points = bright(Keypoints(4, 2))(frames).unflatten(1, (2, 2))
    expected = SPREAD * torch.tensor([[2 * 10 / 11 - 1, 2 * 1 / 7 - 1], [-1.0, 1.0]])
    torch.testing.assert_close(points, expected.unsqueeze(1).expand(-1, 2, -1), atol=1e-3, rtol=0)


def test_keypoint_is_finer_than_the_lattice() -> None:
    """Half way between two cells is half way between their coordinates."""
    frames = torch.zeros(3, 3, 32, 32)
    for number, shift in enumerate((0, 2, 4)):
        frames[number, :, 12:16, 8 + shift : 12 + shift] = 1.0
    left, between, right = bright(Keypoints(4, 1, sharpness=2.0))(frames)[:, 0].tolist()
    assert between == pytest.approx((left + right) / 2, abs=5e-3) and right - left == pytest.approx(SPREAD * 2 / 7)


def test_lattice_is_row_by_row() -> None:
    at = lattice(torch.zeros(1, 1, 2, 3))
    assert at.tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]


def test_fresh_maps_are_sharp_enough_to_learn() -> None:
    """With sharpness 1 the keypoints of different frames all but coincide."""
    torch.manual_seed(0)
    frames = torch.rand(64, 3, 32, 32)
    spread = {}
    for sharpness in (1.0, 10.0):
        torch.manual_seed(1)
        spread[sharpness] = float(Keypoints(8, 8, sharpness)(frames).detach().std(0).mean())
    assert spread[10.0] > 5 * spread[1.0]


def test_streams_share_nothing() -> None:
    torch.manual_seed(0)
    model = PlaceScene(Keypoints(4, 3), Keypoints(6, 5), num_place=2, num_scene=4, hidden=16)
    tokens = model(torch.rand(2, 3, 16, 16))
    assert tokens.x.shape == (2, 1, 6) == (2, 1, model.width)
    tokens.x[..., :2].sum().backward()
    assert all(p.grad.any() for p in (*model.place.parameters(), *model.to_place.parameters()))
    assert not any(p.grad.any() for p in (*model.scene.parameters(), *model.to_scene.parameters()))


def test_whole_frames_only() -> None:
    model = PlaceScene(Keypoints(4, 3), Keypoints(4, 3), num_place=2, num_scene=2, hidden=8)
    with pytest.raises(ValueError, match="whole frame"):
        model(torch.rand(1, 3, 16, 16), keep=torch.zeros(1, 2, dtype=torch.long))
