"""The official checkpoints of V-JEPA and V-JEPA 2: torch files with encoder, target_encoder and predictor.

Both have one layout. They differ in positions (tables, and rotary ones with V-JEPA 2's slip), in the heads of the
giant and of the predictor, and in the number of mask tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.errors import UsageError
from craik.nn.encoder import Encoder
from craik.nn.predictor import Predictor
from craik.weights import ijepa
from craik.weights.build import FAMILIES, Families, describe
from craik.weights.keys import KeyMap, hand_over
from craik.weights.loaded import LoadedWeights, PartInfo, WeightsInfo
from craik.weights.read import read_checkpoint
from craik.weights.video import (
    ROTARY_FAMILIES,
    VideoShape,
    build_video_encoder,
    build_video_predictor,
    measure_video,
)

PREFIX = "module.backbone."
"""Before every key: of distributed training, and of the wrapper for several masks."""


@dataclass(frozen=True, slots=True)
class Release:
    """What tells the files of one release from those of another."""

    name: str
    rotary: bool
    families: Families
    frames: int
    """Frames of a clip, where the file does not tell."""
    image: int
    """Side of a frame where the file does not tell [pixels]."""
    predictor_heads: int | None
    """None: those of the encoder."""
    unused: tuple[str, ...]
    """Keys that real files carry and the model does not use."""


VJEPA = Release("V-JEPA", False, FAMILIES, 16, 224, None, unused=())
VJEPA2 = Release("V-JEPA 2", True, ROTARY_FAMILIES, 64, 256, 12, unused=("pos_embed", "predictor_pos_embed"))
RELEASES = {"vjepa": VJEPA, "vjepa2": VJEPA2}
ReleaseName = Literal["vjepa", "vjepa2"]
NUM_TOKENS_1 = 2  # mask tokens of V-JEPA 1, one for each of its masks; V-JEPA 2 has 10


def encoder_keys(rotary: bool) -> KeyMap:
    """Names of an encoder's parameters: I-JEPA's, without a table where positions are rotary."""
    plain = {ours: theirs for ours, theirs in ijepa.ENCODER.plain.items() if not (rotary and ours == "position.table")}
    return KeyMap(plain, ijepa.ENCODER.block, ijepa.ENCODER.parts)


def predictor_keys(rotary: bool, num_kinds: int) -> KeyMap:
    """Names of a predictor's parameters: I-JEPA's, with a list of mask tokens."""
    plain = {ours: theirs for ours, theirs in ijepa.PREDICTOR.plain.items() if not (rotary and "table" in ours)}
    plain |= {"mask_token": "mask_tokens.0"}
    plain |= {f"other_tokens.{i - 1}": f"mask_tokens.{i}" for i in range(1, num_kinds)}
    return KeyMap(plain, ijepa.PREDICTOR.block, ijepa.PREDICTOR.parts)


def count_kinds(predictor: Mapping[str, Tensor]) -> int:
    """Number of mask tokens."""
    return sum(key.startswith("mask_tokens.") for key in predictor)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State dicts by network, without prefix and without what the release does not use."""

    path: Path
    release: Release
    networks: Mapping[str, Mapping[str, Tensor]]
    extra: tuple[str, ...]
    """Known entries and tensors that are not used."""

    def shape(self) -> VideoShape:
        """Shape of the encoders."""
        name = next(name for name in ("target_encoder", "encoder") if name in self.networks)
        return measure_video(self.networks[name], encoder_keys(self.release.rotary), self.origin(name))

    def origin(self, network: str) -> str:
        """Where a network's tensors are from, for messages."""
        return f"`{network}` of {self.path}"


def is_video(entries: Mapping[str, object]) -> bool:
    """Whether a torch checkpoint is of a video model: its patches have three axes."""
    for name in ("target_encoder", "encoder"):
        tensors = entries.get(name)
        if isinstance(tensors, dict):
            stems = [value for key, value in tensors.items() if str(key).endswith("patch_embed.proj.weight")]
            return any(isinstance(stem, Tensor) and stem.ndim == 5 for stem in stems)
    return False


def read(path: Path, release: ReleaseName | None = None, device: str = "cpu") -> Checkpoint:
    """The networks of an official checkpoint; on device "meta" only their shapes.

    Raises:
        UsageError: If it is no such checkpoint, has entries that no release has, or does not tell its release.
    """
    entries = read_checkpoint(path, device)
    networks = {name: state_dict(path, name, entries[name]) for name in ijepa.NETWORKS if name in entries}
    unknown = sorted(entries.keys() - set(ijepa.NETWORKS) - set(ijepa.EXTRA))
    if unknown or not networks.keys() & {"encoder", "target_encoder"}:
        raise UsageError(
            f"{path} is not a V-JEPA checkpoint: expected the entries {', '.join(ijepa.NETWORKS)} "
            f"(and perhaps {', '.join(ijepa.EXTRA)}), found {', '.join(sorted(entries)[:12]) or 'none'}"
            + (f"; unexpected: {', '.join(unknown[:12])}" if unknown else "")
        )
    found = RELEASES[release] if release is not None else tell_release(path, networks)
    used = {
        name: {key: tensor for key, tensor in tensors.items() if key not in found.unused}
        for name, tensors in networks.items()
    }
    left = sorted({key for tensors in networks.values() for key in tensors if key in found.unused})
    extra = (*(name for name in ijepa.EXTRA if name in entries), *left)
    return Checkpoint(path, found, used, extra)


def state_dict(path: Path, name: str, entry: object) -> dict[str, Tensor]:
    """The tensors of one entry without the prefixes `module.` and `backbone.`."""
    if not isinstance(entry, dict) or not all(isinstance(value, Tensor) for value in entry.values()):
        raise UsageError(f"entry `{name}` of {path} is not a dictionary of tensors; is this a V-JEPA checkpoint?")
    tensors = dict(entry)
    for prefix in ("module.", "backbone."):
        if tensors and all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return tensors


def tell_release(path: Path, networks: Mapping[str, Mapping[str, Tensor]]) -> Release:
    """V-JEPA 2 where there is no position table; else it may have one left over, and the mask tokens tell."""
    encoder = networks.get("target_encoder") or networks["encoder"]
    if "pos_embed" not in encoder:
        return VJEPA2
    if "predictor" not in networks:
        raise UsageError(
            f"{path} may be of V-JEPA 1 or of V-JEPA 2, which leaves unused position tables in its files, and holds "
            'no predictor that would tell; in Python say which: release="vjepa" or release="vjepa2"'
        )
    return VJEPA if count_kinds(networks["predictor"]) <= NUM_TOKENS_1 else VJEPA2


def info(
    path: Path,
    *,
    image_size: tuple[int, int] | None = None,
    frames: int | None = None,
    release: ReleaseName | None = None,
) -> WeightsInfo:
    """What an official checkpoint holds; arguments as of `load`."""
    checkpoint = read(path, release, "meta")
    shape, found = checkpoint.shape(), checkpoint.release
    grid = shape.grid(frames or found.frames, image_size, found.image, str(path))
    image = (grid.shape[1] * shape.patch[0], grid.shape[2] * shape.patch[1])
    family = shape.trunk.family(found.families)
    return WeightsInfo(
        path=path,
        layout=f"{found.name} checkpoint",
        name=f"{found.name} {describe(shape.trunk, shape.patch, image)}",
        size=None if family is None else family[1],
        image_size=image,
        patch=shape.patch,
        parts=tuple(
            PartInfo(name, len(tensors), sum(tensor.numel() for tensor in tensors.values()))
            for name, tensors in checkpoint.networks.items()
        ),
        extra=checkpoint.extra,
        note="the papers evaluate target_encoder",
        frames=grid.shape[0] * shape.tubelet,
        tubelet=shape.tubelet,
    )


def load(
    path: Path,
    which: str = "target_encoder",
    *,
    heads: int | None = None,
    predictor_heads: int | None = None,
    image_size: tuple[int, int] | None = None,
    frames: int | None = None,
    release: ReleaseName | None = None,
) -> LoadedWeights:
    """The networks of an official checkpoint.

    Args:
        path: The file.
        which: "target_encoder", which the papers evaluate, or "encoder".
        heads: Attention heads, where the size is not a published one.
        predictor_heads: As `heads` for the predictor; published: the encoder's in V-JEPA 1, 12 in V-JEPA 2.
        image_size: Height and width of a frame [pixels], where frames are not square or the file does not tell.
        frames: Frames of a clip; published 16 in V-JEPA 1 and 64 in V-JEPA 2.
        release: "vjepa" or "vjepa2", where the file does not tell.

    Raises:
        UsageError: If the file differs from its release in any tensor but those that the release is known to leave
            over (`Release.unused`).
    """
    checkpoint = read(path, release)
    if which not in checkpoint.networks:
        raise UsageError(f"{path} has no `{which}`; it holds {', '.join(checkpoint.networks)}: ask for another")
    found, shape = checkpoint.release, checkpoint.shape()
    size = shape.trunk.size(heads, str(path), found.families)
    grid = shape.grid(frames or found.frames, image_size, found.image, str(path))

    def encoder(name: str) -> Encoder:
        tensors, keys = checkpoint.networks[name], encoder_keys(found.rotary)
        return build_video_encoder(tensors, keys, size, shape, None if found.rotary else grid, checkpoint.origin(name))

    chosen = encoder(which)
    target, predictor = None, None
    if "target_encoder" in checkpoint.networks:
        target = chosen if which == "target_encoder" else encoder("target_encoder")
    if "predictor" in checkpoint.networks:
        tensors, origin = checkpoint.networks["predictor"], checkpoint.origin("predictor")
        kinds = max(1, count_kinds(tensors))
        asked = predictor_heads or found.predictor_heads or size.heads
        keys = predictor_keys(found.rotary, kinds)
        predictor = build_video_predictor(tensors, keys, asked, grid, found.rotary, kinds, origin)
    image = (grid.shape[1] * shape.patch[0], grid.shape[2] * shape.patch[1])
    return LoadedWeights(
        encoder=chosen,
        predictor=predictor,
        target_encoder=target,
        classifier=None,
        image_size=image,
        patch=shape.patch,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        name=f"{found.name} {describe(shape.trunk, shape.patch, image)}",
        frames=grid.shape[0] * shape.tubelet,
        tubelet=shape.tubelet,
    )


def export(path: Path, encoder: Encoder, target_encoder: Encoder, predictor: Predictor) -> Path:
    """Write networks as an official checkpoint file.

    Raises:
        UsageError: If the file exists, or an encoder is not of video.
    """
    if path.exists():
        raise UsageError(f"{path} exists; name a new file")
    entries: dict[str, dict[str, Tensor]] = {}
    for name, network in {"encoder": encoder, "target_encoder": target_encoder, "predictor": predictor}.items():
        entries[name] = {PREFIX + key: tensor for key, tensor in published(network).items()}
    torch.save(entries, path)
    return path


def published(network: Encoder | Predictor) -> dict[str, Tensor]:
    """The tensors of a network under their official names, without prefix."""
    rotary = network.trunk.rotary is not None
    if isinstance(network, Predictor):
        keys = predictor_keys(rotary, 1 + len(network.other_tokens))
        return hand_over(network.state_dict(), keys, 0, ())
    if len(network.tokenizer.patch) != 3:
        raise UsageError(f"patches of {len(network.tokenizer.patch)} axes do not fit V-JEPA's layout of (t, h, w)")
    return hand_over(network.state_dict(), encoder_keys(rotary), network.tokenizer.channels, network.tokenizer.patch)
