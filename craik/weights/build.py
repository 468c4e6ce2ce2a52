"""From the shapes of foreign tensors to an encoder or a predictor of that size, and to its name."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from craik.core.tokens import Grid
from craik.errors import UsageError
from craik.nn import sizes
from craik.nn.block import Block, Trunk
from craik.nn.encoder import Encoder
from craik.nn.position import Table
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.weights.keys import KeyMap, take_over

FAMILIES = (
    ("ViT-Ti", sizes.TINY),
    ("ViT-S", sizes.SMALL),
    ("ViT-B", sizes.BASE),
    ("ViT-L", sizes.LARGE),
    ("ViT-H", sizes.HUGE),
    ("ViT-g", sizes.GIANT),
)
M = TypeVar("M", bound=nn.Module)
Families = tuple[tuple[str, Size], ...]

COLUMN_FIRST = (1, 0)  # the published tables encode the column in the first half of their channels


@dataclass(frozen=True, slots=True)
class TrunkShape:
    """What tensors tell about a transformer: all but its number of heads."""

    width: int
    depth: int
    hidden: int

    def family(self, families: Families = FAMILIES) -> tuple[str, Size] | None:
        """Name and size of the published transformer of this shape, if there is one."""
        for name, size in families:
            if (size.width, size.depth, size.hidden) == (self.width, self.depth, self.hidden):
                return name, size
        return None

    def size(self, heads: int | None, origin: str, families: Families = FAMILIES) -> Size:
        """With the number of heads given, or else that of the published transformer of this shape.

        Raises:
            UsageError: If no number is given and the shape is not a published one, or if it does not divide the width.
        """
        if heads is None:
            family = self.family(families)
            if family is None:
                raise UsageError(
                    f"{origin}: the tensors do not tell the number of attention heads, and width {self.width} with "
                    f"{self.depth} blocks is no published size; give it with --heads (heads=... in Python)"
                )
            heads = family[1].heads
        if heads < 1 or self.width % heads:
            raise UsageError(f"{origin}: {heads} heads do not divide the width {self.width}; give another --heads")
        return Size(self.width, self.depth, heads, self.hidden / self.width)


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """What tensors tell about an encoder."""

    trunk: TrunkShape
    channels: int
    patch: tuple[int, int]
    num_tokens: int

    def grid(self, image_size: tuple[int, int] | None, origin: str) -> Grid:
        """Token lattice (h, w): that of image_size [pixels], or else a square one.

        Raises:
            UsageError: If the number of positions fits neither.
        """
        if image_size is None:
            side = math.isqrt(self.num_tokens)
            height, width = side, side
        else:
            height, width = (size // patch for size, patch in zip(image_size, self.patch, strict=True))
        if height * width != self.num_tokens:
            expected = "not a square" if image_size is None else f"not {height} x {width} as for {image_size} pixels"
            raise UsageError(
                f"{origin} has {self.num_tokens} positions, {expected}; "
                "in Python give the image size it was made for: craik.weights.load(path, image_size=(H, W))"
            )
        return Grid(("h", "w"), (height, width))


def measure_trunk(theirs: Mapping[str, Tensor], keys: KeyMap, width: int, origin: str) -> TrunkShape:
    """Depth and hidden width from the tensors of the blocks."""
    pattern = re.compile(re.escape(keys.block).replace(r"\{i\}", r"(\d+)"))
    numbers = [int(match.group(1)) for key in theirs if (match := pattern.match(key))]
    first = keys.theirs("trunk.blocks.0.mlp.fc1.weight")[0]
    return TrunkShape(width, max(numbers, default=0) + 1, need(theirs, first, 2, origin).shape[0])


def measure_encoder(theirs: Mapping[str, Tensor], keys: KeyMap, origin: str) -> EncoderShape:
    """Shape of the encoder that the tensors make up."""
    stem = need(theirs, keys.theirs("tokenizer.proj.weight")[0], 4, origin)
    table = need(theirs, keys.theirs("position.table")[0], 3, origin)
    trunk = measure_trunk(theirs, keys, stem.shape[0], origin)
    return EncoderShape(trunk, stem.shape[1], (stem.shape[2], stem.shape[3]), table.shape[1])


def need(theirs: Mapping[str, Tensor], key: str, ndim: int, origin: str) -> Tensor:
    """The tensor of that name and rank, or a message that names it."""
    tensor = theirs.get(key)
    if tensor is None or tensor.ndim != ndim:
        found = "is missing" if tensor is None else f"has shape {list(tensor.shape)}, expected {ndim} axes"
        raise UsageError(f"{origin}: {key} {found}; the file is cut short or from another release")
    return tensor


def build_encoder(
    theirs: Mapping[str, Tensor], keys: KeyMap, size: Size, shape: EncoderShape, grid: Grid, origin: str
) -> Encoder:
    """The encoder with these weights, strictly."""
    with torch.device("meta"):  # no time is spent on an initialization that is overwritten
        tokenizer = Patchify(shape.channels, shape.patch, size.width, ("h", "w"))
        encoder = Encoder(tokenizer, size, position=Table(grid, size.width, COLUMN_FIRST))
    return fill(encoder, theirs, keys, origin)


def build_predictor(theirs: Mapping[str, Tensor], keys: KeyMap, heads: int, grid: Grid, origin: str) -> Predictor:
    """The predictor with these weights, strictly; its number of heads cannot be read from the tensors."""
    embed = need(theirs, keys.theirs("embed.weight")[0], 2, origin)
    size = measure_trunk(theirs, keys, embed.shape[0], origin).size(heads, origin)
    with torch.device("meta"):
        predictor = Predictor(embed.shape[1], size, grid, position=Table(grid, size.width, COLUMN_FIRST))
    return fill(predictor, theirs, keys, origin)


def fill(module: M, theirs: Mapping[str, Tensor], keys: KeyMap, origin: str) -> M:
    """Give a module on the meta device its weights, in evaluation mode."""
    module.load_state_dict(take_over(theirs, module.state_dict(), keys, origin), assign=True)
    return module.eval()


def shape_of(trunk: Trunk) -> TrunkShape:
    """Shape of a trunk that was built."""
    mlp = first_block(trunk).mlp
    return TrunkShape(mlp.fc1.in_features, len(trunk.blocks), mlp.fc1.out_features)


def size_of(trunk: Trunk) -> Size:
    """Size of a trunk that was built."""
    shape = shape_of(trunk)
    return Size(shape.width, shape.depth, first_block(trunk).attn.heads, shape.hidden / shape.width)


def first_block(trunk: Trunk) -> Block:
    """The first block: all of a trunk have its size."""
    return cast(Block, trunk.blocks[0])


def describe(shape: TrunkShape, patch: tuple[int, ...], image: tuple[int, ...]) -> str:
    """For example "ViT-H/14, 224 px"."""
    family = shape.family()
    pixels = "x".join(str(size) for size in (image[:1] if len(set(image)) == 1 else image))
    cut = "x".join(str(size) for size in (patch[:1] if len(set(patch)) == 1 else patch))
    name = f"ViT {shape.width} wide, {shape.depth} deep, patch " if family is None else f"{family[0]}/"
    return f"{name}{cut}, {pixels} px"
