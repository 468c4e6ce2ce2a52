"""Small random video networks."""

from craik.core import EMA, JEPA, Grid
from craik.core.energy import l1
from craik.nn.encoder import Encoder
from craik.nn.position import Rotary, Table
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from tests.weights.networks import noisy

SIZE, NARROW, GRID = Size(48, 2, 4, 2.0), Size(24, 2, 4), Grid(("t", "h", "w"), (2, 4, 4))


def encoder(rotary: bool, seed: int = 0) -> Encoder:
    """For clips of 4 frames of 32 px, patches of 2 x 8 x 8."""
    tokenizer = Patchify(3, (2, 8, 8), SIZE.width, ("t", "h", "w"))
    turned = Rotary(SIZE.width // SIZE.heads, 3, tiled=True) if rotary else None
    return noisy(Encoder(tokenizer, SIZE, None if rotary else Table(GRID, SIZE.width), turned), seed)


def predictor(rotary: bool, num_kinds: int, seed: int = 0) -> Predictor:
    turned = Rotary(NARROW.width // NARROW.heads, 3, tiled=True) if rotary else None
    position = None if rotary else Table(GRID, NARROW.width)
    return noisy(Predictor(SIZE.width, NARROW, GRID, position, turned, num_kinds=num_kinds), seed)


def jepa(rotary: bool, num_kinds: int, seed: int = 0) -> JEPA:
    slow = EMA(encoder(rotary, seed + 1))
    return JEPA(encoder(rotary, seed), slow, predictor(rotary, num_kinds, seed + 2), l1).eval()
