"""From the shapes of foreign tensors to the networks of a video model: V-JEPA's layouts have these in common."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from craik.core.tokens import Grid
from craik.errors import UsageError
from craik.nn import sizes
from craik.nn.encoder import Encoder
from craik.nn.position import Rotary, Table
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.weights.build import FAMILIES, TrunkShape, fill, measure_trunk, need
from craik.weights.keys import KeyMap

AXES = ("t", "h", "w")
ROTARY_FAMILIES = (*FAMILIES[:-1], ("ViT-g", sizes.GIANT_22), ("ViT-G", sizes.GIGANTIC))
"""V-JEPA 2 cuts the giant's width into 22 heads, where I-JEPA and V-JEPA 1 have 16."""


@dataclass(frozen=True, slots=True)
class VideoShape:
    """What tensors tell about a video encoder."""

    trunk: TrunkShape
    channels: int
    tubelet: int
    patch: tuple[int, int]
    num_positions: int | None = None
    """Of its table of positions; None where there is none."""

    def grid(self, frames: int, image: tuple[int, int] | None, default: int, origin: str) -> Grid:
        """Token lattice (t, h, w) of clips of so many frames [frames] and this size [pixels].

        Where no size is given, that of the position table with square frames, or else `default`.

        Raises:
            UsageError: If the position table is for another lattice.
        """
        times, num = max(1, frames // self.tubelet), self.num_positions
        if image is None and num is not None:
            side = math.isqrt(num // times)
            image = (side * self.patch[0], side * self.patch[1])
        height, width = image or (default, default)
        cells = (times, height // self.patch[0], width // self.patch[1])
        if num is not None and num != math.prod(cells):
            raise UsageError(
                f"{origin} has {num} positions, not {' x '.join(map(str, cells))} as for clips of "
                f"{frames} frames of {height} x {width} pixels; in Python give what it was made for: "
                "frames=... and image_size=(H, W)"
            )
        return Grid(AXES, cells)


def measure_video(theirs: Mapping[str, Tensor], keys: KeyMap, origin: str) -> VideoShape:
    """Shape of the encoder that the tensors make up."""
    stem = need(theirs, keys.theirs("tokenizer.proj.weight")[0], 5, origin)
    trunk = measure_trunk(theirs, keys, stem.shape[0], origin)
    num = None
    if "position.table" in keys.plain:
        num = need(theirs, keys.theirs("position.table")[0], 3, origin).shape[1]
    return VideoShape(trunk, stem.shape[1], stem.shape[2], (stem.shape[3], stem.shape[4]), num)


def video_rotary(size: Size, tiled: bool = True) -> Rotary:
    """Rotary positions of time, row and column for the heads of a trunk; V-JEPA 2's weights want them tiled."""
    return Rotary(size.width // size.heads, len(AXES), tiled=tiled)


def build_video_encoder(
    theirs: Mapping[str, Tensor], keys: KeyMap, size: Size, shape: VideoShape, grid: Grid | None, origin: str
) -> Encoder:
    """The encoder with these weights, strictly: with a table of positions on `grid`, or rotary where it is None."""
    with torch.device("meta"):
        tokenizer = Patchify(shape.channels, (shape.tubelet, *shape.patch), size.width, AXES)
        position = None if grid is None else Table(grid, size.width)
        encoder = Encoder(tokenizer, size, position, video_rotary(size) if grid is None else None)
    return fill(encoder, theirs, keys, origin)


def build_video_predictor(
    theirs: Mapping[str, Tensor], keys: KeyMap, heads: int, grid: Grid, rotary: bool, num_kinds: int, origin: str
) -> Predictor:
    """The predictor with these weights, strictly; its number of heads cannot be read from the tensors."""
    embed = need(theirs, keys.theirs("embed.weight")[0], 2, origin)
    size = measure_trunk(theirs, keys, embed.shape[0], origin).size(heads, origin)
    with torch.device("meta"):
        predictor = Predictor(
            embed.shape[1],
            size,
            grid,
            position=None if rotary else Table(grid, size.width),
            rotary=video_rotary(size) if rotary else None,
            num_kinds=num_kinds,
        )
    return fill(predictor, theirs, keys, origin)
