"""The official I-JEPA checkpoint: a torch file with encoder, target_encoder and predictor."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.errors import UsageError
from craik.nn.encoder import Encoder
from craik.weights.build import EncoderShape, build_encoder, build_predictor, describe, measure_encoder
from craik.weights.keys import KeyMap
from craik.weights.loaded import LoadedWeights, PartInfo, WeightsInfo
from craik.weights.read import read_checkpoint

IN_BLOCK = {part: (part,) for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")}
ENCODER = KeyMap(
    plain={"tokenizer.proj": "patch_embed.proj", "position.table": "pos_embed", "trunk.norm": "norm"},
    block="blocks.{i}.",
    parts=IN_BLOCK,
)
PREDICTOR = KeyMap(
    plain={
        "embed": "predictor_embed",
        "mask_token": "mask_token",
        "position.table": "predictor_pos_embed",
        "trunk.norm": "predictor_norm",
        "proj": "predictor_proj",
    },
    block="predictor_blocks.{i}.",
    parts=IN_BLOCK,
)
NETWORKS = ("encoder", "target_encoder", "predictor")
EXTRA = ("opt", "scaler", "epoch", "loss", "batch_size", "world_size", "lr")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State dicts by network, without the prefix of distributed training."""

    path: Path
    networks: Mapping[str, Mapping[str, Tensor]]
    extra: tuple[str, ...]

    def shape(self) -> EncoderShape:
        """Shape of the encoders."""
        name = next(name for name in ("target_encoder", "encoder") if name in self.networks)
        return measure_encoder(self.networks[name], ENCODER, self.origin(name))

    def origin(self, network: str) -> str:
        """Where a network's tensors are from, for messages."""
        return f"`{network}` of {self.path}"


def read(path: Path, device: str = "cpu") -> Checkpoint:
    """The networks of an official checkpoint; on device "meta" only their shapes.

    Raises:
        UsageError: If it is no such checkpoint, or has entries that no release has.
    """
    entries = read_checkpoint(path, device)
    networks = {name: state_dict(path, name, entries[name]) for name in NETWORKS if name in entries}
    unknown = sorted(entries.keys() - set(NETWORKS) - set(EXTRA))
    if unknown or not networks.keys() & {"encoder", "target_encoder"}:
        raise UsageError(
            f"{path} is not an I-JEPA checkpoint: expected the entries {', '.join(NETWORKS)} "
            f"(and perhaps {', '.join(EXTRA)}), found {', '.join(sorted(entries)[:12]) or 'none'}"
            + (f"; unexpected: {', '.join(unknown[:12])}" if unknown else "")
        )
    return Checkpoint(path, networks, tuple(name for name in EXTRA if name in entries))


def state_dict(path: Path, name: str, entry: object) -> dict[str, Tensor]:
    """The tensors of one entry without the prefix `module.`."""
    if not isinstance(entry, dict) or not all(isinstance(value, Tensor) for value in entry.values()):
        raise UsageError(f"entry `{name}` of {path} is not a dictionary of tensors; is this an I-JEPA checkpoint?")
    if any(key.startswith("module.backbone.") for key in entry):
        raise UsageError(f"{path} looks like a V-JEPA checkpoint (module.backbone...); expected an I-JEPA one")
    prefix = "module." if entry and all(key.startswith("module.") for key in entry) else ""
    return {key.removeprefix(prefix): tensor for key, tensor in entry.items()}


def info(path: Path) -> WeightsInfo:
    """What an official checkpoint holds."""
    checkpoint = read(path, "meta")
    shape = checkpoint.shape()
    grid = shape.grid(None, str(path))
    image = (grid.shape[0] * shape.patch[0], grid.shape[1] * shape.patch[1])
    family = shape.trunk.family()
    return WeightsInfo(
        path=path,
        layout="I-JEPA checkpoint",
        name=f"I-JEPA {describe(shape.trunk, shape.patch, image)}",
        size=None if family is None else family[1],
        image_size=image,
        patch=shape.patch,
        parts=tuple(
            PartInfo(name, len(tensors), sum(tensor.numel() for tensor in tensors.values()))
            for name, tensors in checkpoint.networks.items()
        ),
        extra=checkpoint.extra,
        note="the paper evaluates target_encoder",
    )


def load(
    path: Path,
    which: str = "target_encoder",
    heads: int | None = None,
    image_size: tuple[int, int] | None = None,
    predictor_heads: int | None = None,
) -> LoadedWeights:
    """The networks of an official checkpoint.

    Args:
        path: The file.
        which: "target_encoder", which the paper evaluates, or "encoder".
        heads: Attention heads, where the size is not a published one.
        image_size: Height and width the table was made for [pixels], where the grid is not square.
        predictor_heads: As `heads` for the predictor; published with those of the encoder.
    """
    checkpoint = read(path)
    if which not in checkpoint.networks:
        raise UsageError(f"{path} has no `{which}`; it holds {', '.join(checkpoint.networks)}: ask for another")
    shape = checkpoint.shape()
    size = shape.trunk.size(heads, str(path))
    grid = shape.grid(image_size, str(path))

    def encoder(name: str) -> Encoder:
        tensors = checkpoint.networks[name]
        return build_encoder(tensors, ENCODER, size, shape, grid, checkpoint.origin(name))

    chosen = encoder(which)
    target, predictor = None, None
    if "target_encoder" in checkpoint.networks:
        target = chosen if which == "target_encoder" else encoder("target_encoder")
    if "predictor" in checkpoint.networks:
        tensors, origin = checkpoint.networks["predictor"], checkpoint.origin("predictor")
        predictor = build_predictor(tensors, PREDICTOR, predictor_heads or size.heads, grid, origin)
    image = (grid.shape[0] * shape.patch[0], grid.shape[1] * shape.patch[1])
    return LoadedWeights(
        encoder=chosen,
        predictor=predictor,
        target_encoder=target,
        classifier=None,
        image_size=image,
        patch=shape.patch,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        name=f"I-JEPA {describe(shape.trunk, shape.patch, image)}",
    )
