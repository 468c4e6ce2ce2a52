"""A video beside itself with the heat of its patches, and the curve of its surprise running along below."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from craik.report.heat_film import Cell, Curve, heated
from craik.report.planning_gif import font
from craik.report.style import BAD, GOOD, INK, RANDOM, TRAINED, Picture, fit, label, rgb, spread_over

SIDE, PAD, LINE, PLOT = 256, 12, 26, 110  # [px]
MOST_GIF = 240  # frames of a GIF: longer ones leave some out


def canvases(curve: Curve, cells: Iterable[Cell], low: float, high: float) -> Iterator[Picture]:
    """One picture per frame, uint8 [H, W, 3] with even sides; arguments as of `heat_film`."""
    ground = draw_ground(curve)
    for cell in cells:
        image = ground.copy()
        draw = ImageDraw.Draw(image)
        heat = heated(fit(cell.picture, SIDE), cell.heat, low, high)
        image.paste(Image.fromarray(fit(cell.picture, SIDE)), (PAD, LINE + PAD))
        image.paste(Image.fromarray(heat), (2 * PAD + SIDE, LINE + PAD))
        x = place(curve, cell.seconds)
        top = plot_top()
        draw.line([(x, top), (x, top + PLOT)], fill=INK, width=2)
        inside = any(begin <= cell.seconds < end for begin, end in curve.events)
        draw.text((PAD, 8), f"{cell.seconds:.2f} s", fill=BAD if inside else INK, font=font(15))
        yield np.asarray(image)


def plot_top() -> int:
    """Where the curve begins [px]."""
    return LINE + 2 * PAD + SIDE


def place(curve: Curve, seconds: float) -> int:
    """Column of a moment [px]."""
    return PAD + round(min(seconds / max(curve.end, 1e-9), 1.0) * (2 * SIDE + PAD))


def draw_ground(curve: Curve) -> Image.Image:
    """What is the same in all frames: texts, band, threshold, events and curve."""
    width, height = 3 * PAD + 2 * SIDE, plot_top() + PLOT + PAD
    image = Image.new("RGB", (width + width % 2, height + height % 2), "white")
    draw, top = ImageDraw.Draw(image), plot_top()
    low, high = curve.span

    def y(value: float) -> int:
        return top + round((1 - (value - low) / (high - low)) * PLOT)

    for begin, end in curve.events:
        draw.rectangle([place(curve, begin), top, place(curve, end), top + PLOT], fill=pale(BAD))
    if curve.ordinary is not None:
        band = [PAD, y(curve.ordinary.high), PAD + 2 * SIDE + PAD, y(curve.ordinary.low)]
        draw.rectangle(band, fill=pale(GOOD))
        draw.text((band[2] - 4, band[3] - 3), "ordinary", fill=GOOD, font=font(11), anchor="rs")
    if curve.threshold is not None:
        row = y(curve.threshold)
        for x in range(PAD, PAD + 2 * SIDE + PAD - 5, 10):
            draw.line([(x, row), (x + 5, row)], fill=BAD)
        draw.text((PAD + 4, row + 3), f"threshold {curve.threshold:.3g}", fill=BAD, font=font(11))
    points = [(place(curve, s), y(v)) for s, v in zip(curve.seconds, curve.surprise, strict=True)]
    draw.line(points, fill=TRAINED, width=2, joint="curve")
    for x, row in points:
        draw.ellipse([x - 2, row - 2, x + 2, row + 2], fill=TRAINED)
    draw.rectangle([PAD, top, PAD + 2 * SIDE + PAD, top + PLOT], outline="#bbbbbb")
    draw.text((2 * PAD + SIDE, 8), "heat: where it was surprised", fill=RANDOM, font=font(13))
    draw.text((PAD + 70, 8), label(curve.name, 22).replace(r"\$", "$"), fill=RANDOM, font=font(13))
    return image


def pale(color: str) -> tuple[int, int, int]:
    """A color as a light ground."""
    red, green, blue = (int(v) for v in (0.16 * rgb(color) + 0.84 * 255).round())
    return red, green, blue


def write_video(path: Path, pictures: Iterable[Picture], fps: float, count: int) -> Path:
    """Write an mp4; a GIF beside it where PyAV, or its H.264, is missing. Frames are taken one after the other.

    Args:
        path: Where to, ending in .mp4.
        pictures: uint8 [H, W, 3] of one size, H and W even.
        fps: Frames per second.
        count: How many pictures there are.

    Returns:
        The file that was written.
    """
    try:
        import av
    except ImportError:
        return write_gif(path.with_suffix(".gif"), pictures, fps, count)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    with av.open(str(partial), "w", format="mp4") as container:
        stream: Any = None
        for picture in pictures:
            if stream is None:
                codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
                stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                if codec == "libx264":
                    stream.options = {"crf": "18"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())
    partial.replace(path)
    return path


def write_gif(path: Path, pictures: Iterable[Picture], fps: float, count: int) -> Path:
    """As `write_video`, a GIF of at most `MOST_GIF` frames."""
    chosen = set(spread_over(count, MOST_GIF))
    images = (Image.fromarray(p) for number, p in enumerate(pictures) if number in chosen)
    first = next(images)
    path.parent.mkdir(parents=True, exist_ok=True)
    length = round(1000 * count / (fps * len(chosen)))
    first.save(path, "GIF", save_all=True, append_images=images, duration=length, loop=0)
    return path
