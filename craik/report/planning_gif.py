"""A planned episode as a GIF: what the agent sees, the goal beside it, and below what it imagines it will see."""

import io
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from craik.plan.recorded import Decision, Recorded
from craik.report.episodes import as_picture
from craik.report.style import BAD, GOOD, INK, RANDOM, STYLE, TRAINED, Picture, fit, spread_over

SIDE = 224  # of the two large frames [px]
PAD = 12
LINE = 26  # height of a line of text [px]
NUM_IMAGINED = 6
MILLISECONDS = 90  # per frame
HOLD = 12  # frames for which the end is shown
MOST_FRAMES = 240  # a longer episode is shown in larger steps

Nearest = Callable[[Tensor], NDArray[np.uint8]]
"""Real frames [K, H, W, C] whose latents are nearest to those imagined [K, D]."""


def planning_gif(recorded: Recorded, nearest: Nearest | None = None) -> bytes:
    """The GIF, as the bytes of its file.

    Args:
        recorded: The episode.
        nearest: Shows what a latent looks like; None leaves the imagined frames out.

    Raises:
        ValueError: If the episode has no frame.
    """
    pictures = list(canvases(recorded, nearest))
    if not pictures:
        raise ValueError("an episode without frames has no picture")
    palette = together(pictures).quantize(255, dither=Image.Dither.NONE)  # one for all: no flicker
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    durations = [MILLISECONDS] * (len(frames) - 1) + [HOLD * MILLISECONDS]
    buffer = io.BytesIO()
    # The step counter makes every picture another one, so that Pillow joins none and a step is a frame of the GIF.
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, disposal=1, optimize=False
    )
    return buffer.getvalue()


def canvases(recorded: Recorded, nearest: Nearest | None) -> Iterator[Image.Image]:
    """One picture per step."""
    goal = large(recorded.goal_frame)
    shown: tuple[Decision | None, list[Picture]] = (None, [])
    for step in spread_over(len(recorded.frames), MOST_FRAMES):
        decision = newest(recorded.decisions, step)
        if decision is not None and nearest is not None and decision is not shown[0]:
            shown = decision, imagined(decision, nearest)
        yield canvas(recorded, step, goal, shown, with_imagined=nearest is not None)


def canvas(
    recorded: Recorded, step: int, goal: Picture, shown: tuple[Decision | None, list[Picture]], *, with_imagined: bool
) -> Image.Image:
    """The picture of one step."""
    width, small = 3 * PAD + 2 * SIDE, small_side()
    height = 3 * LINE + 2 * PAD + SIDE + (LINE + small + PAD if with_imagined else 0)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.text((PAD, 6), f"step {step} of {len(recorded.frames) - 1}", INK, font=font(16))
    draw.text((PAD, LINE + 6), "agent", RANDOM, font=font(13))
    draw.text((2 * PAD + SIDE, LINE + 6), "goal", RANDOM, font=font(13))
    top = 2 * LINE
    image.paste(Image.fromarray(large(recorded.frames[step])), (PAD, top))
    image.paste(Image.fromarray(goal), (2 * PAD + SIDE, top))
    draw.text((PAD, top + SIDE + 5), *verdict(recorded, step), font=font(14))
    if with_imagined:
        top += SIDE + PAD + LINE
        decision, pictures = shown
        text = "imagined, nearest real frames" if decision is None else imagined_text(recorded, decision)
        draw.text((PAD, top), text, TRAINED, font=font(13))
        for number, picture in enumerate(pictures):
            image.paste(Image.fromarray(picture), (PAD + number * (small + PAD // 2), top + LINE))
    return image


def verdict(recorded: Recorded, step: int) -> tuple[str, str]:
    """Whether the goal is reached by now, and the color to say it in."""
    if recorded.reached is not None and step >= recorded.reached:
        return f"reached at step {recorded.reached}", GOOD
    if step == len(recorded.frames) - 1:
        return "not reached", BAD
    return "on the way", RANDOM


def imagined_text(recorded: Recorded, decision: Decision) -> str:
    """When the plan was made, and how far ahead the pictures are."""
    ahead = [(i + 1) * recorded.block for i in spread_over(len(decision.imagined), NUM_IMAGINED)]
    return f"imagined at step {decision.step}, nearest real frames: {', '.join(f'+{n}' for n in ahead)}"


def imagined(decision: Decision, nearest: Nearest) -> list[Picture]:
    """Small pictures of some of the latents that a plan was to lead to."""
    rows = spread_over(len(decision.imagined), NUM_IMAGINED)
    return [fit(as_picture(frame), small_side()) for frame in nearest(decision.imagined[rows])]


def newest(decisions: tuple[Decision, ...], step: int) -> Decision | None:
    """The plan that is carried out at a step."""
    made = [decision for decision in decisions if decision.step <= step]
    return made[-1] if made else None


def together(pictures: list[Image.Image]) -> Image.Image:
    """Some of the pictures below each other, and the colors of the texts, for a palette that fits all."""
    chosen = [pictures[i] for i in spread_over(len(pictures), 8)]
    colors = (INK, GOOD, BAD, RANDOM, TRAINED)
    width, height = chosen[0].size
    sheet = Image.new("RGB", (width, height * len(chosen) + SIDE))
    for row, picture in enumerate(chosen):
        sheet.paste(picture, (0, row * height))
    for column, color in enumerate(colors):  # thin letters alone would lose their color to larger areas
        left = column * width // len(colors)
        sheet.paste(color, (left, height * len(chosen), left + width // len(colors) + 1, sheet.height))
    return sheet


def large(frame: NDArray[np.uint8]) -> Picture:
    """A frame as one of the two large pictures."""
    return fit(as_picture(frame), SIDE)


def small_side() -> int:
    """Side of an imagined frame [px], so that all fit below the large ones."""
    return (2 * SIDE + PAD - (NUM_IMAGINED - 1) * (PAD // 2)) // NUM_IMAGINED


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font of all pictures."""
    return ImageFont.truetype(findfont(STYLE["font.family"]), size)
