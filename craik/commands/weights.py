"""craik weights: other people's checkpoints, both ways."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from craik.commands.arguments import parse, say
from craik.errors import UsageError

VERBS = ("info", "load", "export")


@dataclass(frozen=True, kw_only=True)
class Info:
    """Say what a file or folder of published weights is; only shapes are read, and no code runs."""

    file: tyro.conf.Positional[Path]
    """Official .pth.tar file, Hugging Face folder, or safetensors file."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Turn published weights into a model folder that every craik command reads. Strict: every key is accounted for."""

    file: tyro.conf.Positional[Path]
    """Official .pth.tar file, Hugging Face folder, or safetensors file."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Model folder to make."""
    heads: int | None = None
    """Attention heads, where neither the file nor the published sizes tell."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run's encoder so that transformers.IJepaModel.from_pretrained gives the same features."""

    run: tyro.conf.Positional[str]
    """Run folder, or a model folder."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """New folder for config.json and model.safetensors."""
    encoder: Literal["target", "online"] = "target"
    """Which encoder; the target encoder is the one that the paper evaluates."""


def main(arguments: list[str]) -> int:
    """Run one of info, load and export."""
    if not arguments or arguments[0] not in VERBS:
        if arguments and arguments[0] in ("-h", "--help"):
            say(
                "usage: craik weights info FILE\n       craik weights load FILE -o DIR\n"
                "       craik weights export RUN -o DIR"
            )
            return 0
        raise UsageError("what to do with the weights? craik weights info FILE | load FILE -o DIR | export RUN -o DIR")
    return {"info": info, "load": load, "export": export}[arguments[0]](arguments[1:])


def info(arguments: list[str]) -> int:
    """Say what a file is."""
    options = parse(Info, arguments, "weights info")
    from craik.weights import info as read_info

    found = read_info(options.file)
    if options.json:
        parts = {part.name: {"tensors": part.num_tensors, "parameters": part.num_parameters} for part in found.parts}
        print(
            json.dumps(
                {
                    "name": found.name,
                    "layout": found.layout,
                    "parts": parts,
                    "image": found.image_size,
                    "patch": found.patch,
                    "extra": found.extra,
                    "note": found.note,
                }
            )
        )
        return 0
    print(f"{options.file}: {found.name} ({found.layout})")
    for part in found.parts:
        print(f"  {part.name:<16} {part.num_tensors:>5} tensors  {part.num_parameters / 1e6:>9.1f} M parameters")
    if found.extra:
        print(f"  not loaded: {', '.join(found.extra)}")
    if found.note:
        print(f"  {found.note}")
    say(f"Next: craik weights load {options.file} -o models/a")
    return 0


def load(arguments: list[str]) -> int:
    """Turn published weights into a model folder."""
    options = parse(Load, arguments, "weights load")
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise UsageError(f"-o {options.out} exists and is not empty; name a new folder")
    from craik import api

    model, told = api.from_weights(options.file, heads=options.heads)
    model.save_pretrained(options.out)
    if options.json:
        print(json.dumps({"model": str(options.out), "name": told}))
    say(f"{options.out}: {told}")
    say(f"Next: craik embed {options.out} PATH -o features.npz")
    return 0


def export(arguments: list[str]) -> int:
    """Write a run's encoder in the Hugging Face layout."""
    options = parse(Export, arguments, "weights export")
    from craik import api
    from craik.nn.encoder import Encoder
    from craik.weights import export_hf

    model = api.load(options.run, device="cpu")
    encoder = model.encoder if options.encoder == "target" else model.online_encoder
    if not isinstance(encoder, Encoder):
        raise UsageError(f"{options.run}: its encoder is no ViT, and the I-JEPA layout of transformers holds only that")
    view = model.recipe.view
    export_hf(encoder, options.out, view.size, mean=view.mean, std=view.std)
    say(f'{options.out}: transformers.IJepaModel.from_pretrained("{options.out}") gives the same features')
    return 0
