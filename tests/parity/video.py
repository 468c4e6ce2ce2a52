"""Networks of a video fixture, by way of an official checkpoint file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from craik.core import Part, Tokens
from craik.core.mask import Mask
from craik.nn.encoder import Encoder
from craik.nn.packed import packed
from craik.weights import LoadedWeights, vjepa
from tests.parity.golden import Fixture

OFFICIAL = ("encoder", "target_encoder", "predictor")


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def checkpoint(fixture: Fixture, path: Path) -> Path:
    """The official entries of a fixture's weights as a checkpoint file."""
    entries: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(fixture.folder / "weights.safetensors").items():
        network, name = key.split("::")
        if network in OFFICIAL:
            entries.setdefault(network, {})[name] = tensor
    torch.save({**entries, "opt": {"state": {}}, "scaler": None, "epoch": 3, "loss": 0.5, "lr": 1e-3}, path)
    return path


def weights_of(fixture: Fixture, network: str) -> dict[str, Tensor]:
    """The tensors of one network that is no part of an official file."""
    weights = load_file(fixture.folder / "weights.safetensors")
    return {key.split("::")[1]: tensor for key, tensor in weights.items() if key.startswith(f"{network}::")}


def open_networks(fixture: Fixture, folder: Path, release: vjepa.ReleaseName) -> LoadedWeights:
    """The online encoder, the target encoder and the predictor of a fixture."""
    config, path = fixture.config, checkpoint(fixture, folder / "weights.pth.tar")
    sizes = {"image_size": pair(config["encoder"]["img_size"]), "frames": config["encoder"]["num_frames"]}
    heads = {"heads": config["encoder"]["num_heads"], "predictor_heads": config["predictor"]["num_heads"]}
    assert vjepa.info(path, **sizes).layout == f"{vjepa.RELEASES[release].name} checkpoint"
    loaded = vjepa.load(path, "encoder", **heads, **sizes)
    check_eps(loaded, config)
    return loaded


def check_eps(loaded: LoadedWeights, config: dict[str, Any]) -> None:
    for network in (loaded.encoder, loaded.target_encoder, loaded.predictor):
        for module in () if network is None else network.modules():
            if isinstance(module, nn.LayerNorm):
                assert module.eps == config.get("norm_eps", 1e-6)


def part_of(x: Tensor, contexts: list[Tensor], targets: list[Tensor], kinds: Sequence[int]) -> Part:
    pairs = zip(contexts, targets, kinds, strict=True)
    return Part(x, tuple(Mask(context, target.unsqueeze(1), kind) for context, target, kind in pairs))


def solve(loaded: LoadedWeights, part: Part) -> list[tuple[Tensor, Tensor]]:
    """Context [B, Kc, D] and prediction [B, Kt, D] of each task of a part, in one pass."""
    coords = loaded.encoder.grid(tuple(part.x.shape[2:])).coords()
    places = [coords[mask.target] for mask in part.masks]
    solved = packed(loaded.encoder, loaded.predictor, part, places)
    return [(task.context.x, task.pred[:, 0]) for task in solved]


def states(encoder: Encoder, x: Tensor) -> list[Tensor]:
    """The residual stream after each block."""
    tokens: Tokens = encoder.embed(x)
    return encoder.trunk.states(tokens.x, tokens.at)


def stacked(encoder: Encoder, x: Tensor, masks: list[Tensor]) -> Tensor:
    """Encodings of several masks of one length, stacked along the batch as the published code does."""
    return torch.cat([encoder(x, keep=mask).x for mask in masks])
