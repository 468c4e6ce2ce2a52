"""Frames of any size as a model sees them."""

import pytest
import torch

from craik.data.view import center_square


def test_frames_of_the_right_size_are_their_pixels() -> None:
    frames = torch.randint(0, 256, (2, 3, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(center_square(frames, 8), frames.float() / 255)
    assert torch.equal(center_square(frames.float() / 255, 8), frames.float() / 255)


def test_the_middle_is_kept_and_the_aspect_too() -> None:
    wide = torch.zeros(1, 1, 1, 8, 24, dtype=torch.uint8)
    wide[..., 8:16] = 255
    seen = center_square(wide, 4)
    assert seen.shape == (1, 1, 3, 4, 4)
    assert float(seen[..., 1:3].min()) == 1  # the outer columns mix with what was cut off
    assert float(center_square(wide.mT, 4)[..., 1:3, :].min()) == 1


def test_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels"):
        center_square(torch.zeros(1, 2, 8, 8), 8)
