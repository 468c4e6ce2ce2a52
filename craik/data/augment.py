"""Augmentations of whole batches, on any device, each sample with its own randomness.

Parameters are drawn on the CPU from the generator that is passed in, so a batch is augmented alike on every
device. Canvases come squashed to a square (see `ImageData`); crops are drawn in the geometry of the original
image and resampled from the canvas in one go.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GRAY_WEIGHTS = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601; torchvision rounds the first to 0.2989
_YIQ = (GRAY_WEIGHTS, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))  # luma and two axes of color (NTSC)
# Canvases above this side [px] are resampled byte by byte on a CPU. Measured on one AVX-512 core, 256 -> 224:
# 8 ms an image as matrix products in float32, 0.9 ms in bytes; at 64 px both take 0.14 ms.
_BYTES_ABOVE = 64
_TRIES = 10  # of the classic RandomResizedCrop, before it falls back to the center


def random_resized_crop(
    x: Tensor,
    sizes: Tensor,
    out: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    rng: Generator,
    flip_prob: float = 0.0,
) -> Tensor:
    """Crops at random, flips at random, and resizes, in one resampling.

    The crop is the classic one of Inception: area a fraction of the original's, log-uniform aspect, up to ten
    tries, then the largest centered crop that keeps the aspect inside `ratio`.

    Args:
        x: canvases, uint8 [B, 3, S, S], or [B, T, 3, S, S] of clips, whose frames are all cropped alike.
        sizes: (height, width) of the originals [px], int [B, 2].
        out: side of the result [px].
        scale: range of the area as a fraction of the original's.
        ratio: range of width over height.
        rng: a CPU generator.
        flip_prob: probability to mirror left and right.

    Returns:
        float32 [B, 3, out, out], or [B, T, 3, out, out], in [0, 1].
    """
    boxes = draw_crops(sizes.cpu(), scale, ratio, rng)
    flip = torch.rand(len(x), generator=rng) < flip_prob
    return resample(x, _to_canvas(boxes, sizes.cpu(), x.shape[-1]), out, flip)


class Crops(NamedTuple):
    """Crops, and where they lie."""

    images: Tensor
    """float32 [B, 3, out, out] in [0, 1]."""
    boxes: Tensor
    """(top, left, height, width) in the original, flipped where the crop is [fraction], float32 [B, 4]."""


def random_crop_pair(
    x: Tensor,
    sizes: Tensor,
    out: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    rng: Generator,
    flip_prob: float = 0.0,
) -> tuple[Crops, Crops]:
    """Two crops of each image as `random_resized_crop` draws them, both flipped or none, and where they lie."""
    sizes = sizes.cpu()
    boxes = [draw_crops(sizes, scale, ratio, rng) for _ in range(2)]
    flip = torch.rand(len(x), generator=rng) < flip_prob
    pair = []
    for box in boxes:
        images = resample(x, _to_canvas(box, sizes, x.shape[-1]), out, flip)
        top, left, height, width = (box / sizes.double().repeat(1, 2)).unbind(1)
        left = torch.where(flip, 1.0 - left - width, left)
        pair.append(Crops(images, torch.stack([top, left, height, width], 1).float().to(x.device)))
    return pair[0], pair[1]


def draw_crops(sizes: Tensor, scale: tuple[float, float], ratio: tuple[float, float], rng: Generator) -> Tensor:
    """Draws crops (top, left, height, width) in whole pixels of the originals; float64 [B, 4].

    Args:
        sizes: (height, width) [px], [B, 2] on the CPU.
        scale: range of the area as a fraction of the original's.
        ratio: range of width over height.
        rng: a CPU generator; the same amount is drawn whatever the sizes are.
    """
    draws = torch.rand(len(sizes), 2 * _TRIES + 2, generator=rng, dtype=torch.float64)
    height, width = sizes.double().unbind(1)
    area = (height * width)[:, None] * (scale[0] + (scale[1] - scale[0]) * draws[:, :_TRIES])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * draws[:, _TRIES : 2 * _TRIES])
    wide, tall = torch.sqrt(area * aspect).round(), torch.sqrt(area / aspect).round()
    fits = (wide > 0) & (wide <= width[:, None]) & (tall > 0) & (tall <= height[:, None])
    first = fits.int().argmax(1, keepdim=True)
    found = fits.any(1)
    # The fallback: the whole image, cut to the nearest allowed aspect, in the center.
    rest_w = torch.minimum(width, (height * ratio[1]).round()).clamp_min(1)
    rest_h = torch.minimum(height, (width / ratio[0]).round()).clamp_min(1)
    h = torch.where(found, tall.gather(1, first)[:, 0], rest_h)
    w = torch.where(found, wide.gather(1, first)[:, 0], rest_w)
    top = torch.where(found, (draws[:, -2] * (height - h + 1)).floor(), ((height - h) / 2).floor())
    left = torch.where(found, (draws[:, -1] * (width - w + 1)).floor(), ((width - w) / 2).floor())
    return torch.stack([top, left, h, w], dim=1)


def resize_center_crop(x: Tensor, sizes: Tensor, out: int) -> Tensor:
    """The view for evaluation: the short side resized to `out`, the center square cut out.

    Args:
        x: canvases, uint8 [B, 3, S, S], or [B, T, 3, S, S] of clips.
        sizes: (height, width) of the originals [px], int [B, 2].
        out: side of the result [px].

    Returns:
        float32 [B, 3, out, out], or [B, T, 3, out, out], in [0, 1]; exactly x / 255 where the original is square and S
        is `out`.
    """
    sizes = sizes.cpu().double()
    if out == x.shape[-1] and bool((sizes[:, 0] == sizes[:, 1]).all()):
        return x.float().div_(255.0)
    side = sizes.amin(1)
    boxes = torch.stack([(sizes[:, 0] - side) / 2, (sizes[:, 1] - side) / 2, side, side], dim=1)
    return resample(x, _to_canvas(boxes, sizes, x.shape[-1]), out)


def resample(x: Tensor, boxes: Tensor, out: int, flip: Tensor | None = None) -> Tensor:
    """Resizes a box of each canvas to a square, bilinear with antialiasing (as Pillow's BILINEAR).

    On a CPU, boxes of canvases larger than 64 px are rounded to whole canvas pixels.

    Args:
        x: canvases, uint8 [B, 3, S, S], or [B, T, 3, S, S] of clips, with one box for all frames of each.
        boxes: (top, left, height, width) in canvas pixels, float [B, 4] on the CPU.
        out: side of the result [px].
        flip: which to mirror left and right, bool [B]; none by default.

    Returns:
        float32 [B, 3, out, out], or [B, T, 3, out, out], in [0, 1].
    """
    if x.ndim == 5:  # the frames of a clip are so many more channels
        return resample(x.flatten(1, 2), boxes, out, flip).unflatten(1, x.shape[1:3])
    if x.device.type == "cpu" and x.shape[-1] > _BYTES_ABOVE:
        return _resample_bytes(x, boxes, out, flip)
    batch, channels, side, _ = x.shape
    top, left, height, width = boxes.unbind(1)
    rows, columns = _weights(top, height, side, out), _weights(left, width, side, out, flip)
    rows, columns = rows.to(x.device, non_blocking=True), columns.to(x.device, non_blocking=True)
    # Two products of whole matrices: columns for the rows [y, c], then rows for the columns [c, x].
    canvas = x.transpose(1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    with torch.autocast(x.device.type, enabled=False):
        wide = torch.bmm(canvas.view(batch, side * channels, side), columns.mT)
        y = torch.bmm(rows, wide.view(batch, side, channels * out))
    y = y.div_(255.0).clamp_(0.0, 1.0)
    return y.view(batch, out, channels, out).transpose(1, 2).contiguous()


def _resample_bytes(x: Tensor, boxes: Tensor, out: int, flip: Tensor | None) -> Tensor:
    """The same on a CPU for large canvases, ten times faster: boxes in whole pixels, results in 1/255."""
    side = x.shape[-1]
    low = boxes[:, :2].round().clamp(0, side - 1)
    high = torch.maximum((boxes[:, :2] + boxes[:, 2:]).round().clamp(max=side), low + 1)
    y = torch.empty((len(x), x.shape[1], out, out), dtype=torch.uint8)
    corners = torch.cat([low, high], dim=1).int().tolist()
    for row, (top, left, bottom, right) in enumerate(corners):
        frames = x[row].unflatten(0, (-1, 3))
        crop = frames[..., top:bottom, left:right].contiguous(memory_format=torch.channels_last)
        if crop.shape[-2:] != (out, out):
            crop = F.interpolate(crop, size=(out, out), mode="bilinear", antialias=True)
        y[row] = crop.flatten(0, 1)
    if flip is not None:
        y[flip] = y[flip].flip(3)
    return y.float().div_(255.0)


def _to_canvas(boxes: Tensor, sizes: Tensor, side: int) -> Tensor:
    """Boxes in pixels of the originals, as boxes in pixels of their squashed canvases."""
    return boxes * (side / sizes.double()).repeat(1, 2)


def _weights(start: Tensor, length: Tensor, side: int, out: int, mirror: Tensor | None = None) -> Tensor:
    """How much each canvas pixel counts for each pixel of the result, float32 [B, out, S]; rows sum to 1."""
    start, step = start.float(), length.float() / out
    support = step.clamp_min(1.0)  # smaller results average over more pixels
    if mirror is not None:
        start, step = torch.where(mirror, start + length.float(), start), torch.where(mirror, -step, step)
    center = start[:, None] + (torch.arange(out) + 0.5) * step[:, None]
    distance = ((torch.arange(side) + 0.5) - center[:, :, None]).div_(support[:, None, None])
    weights = torch.rsub(distance.abs_(), 1.0).relu_()
    return weights.div_(weights.sum(2, keepdim=True))


def normalize(x: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """Subtracts the mean of each channel and divides by its standard deviation; x [..., 3, H, W]."""
    shift = torch.tensor(mean, dtype=x.dtype, device=x.device)[:, None, None]
    return (x - shift).div_(torch.tensor(std, dtype=x.dtype, device=x.device)[:, None, None])


class Jitter(NamedTuple):
    """How far colors are changed."""

    brightness: float = 0.0
    """Factors are uniform in 1 ± this, and never below 0."""
    contrast: float = 0.0
    """As `brightness`, about the mean gray of the image."""
    saturation: float = 0.0
    """As `brightness`, about the gray of each pixel."""
    hue: float = 0.0
    """Turns of the color wheel, uniform in ± this; at most 0.5."""


def color_jitter(x: Tensor, jitter: Jitter, *, prob: float = 1.0, rng: Generator) -> Tensor:
    """Changes brightness, contrast, saturation and hue of some samples, in an order drawn for the batch.

    Args:
        x: images in [0, 1], float [B, 3, H, W].
        jitter: how far.
        prob: probability that a sample is changed at all.
        rng: a CPU generator.
    """
    chosen = _draw_chosen(len(x), prob, rng)
    draws = torch.rand(4, len(x), generator=rng)[:, chosen]
    order = torch.randperm(4, generator=rng).tolist()
    if not len(chosen) or not any(jitter):
        return x
    chosen = chosen.to(x.device)
    y = x[chosen]
    for kind in order:
        strength = jitter[kind]
        if not strength:
            continue
        if kind == 3:
            y = rotate_hue(y, ((2.0 * draws[kind] - 1.0) * strength).to(x.device))
        else:
            y = _adjust(y, kind, _factors(draws[kind], strength).to(x)[:, None, None, None])
    return x.index_copy(0, chosen, y)


def _adjust(x: Tensor, kind: int, factor: Tensor) -> Tensor:
    """Moves images away from black (0), from their mean gray (1) or from the gray of each pixel (2)."""
    if kind == 0:
        return (x * factor).clamp_(0.0, 1.0)
    anchor = to_gray(x) if kind == 2 else to_gray(x).mean((2, 3), keepdim=True)
    return (anchor + factor * (x - anchor)).clamp_(0.0, 1.0)


def recolor(x: Tensor, jitter: Jitter, *, prob: float = 1.0, gray_prob: float = 0.0, rng: Generator) -> Tensor:
    """Color jitter and loss of color in one pass: changes are linear in color, so those of an image are one matrix.

    Four times faster on small images than `color_jitter` and `grayscale` one after the other, and not quite the same:
    hue is turned about the gray axis at unchanged luma (YIQ) instead of along the edge of the color cube (HSV),
    the order is fixed (hue and saturation, contrast, brightness), and colors are cut to [0, 1] once, at the end.

    Args:
        x: images in [0, 1], float [B, 3, H, W].
        jitter: how far.
        prob: probability that a sample's colors are jittered.
        gray_prob: probability that a sample loses its color.
        rng: a CPU generator.
    """
    draws = torch.rand(6, len(x), generator=rng)
    jittered = draws[0] < prob
    light, spread, color = (
        torch.where(jittered, _factors(draws[row], strength), 1.0)
        for row, strength in ((1, jitter.brightness), (2, jitter.contrast), (3, jitter.saturation))
    )
    color = torch.where(draws[5] < gray_prob, 0.0, color)
    angle = jittered * (2.0 * draws[4] - 1.0) * (2.0 * math.pi * jitter.hue)
    turn = torch.zeros(len(x), 3, 3)
    turn[:, 0, 0] = 1.0
    turn[:, 1, 1] = turn[:, 2, 2] = color * angle.cos()
    turn[:, 2, 1] = color * angle.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    to_yiq = torch.tensor(_YIQ)
    matrix = torch.linalg.inv(to_yiq) @ turn @ to_yiq * (light * spread)[:, None, None]
    pixels = x.flatten(2)
    gray = torch.einsum("bc,c->b", pixels.mean(2), to_yiq[0].to(x))
    shift = ((light * (1.0 - spread)).to(x) * gray)[:, None, None].expand(-1, 3, 1)
    with torch.autocast(x.device.type, enabled=False):
        return torch.baddbmm(shift, matrix.to(x), pixels).clamp_(0.0, 1.0).view_as(x)


def _factors(draws: Tensor, strength: float) -> Tensor:
    """Uniform draws in [0, 1) as factors uniform in 1 ± strength, never below 0."""
    low = max(0.0, 1.0 - strength)
    return low + (1.0 + strength - low) * draws


def rotate_hue(x: Tensor, turns: Tensor) -> Tensor:
    """Turns the hue of each image, at unchanged saturation and value (HSV).

    Args:
        x: images in [0, 1], float [B, 3, H, W].
        turns: of the color wheel, [B]; 1/3 takes red to green.
    """
    red, green, blue = x.unbind(1)
    value = x.amax(1)
    chroma = value - x.amin(1)
    safe = chroma.clamp_min(1e-12)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    hue = hue + 6.0 * turns.to(x)[:, None, None]
    # Each channel falls off linearly with the distance of the hue from its own: value - chroma * ramp.
    offset = torch.tensor([5.0, 3.0, 1.0], dtype=x.dtype, device=x.device)[:, None, None]
    place = (hue[:, None] + offset).remainder(6.0)
    ramp = torch.minimum(place, 4.0 - place).clamp(0.0, 1.0)
    return value[:, None] - chroma[:, None] * ramp


def to_gray(x: Tensor) -> Tensor:
    """Luma of images [B, 3, H, W], as [B, 1, H, W]."""
    red, green, blue = x.unbind(1)
    return (GRAY_WEIGHTS[0] * red + GRAY_WEIGHTS[1] * green + GRAY_WEIGHTS[2] * blue)[:, None]


def grayscale(x: Tensor, *, prob: float, rng: Generator) -> Tensor:
    """Takes the color out of some samples; x float [B, 3, H, W]."""
    chosen = _draw_chosen(len(x), prob, rng).to(x.device)
    return x.index_copy(0, chosen, to_gray(x[chosen]).expand(-1, 3, -1, -1)) if len(chosen) else x


def solarize(x: Tensor, *, prob: float, rng: Generator, threshold: float = 0.5) -> Tensor:
    """Inverts the pixels from `threshold` on in some samples; x in [0, 1], float [B, 3, H, W]."""
    chosen = _draw_chosen(len(x), prob, rng).to(x.device)
    if not len(chosen):
        return x
    y = x[chosen]
    return x.index_copy(0, chosen, torch.where(y >= threshold, 1.0 - y, y))


def gaussian_blur(x: Tensor, *, prob: float, rng: Generator, sigma: tuple[float, float] = (0.1, 2.0)) -> Tensor:
    """Blurs some samples, each with its own width; borders are mirrored.

    Args:
        x: images, float [B, 3, H, W].
        prob: probability that a sample is blurred.
        rng: a CPU generator.
        sigma: range of the standard deviation [px of x], uniform.
    """
    chosen = _draw_chosen(len(x), prob, rng)
    widths = (sigma[0] + (sigma[1] - sigma[0]) * torch.rand(len(x), generator=rng))[chosen]
    if not len(chosen):
        return x
    chosen, (height, width) = chosen.to(x.device), x.shape[2:]
    reach = min(math.ceil(3.0 * sigma[1]), height - 1, width - 1)
    taps = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-0.5 * (taps / widths[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(x).repeat_interleave(x.shape[1], 0)[:, None]
    y = F.pad(x[chosen].reshape(1, -1, height, width), (reach,) * 4, mode="reflect")
    y = F.conv2d(y, kernel[:, :, :, None], groups=len(kernel))
    y = F.conv2d(y, kernel[:, :, None, :], groups=len(kernel))
    return x.index_copy(0, chosen, y.view(len(chosen), -1, height, width))


def _draw_chosen(count: int, prob: float, rng: Generator) -> Tensor:
    """Which samples an augmentation changes, int64 on the CPU; one number is drawn for each sample."""
    return torch.nonzero(torch.rand(count, generator=rng) < prob)[:, 0]
