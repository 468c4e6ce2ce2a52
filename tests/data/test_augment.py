"""Augmentations against closed forms and against Pillow."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image

from craik.data import augment
from craik.data.augment import Jitter


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def canvases(batch: int = 6, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, generator=seeded(1))


def square(batch: int, side: int) -> torch.Tensor:
    return torch.full((batch, 2), side, dtype=torch.int32)


def pillow(x: torch.Tensor, box: tuple[float, float, float, float], out: int) -> torch.Tensor:
    """Pillow's bilinear resize of a box (top, left, height, width), in floats, of one canvas."""
    top, left, height, width = box
    corners = (left, top, left + width, top + height)
    planes = [
        np.asarray(Image.fromarray(p.float().numpy()).resize((out, out), Image.Resampling.BILINEAR, box=corners))
        for p in x
    ]
    return torch.from_numpy(np.stack(planes)) / 255


@pytest.mark.parametrize("side", [32, 96])
def test_a_crop_of_everything_at_its_own_size_is_the_image(side):
    x = canvases(4, side)
    y = augment.random_resized_crop(x, square(4, side), side, scale=(1.0, 1.0), ratio=(1.0, 1.0), rng=seeded())
    assert y.dtype == torch.float32 and torch.equal(y, x.float() / 255)
    assert torch.equal(augment.resize_center_crop(x, square(4, side), side), x.float() / 255)


@pytest.mark.parametrize("side", [32, 96])
def test_flip_is_exact(side):
    x = canvases(4, side)
    options = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    y = augment.random_resized_crop(x, square(4, side), side, **options, flip_prob=1.0, rng=seeded())
    assert torch.equal(y, x.flip(3).float() / 255)
    y = augment.random_resized_crop(canvases(400, 8), square(400, 8), 8, **options, flip_prob=0.5, rng=seeded())
    flipped = (y == canvases(400, 8).flip(3).float() / 255).flatten(1).all(1)
    assert 150 < int(flipped.sum()) < 250
    assert torch.equal(y[~flipped], canvases(400, 8)[~flipped].float() / 255)


@pytest.mark.parametrize("out", [16, 24, 32, 50])
def test_resampling_equals_pillow(out):
    x = canvases(4)
    boxes = torch.tensor([[0, 0, 32, 32], [3, 5, 20, 9], [0.4, 7.25, 11.5, 24.75], [30, 0, 2, 32]], dtype=torch.double)
    y = augment.resample(x, boxes, out)
    for row in range(4):
        torch.testing.assert_close(y[row], pillow(x[row], tuple(boxes[row].tolist()), out), atol=2e-5, rtol=0)


def test_large_canvases_on_a_cpu_give_the_same_to_a_byte():
    smooth = torch.nn.functional.interpolate(canvases(3, 8).float(), size=(160, 160), mode="bicubic")
    x = smooth.clamp(0, 255).to(torch.uint8)
    boxes = torch.tensor([[0, 0, 160, 160], [20, 30, 100, 60], [5.0, 0, 80, 155]], dtype=torch.double)
    y = augment.resample(x, boxes, 96)
    crops = [x[row, :, int(t) : int(t + h), int(w) : int(w + v)] for row, (t, w, h, v) in enumerate(boxes)]
    for row, crop in enumerate(crops):
        wanted = pillow(crop, (0, 0, *crop.shape[1:]), 96)
        assert (y[row] - wanted).abs().max() < 1.1 / 255


def test_crops_follow_the_classic_rule():
    sizes = torch.tensor([[300, 400]]).expand(4000, 2)
    boxes = augment.draw_crops(sizes, (0.2, 1.0), (3 / 4, 4 / 3), seeded())
    top, left, height, width = boxes.unbind(1)
    assert (boxes == boxes.round()).all()
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 300).all() and (left + width <= 400).all()
    area, aspect = height * width / 120_000, width / height
    assert area.min() > 0.195 and area.max() <= 1.0 and 0.4 < area.mean() < 0.62
    assert aspect.min() > 0.74 and aspect.max() < 1.35
    free = augment.draw_crops(torch.tensor([[1000, 1000]]).expand(4000, 2), (0.3, 0.5), (3 / 4, 4 / 3), seeded())
    assert abs(float((free[:, 2] * free[:, 3]).mean()) / 1e6 - 0.4) < 0.005
    assert abs(float((free[:, 3] / free[:, 2]).log().mean())) < 0.01
    place = free[:, 0] / (1000 - free[:, 2])
    assert abs(float(place.mean()) - 0.5) < 0.02 and float(place.max()) > 0.98 and float(place.min()) < 0.02


def test_crops_that_never_fit_fall_back_to_the_center():
    sizes = torch.tensor([[10, 1000], [1000, 10], [100, 100]])
    wide, tall, whole = augment.draw_crops(sizes, (1.0, 1.0), (3 / 4, 4 / 3), seeded()).tolist()
    assert wide == [0.0, 493.0, 10.0, 13.0] and tall == [493.0, 0.0, 13.0, 10.0]
    assert whole[2] >= 75


def test_crops_are_drawn_in_the_original_and_mapped_to_the_canvas():
    # An original of 64 x 32, squashed to 32 x 32: its center square is half of the rows of the canvas.
    x = canvases(1)
    y = augment.resize_center_crop(x, torch.tensor([[64, 32]]), 32)
    torch.testing.assert_close(y[0], pillow(x[0], (8, 0, 16, 32), 32), atol=2e-5, rtol=0)
    mixed = augment.resize_center_crop(canvases(2), torch.tensor([[64, 32], [50, 50]]), 32)
    assert torch.equal(mixed[1], canvases(2)[1].float() / 255)


@pytest.mark.parametrize("side", [32, 96])
def test_samples_do_not_depend_on_their_neighbors(side):
    options = {"scale": (0.2, 1.0), "flip_prob": 0.5}
    x, sizes = canvases(6, side), square(6, side)
    y = augment.random_resized_crop(x, sizes, 24, rng=seeded(3), **options)
    changed = x.clone()
    changed[2] = 0
    z = augment.random_resized_crop(changed, sizes, 24, rng=seeded(3), **options)
    rest = torch.tensor([0, 1, 3, 4, 5])
    assert torch.equal(y[rest], z[rest]) and not torch.equal(y[2], z[2])
    assert (
        len(
            {
                sample.numpy().tobytes()
                for sample in augment.random_resized_crop(
                    x[:1].expand(6, -1, -1, -1), sizes, 24, rng=seeded(3), **options
                )
            }
        )
        == 6
    )


def test_normalize():
    x = torch.tensor(augment.IMAGENET_MEAN)[None, :, None, None].expand(2, 3, 4, 4)
    assert augment.normalize(x).abs().max() == 0
    one = augment.normalize(x + torch.tensor(augment.IMAGENET_STD)[:, None, None])
    torch.testing.assert_close(one, torch.ones_like(one))


def test_gray_weights():
    pure = torch.eye(3)[:, :, None, None].expand(3, 3, 2, 2)
    gray = augment.grayscale(pure, prob=1.0, rng=seeded())
    for channel, weight in enumerate(augment.GRAY_WEIGHTS):
        torch.testing.assert_close(gray[channel], torch.full((3, 2, 2), weight))


def test_hue_turns_pure_colors_into_each_other():
    red = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand(4, 3, 2, 2)
    turned = augment.rotate_hue(red, torch.tensor([0.0, 1 / 3, -1 / 3, 0.5]))
    wanted = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 1.0, 1.0]])
    torch.testing.assert_close(turned[:, :, 0, 0], wanted, atol=1e-6, rtol=0)
    gray = torch.full((1, 3, 2, 2), 0.3)
    torch.testing.assert_close(augment.rotate_hue(gray, torch.tensor([0.4])), gray)


def test_hue_equals_the_hsv_definition():
    x = torch.rand(5, 3, 4, 4, generator=seeded())
    turns = torch.tensor([0.1, -0.37, 0.5, 0.02, -0.5])
    y = augment.rotate_hue(x, turns)
    for row in range(5):
        for pixel, seen in zip(x[row].flatten(1).T.tolist(), y[row].flatten(1).T.tolist(), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            wanted = colorsys.hsv_to_rgb((hue + float(turns[row])) % 1.0, saturation, value)
            assert seen == pytest.approx(wanted, abs=1e-5)


def test_brightness_contrast_and_saturation_stay_in_their_ranges():
    x = torch.rand(200, 3, 6, 6, generator=seeded()) * 0.2 + 0.3
    factor = (augment.color_jitter(x, Jitter(brightness=0.5), rng=seeded()) / x).flatten(1)
    torch.testing.assert_close(factor.amax(1), factor.amin(1))  # one factor for each sample
    assert 0.5 <= factor.min() < 0.55 and 1.45 < factor.max() <= 1.5
    flat = augment.color_jitter(x, Jitter(contrast=0.5), rng=seeded())
    torch.testing.assert_close(augment.to_gray(flat).mean((1, 2, 3)), augment.to_gray(x).mean((1, 2, 3)))
    pale = augment.color_jitter(x, Jitter(saturation=0.5), rng=seeded())
    torch.testing.assert_close(augment.to_gray(pale), augment.to_gray(x))
    assert (pale - x).abs().max() > 0.01
    assert torch.equal(augment.color_jitter(x, Jitter(), rng=seeded()), x)


@pytest.mark.parametrize(
    "change",
    [
        lambda x, prob, rng: augment.color_jitter(x, Jitter(brightness=0.4, contrast=0.4, hue=0.1), prob=prob, rng=rng),
        lambda x, prob, rng: augment.grayscale(x, prob=prob, rng=rng),
        lambda x, prob, rng: augment.solarize(x, prob=prob, rng=rng),
        lambda x, prob, rng: augment.gaussian_blur(x, prob=prob, rng=rng, sigma=(0.5, 2.0)),
    ],
)
def test_probabilities_pick_samples_and_leave_the_others_alone(change):
    x = torch.rand(400, 3, 8, 8, generator=seeded())
    kept = x.clone()
    y = change(x, 0.3, seeded(5))
    assert torch.equal(x, kept)  # the input is not written to
    touched = (y != x).flatten(1).any(1)
    assert 80 < int(touched.sum()) < 160
    assert torch.equal(change(x, 0.0, seeded(5)), x)
    assert (change(x, 1.0, seeded(5)) != x).flatten(1).any(1).all()
    assert torch.equal(y, change(x, 0.3, seeded(5))) and y.min() >= 0 and y.max() <= 1 + 1e-6


def test_solarize_inverts_the_bright():
    x = torch.tensor([0.0, 0.2, 0.5, 0.9]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    y = augment.solarize(x, prob=1.0, rng=seeded())
    torch.testing.assert_close(y[0, 0].flatten(), torch.tensor([0.0, 0.2, 0.5, 0.1]))


def test_blur_is_a_gaussian():
    x = torch.zeros(1, 3, 33, 33)
    x[..., 16, 16] = 1.0
    y = augment.gaussian_blur(x, prob=1.0, rng=seeded(), sigma=(1.5, 1.5))[0, 0]
    at = torch.arange(33) - 16.0
    wanted = torch.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2)) / (2 * torch.pi * 1.5**2)
    torch.testing.assert_close(y, wanted, atol=2e-4, rtol=0)
    flat = torch.full((1, 3, 16, 16), 0.7)
    torch.testing.assert_close(augment.gaussian_blur(flat, prob=1.0, rng=seeded()), flat)


def test_recolor_does_what_the_single_changes_do():
    x = 0.3 + 0.3 * torch.rand(64, 3, 4, 4, generator=seeded())  # nothing is cut at 0 or 1
    factor = (augment.recolor(x, Jitter(brightness=0.5), rng=seeded()) / x).flatten(1)
    assert torch.allclose(factor, factor[:, :1], atol=1e-4) and factor.min() < 0.7 and factor.max() > 1.3
    flat = augment.recolor(x, Jitter(contrast=0.5), rng=seeded())
    assert torch.allclose(augment.to_gray(flat).mean((2, 3)), augment.to_gray(x).mean((2, 3)), atol=1e-4)
    spread = augment.to_gray(flat).flatten(1).std(1) / augment.to_gray(x).flatten(1).std(1)
    assert spread.min() < 0.7 and spread.max() > 1.3
    turned = augment.recolor(x, Jitter(hue=0.5, saturation=0.5), rng=seeded())
    torch.testing.assert_close(augment.to_gray(turned), augment.to_gray(x), atol=1e-4, rtol=0)
    assert not torch.allclose(turned, x, atol=0.05)
    torch.testing.assert_close(augment.recolor(x, Jitter(), rng=seeded()), x, atol=1e-5, rtol=0)
    pale = augment.recolor(x, Jitter(), gray_prob=1.0, rng=seeded())
    torch.testing.assert_close(pale, augment.to_gray(x).expand(-1, 3, -1, -1), atol=1e-4, rtol=0)


def test_recolor_leaves_the_rest_alone_and_stays_in_range():
    x = torch.rand(400, 3, 4, 4, generator=seeded())
    y = augment.recolor(
        x, Jitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2), prob=0.8, gray_prob=0.2, rng=seeded()
    )
    same = (x - y).abs().amax((1, 2, 3)) < 1e-4
    assert 0.1 < float(same.float().mean()) < 0.22  # 0.2 x 0.8
    gray = (y.amax(1) - y.amin(1)).amax((1, 2)) < 1e-4
    assert 0.14 < float(gray.float().mean()) < 0.27
    assert y.min() >= 0 and y.max() <= 1


def test_a_pair_of_crops_knows_where_each_lies() -> None:
    """The images hold their own coordinates, so that a crop's colors tell its box; flipped ones are mirrored first."""
    side = 32
    ramp = torch.arange(side, dtype=torch.uint8) * 8
    x = torch.stack([ramp[:, None].expand(side, side), ramp.expand(side, side), torch.zeros(side, side).byte()])
    x = x.expand(64, -1, -1, -1).contiguous()
    for flip_prob in (0.0, 1.0):
        pair = augment.random_crop_pair(x, square(64, side), 8, scale=(0.2, 0.6), rng=seeded(), flip_prob=flip_prob)
        assert not torch.equal(pair[0].boxes, pair[1].boxes)
        for images, boxes in pair:
            top, left, height, width = (boxes * side).unbind(1)
            row = images[:, 0].mean((1, 2)) * 255 / 8 + 0.5
            column = images[:, 1].mean((1, 2)) * 255 / 8 + 0.5
            torch.testing.assert_close(row, top + height / 2, atol=0.3, rtol=0)
            middle = left + width / 2
            torch.testing.assert_close(column, side - middle if flip_prob else middle, atol=0.3, rtol=0)
    originals = torch.tensor([[40, 80]]).expand(64, 2)
    _, (_, boxes) = augment.random_crop_pair(x, originals, 8, scale=(0.2, 0.6), rng=seeded())
    area = boxes[:, 2] * boxes[:, 3]
    assert (
        area.min() > 0.17 and area.max() < 0.63 and boxes.min() >= 0 and (boxes[:, :2] + boxes[:, 2:]).max() <= 1.0001
    )
