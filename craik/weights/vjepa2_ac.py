"""The official checkpoint of V-JEPA 2-AC: a torch file with the frozen encoder and the action-conditioned predictor."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from craik.core.tokens import Grid
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.errors import UsageError
from craik.nn.encoder import Encoder
from craik.nn.frame_predictor import FramePredictor
from craik.weights import ijepa
from craik.weights.build import describe, fill, measure_trunk, need
from craik.weights.keys import KeyMap, hand_over
from craik.weights.loaded import PartInfo, WeightsInfo
from craik.weights.read import read_checkpoint
from craik.weights.video import ROTARY_FAMILIES, VideoShape, build_video_encoder, measure_video, video_rotary
from craik.weights.vjepa import encoder_keys, state_dict

PREFIX = "module."
"""Before every key: of distributed training."""
PREDICTOR_HEADS = 16
IMAGE = 256  # side of a frame [pixels]
NETWORKS = ("encoder", "predictor")
EXTRA = (*ijepa.EXTRA, "target_encoder")  # the same encoder once more: it never changes
TOLD = ("action_encoder", "state_encoder", "extrinsics_encoder")
UNUSED = {"encoder": ("pos_embed",), "predictor": ("extrinsics_encoder.weight", "extrinsics_encoder.bias")}
"""Tensors that real files carry and the model does not use: a table beside rotary positions, and what reads the pose of
the camera, which is not told unless it is asked for."""


@dataclass(frozen=True, slots=True)
class LoadedActionConditioned:
    """The networks of a file, float32, on the CPU, in evaluation mode."""

    encoder: Encoder
    """Of single frames; its tokens are layer-normalized before they are latents."""
    predictor: FramePredictor
    """Told raw actions, states and, where asked for, extrinsics."""
    image_size: tuple[int, int]
    """Height and width of a frame [pixels]."""
    mean: tuple[float, float, float]
    """Subtracted from each channel in [0, 1] before the encoder."""
    std: tuple[float, float, float]
    """Divides each channel."""
    name: str
    """For example "V-JEPA 2-AC ViT-g/16, 256 px"."""
    extra: tuple[str, ...]
    """Known entries and tensors that were left."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State dicts by network, without prefix and without what is not used."""

    path: Path
    networks: Mapping[str, Mapping[str, Tensor]]
    extra: tuple[str, ...]

    def shape(self) -> VideoShape:
        """Shape of the encoder."""
        return measure_video(self.networks["encoder"], encoder_keys(rotary=True), self.origin("encoder"))

    def name(self, shape: VideoShape, image: tuple[int, int]) -> str:
        """What people call the model."""
        return f"V-JEPA 2-AC {describe(shape.trunk, shape.patch, image)}"

    def origin(self, network: str) -> str:
        """Where a network's tensors are from, for messages."""
        return f"`{network}` of {self.path}"


def predictor_keys(num_told: int) -> KeyMap:
    """Names of the predictor's parameters, told so many things."""
    plain = {"embed": "predictor_embed", "trunk.norm": "predictor_norm", "proj": "predictor_proj"}
    plain |= {f"conditions.{number}": name for number, name in enumerate(TOLD[:num_told])}
    return KeyMap(plain, ijepa.PREDICTOR.block, ijepa.PREDICTOR.parts)


def is_action_conditioned(entries: Mapping[str, object]) -> bool:
    """Whether a torch checkpoint has a predictor that is told actions."""
    predictor = entries.get("predictor")
    return isinstance(predictor, dict) and any(str(key).endswith("action_encoder.weight") for key in predictor)


def read(path: Path, device: str = "cpu", extrinsics: bool = False) -> Checkpoint:
    """The networks of an official checkpoint; on device "meta" only their shapes.

    Raises:
        UsageError: If it is no such checkpoint, or has entries that the release does not have.
    """
    entries = read_checkpoint(path, device)
    unknown = sorted(entries.keys() - set(NETWORKS) - set(EXTRA))
    missing = [name for name in NETWORKS if name not in entries]
    if unknown or missing or not is_action_conditioned(entries):
        raise UsageError(
            f"{path} is not a V-JEPA 2-AC checkpoint: expected the entries encoder and predictor (and perhaps "
            f"{', '.join(EXTRA)}), with action_encoder.weight in the predictor; found {', '.join(sorted(entries)[:12])}"
            + (f"; unexpected: {', '.join(unknown[:12])}" if unknown else "")
        )
    unused = UNUSED | ({"predictor": ()} if extrinsics else {})
    every = {name: state_dict(path, name, entries[name]) for name in NETWORKS}
    used = {name: {k: t for k, t in tensors.items() if k not in unused[name]} for name, tensors in every.items()}
    left = sorted(key for name in NETWORKS for key in every[name] if key in unused[name])
    return Checkpoint(path, used, (*(name for name in EXTRA if name in entries), *left))


def info(path: Path, image_size: tuple[int, int] | None = None) -> WeightsInfo:
    """What an official checkpoint holds; arguments as of `load`."""
    checkpoint = read(path, "meta")
    shape = checkpoint.shape()
    image = image_size or (IMAGE, IMAGE)
    family = shape.trunk.family(ROTARY_FAMILIES)
    return WeightsInfo(
        path=path,
        layout="V-JEPA 2-AC checkpoint",
        name=checkpoint.name(shape, image),
        size=None if family is None else family[1],
        image_size=image,
        patch=shape.patch,
        parts=tuple(
            PartInfo(name, len(tensors), sum(tensor.numel() for tensor in tensors.values()))
            for name, tensors in checkpoint.networks.items()
        ),
        extra=checkpoint.extra,
        note="frames are encoded one by one; the predictor is told actions and states: craik train vjepa2_ac --init",
        frames=shape.tubelet,
        tubelet=shape.tubelet,
    )


def load(
    path: Path,
    *,
    heads: int | None = None,
    predictor_heads: int = PREDICTOR_HEADS,
    image_size: tuple[int, int] | None = None,
    extrinsics: bool = False,
) -> LoadedActionConditioned:
    """The networks of an official checkpoint.

    Args:
        path: The file.
        heads: Attention heads of the encoder, where its size is not a published one.
        predictor_heads: Those of the predictor; 16 as published.
        image_size: Height and width of a frame [pixels]; 256 x 256 as published.
        extrinsics: The predictor is told the pose of the camera too.

    Raises:
        UsageError: If the file differs from the release in any tensor but those it is known to leave over (`UNUSED`).
    """
    checkpoint = read(path, extrinsics=extrinsics)
    shape = checkpoint.shape()
    size = shape.trunk.size(heads, str(path), ROTARY_FAMILIES)
    image = image_size or (IMAGE, IMAGE)
    keys = encoder_keys(rotary=True)
    encoder = build_video_encoder(checkpoint.networks["encoder"], keys, size, shape, None, checkpoint.origin("encoder"))
    grid = Grid(("h", "w"), (image[0] // shape.patch[0], image[1] // shape.patch[1]))
    told = TOLD if extrinsics else TOLD[:2]
    origin = checkpoint.origin("predictor")
    return LoadedActionConditioned(
        encoder=encoder,
        predictor=build_predictor(checkpoint.networks["predictor"], told, predictor_heads, grid, origin),
        image_size=image,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        name=checkpoint.name(shape, image),
        extra=checkpoint.extra,
    )


def build_predictor(
    theirs: Mapping[str, Tensor], told: tuple[str, ...], heads: int, grid: Grid, origin: str
) -> FramePredictor:
    """The predictor with these weights, strictly; its number of heads cannot be read from the tensors."""
    keys = predictor_keys(len(told))
    embed = need(theirs, "predictor_embed.weight", 2, origin)
    size = measure_trunk(theirs, keys, embed.shape[0], origin).size(heads, origin)
    widths = [need(theirs, f"{name}.weight", 2, origin).shape[1] for name in told]
    with torch.device("meta"):
        predictor = FramePredictor(embed.shape[1], size, widths, grid, video_rotary(size))
    return fill(predictor, theirs, keys, origin)


def export(path: Path, encoder: Encoder, predictor: FramePredictor) -> Path:
    """Write networks as an official checkpoint file.

    Raises:
        UsageError: If the file exists, or the encoder is not of video.
    """
    if path.exists():
        raise UsageError(f"{path} exists; name a new file")
    tokenizer = encoder.tokenizer
    if len(tokenizer.patch) != 3 or encoder.position is not None:
        raise UsageError("V-JEPA 2-AC's layout holds an encoder of patches (t, h, w) with rotary positions")
    networks = {
        "encoder": hand_over(encoder.state_dict(), encoder_keys(True), tokenizer.channels, tokenizer.patch),
        "predictor": hand_over(predictor.state_dict(), predictor_keys(len(predictor.conditions)), 0, ()),
    }
    torch.save({name: {PREFIX + key: t for key, t in tensors.items()} for name, tensors in networks.items()}, path)
    return path
