"""What the pictures of a report show: the images of a run as its encoder sees them, and what it makes of them."""

import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from craik import api
from craik.api import Model
from craik.core.tokens import Grid, Tokens
from craik.data.augment import normalize, resize_center_crop
from craik.data.clips import load_clips
from craik.data.images import ImageData, load_images
from craik.data.loader import read_samples
from craik.errors import UsageError
from craik.evaluate.features import Featurizer, extract
from craik.nn.conv import ConvEncoder
from craik.nn.mode import evaluating
from craik.pretrain import Data, storage_side
from craik.report.record import Json, Record
from craik.report.style import Picture, spread_over

SECONDS = 20.0  # that features of one encoder may take; fewer images are looked at where they would take longer
NUM_TOKEN_IMAGES = 64  # images whose tokens fix the colors of feature maps
NUM_SHOWN = 8  # images in a picture of maps
FEWEST_CELLS = 9  # of a grid that maps are drawn of
READ_WHOLE = 60_000  # images up to which data is read as the run did, which finds its cache


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything that the pictures of data need."""

    model: Model
    images: ImageData
    """What is looked at, at most the limit."""
    crops: list[Picture]
    """What the encoder sees of each, uint8 [S, S, 3]."""
    embeddings: dict[str, Tensor]
    """[N, D] by encoder: trained, random encoder."""
    shown: list[int]
    """Images whose tokens are drawn."""
    tokens: dict[str, Tensor]
    """[M, T, D] by encoder, of images spread over all; the first len(shown) are those shown."""
    grid: Grid


def open_model(run: Path, device: str, notes: list[str]) -> Model | None:
    """The model of a run; None, with a note, before it was first written, or where it does not load."""
    if not (run / "model" / "model.safetensors").exists():
        notes.append("No model was saved yet: only the curves are drawn. Report again after the first checkpoint.")
        return None
    try:
        return api.load(run, device=device)
    except UsageError as error:
        notes.append(f"The model cannot be loaded, so only the curves are drawn: {error}")
        return None


def open_data(model: Model, record: Record, path: str | None, limit: int, notes: list[str]) -> ImageData | None:
    """The images to look at; None, with a note, where those of the run are gone."""
    stored: Json = record.config.get("data") or {}
    known = {f.name for f in fields(Data)}
    data = Data(**{key: value for key, value in stored.items() if key in known})
    if path is not None:
        data = replace(Data(), data=path, limit=limit)
    elif (stored.get("images") or stored.get("clips") or 0) > READ_WHOLE:
        data = replace(data, limit=min(limit, data.limit or limit))
    try:
        images = read_data(model, data)
    except UsageError as error:
        if path is not None:
            raise
        notes.append(
            f"The data of the run cannot be read, so only curves are drawn ({error}). "
            f"Give another place: craik report {record.path} --data PATH"
        )
        return None
    if path is not None:
        notes.append(f"Pictures show {path}, not the data of the run.")
    elif len(images) == stored.get("images", stored.get("clips")) and images.fingerprint != stored.get("fingerprint"):
        notes.append(f"{data.data} has changed since the run: pictures show it as it is now.")
    return images


def read_data(model: Model, data: Data) -> ImageData:
    """The images of a run, or its clips where the model takes these."""
    view, clip, labels = model.recipe.view.size, model.recipe.clip, data.spec()
    if clip is not None:
        return load_clips(
            data.data,
            clip=clip,
            view=view,
            labels=labels,
            split=data.split,
            limit=data.limit,
            max_bad_fraction=data.max_bad_fraction,
        )
    return load_images(
        data.data,
        size=storage_side(data.data, view, labels=labels, split=data.split),
        labels=labels,
        split=data.split,
        limit=data.limit,
        max_bad_fraction=data.max_bad_fraction,
    )


def look(model: Model, images: ImageData, limit: int, record: Record) -> Scene:
    """Crops, embeddings and tokens of a bounded number of images."""
    encoders = {"trained": model.encoder, "random encoder": random_encoder(model, record)}
    featurizer = model.featurizer()
    chosen = images.subset(np.array(spread_over(len(images), min(limit, affordable(featurizer, images)))))
    embeddings = {name: extract(replace(featurizer, encoder=e), chosen, batch=64) for name, e in encoders.items()}
    crops = crop(chosen, model.recipe.view.size)
    first = spread_over(len(chosen), NUM_SHOWN)
    rest = [i for i in spread_over(len(chosen), NUM_TOKEN_IMAGES) if i not in first]
    x = as_input(model, [crops[i] for i in [*first, *rest]])
    tokens = {}
    for name, encoder in encoders.items():
        with evaluating(encoder), torch.inference_mode():
            parts = [cells(encoder, part) for part in x.split(16)]
        tokens[name] = torch.cat([part.x.float().cpu() for part in parts])
    height, width = (int(n) + 1 for n in parts[0].at[0].amax(0))
    return Scene(model, chosen, crops, embeddings, first, tokens, Grid(("h", "w"), (height, width)))


def cells(encoder: nn.Module, x: Tensor) -> Tokens:
    """Tokens to draw maps of: the last ones, or those of the last stage of a ConvNet that has cells enough."""
    if not isinstance(encoder, ConvEncoder):
        tokens: Tokens = encoder(x)
        return tokens
    maps = encoder.features(x)
    fine = [features for features in maps if features[0, 0].numel() >= FEWEST_CELLS]
    return encoder.tokens((fine or maps)[-1])


def random_encoder(model: Model, record: Record) -> nn.Module:
    """The same architecture with fresh weights, as the probe of the run has it."""
    return model.untrained(int(record.config.get("conduct", {}).get("seed", 0)) + 1).encoder


def affordable(featurizer: Featurizer, images: ImageData) -> int:
    """How many images can be embedded in `SECONDS`; at least 64."""
    few = images.subset(np.arange(min(8, len(images))))
    extract(featurizer, few)
    began = time.perf_counter()
    extract(featurizer, few)
    return max(64, int(SECONDS / (time.perf_counter() - began) * len(few)))


def crop(images: ImageData, size: int) -> list[Picture]:
    """What an encoder sees of each image, uint8 [S, S, 3]."""
    out: list[Picture] = []
    for rows in np.array_split(np.arange(len(images)), max(1, -(-len(images) // 256))):
        samples = read_samples(images, rows)
        x = resize_center_crop(samples.x, samples.sizes, size)
        out += list(to_pictures(x))
    return out


def to_pictures(x: Tensor) -> np.ndarray:
    """Images [B, 3, S, S] in [0, 1] as uint8 [B, S, S, 3]."""
    return np.asarray(x.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu())


def as_input(model: Model, crops: list[Picture]) -> Tensor:
    """Crops as the encoder wants them, [B, 3, S, S]."""
    view = model.recipe.view
    x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div(255)
    return normalize(x, view.mean, view.std).to(model.device)


def denormalize(model: Model, x: Tensor) -> Tensor:
    """Network input [B, 3, S, S] back to [0, 1]."""
    view = model.recipe.view
    mean, std = (torch.tensor(v, device=x.device).view(3, 1, 1) for v in (view.mean, view.std))
    return x * std + mean
