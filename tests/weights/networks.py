"""Small random networks, and their tensors as an official checkpoint has them."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from craik.core import EMA, JEPA, Grid
from craik.core.energy import smooth_l1
from craik.nn.encoder import Encoder
from craik.nn.position import Table
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.weights.ijepa import ENCODER, PREDICTOR
from craik.weights.keys import hand_over

M = TypeVar("M", bound=nn.Module)
SIZE, NARROW = Size(48, 2, 4, 2.0), Size(24, 2, 4)


def encoder(size: Size = SIZE, image: int = 32, patch: int = 8, seed: int = 0) -> Encoder:
    tokenizer = Patchify(3, (patch, patch), size.width, ("h", "w"))
    return noisy(Encoder(tokenizer, size, position=Table(square(image // patch), size.width, (1, 0))), seed)


def predictor(width: int = SIZE.width, size: Size = NARROW, side: int = 4, seed: int = 0) -> Predictor:
    return noisy(Predictor(width, size, square(side), position=Table(square(side), size.width, (1, 0))), seed)


def jepa(size: Size = SIZE, narrow: Size = NARROW, image: int = 32, patch: int = 8, seed: int = 0) -> JEPA:
    model = JEPA(
        encoder(size, image, patch, seed),
        EMA(encoder(size, image, patch, seed + 1)),
        predictor(size.width, narrow, image // patch, seed + 2),
        smooth_l1,
    )
    return model.eval()


def square(side: int) -> Grid:
    return Grid(("h", "w"), (side, side))


@torch.no_grad()
def noisy(module: M, seed: int) -> M:
    """Every parameter moved, so that none is hidden by a zero or a one."""
    rng = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter += 0.2 * torch.randn(parameter.shape, generator=rng)
    return module.eval()


def entries(model: JEPA, prefix: str = "module.") -> dict[str, Any]:
    """The networks of a model under their official names."""
    return {
        "encoder": published(model.encoder, prefix),
        "target_encoder": published(model.target.encoder, prefix),
        "predictor": published(model.predictor, prefix),
    }


def published(network: Encoder | Predictor, prefix: str = "module.") -> dict[str, Tensor]:
    patch = network.tokenizer.patch if isinstance(network, Encoder) else ()
    keys = ENCODER if isinstance(network, Encoder) else PREDICTOR
    return {prefix + key: tensor for key, tensor in hand_over(network.state_dict(), keys, 3, patch).items()}


def save(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path
