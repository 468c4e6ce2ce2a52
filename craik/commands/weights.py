"""craik weights: other people's checkpoints, both ways."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from craik.commands.arguments import parse, quoted, say
from craik.errors import UsageError

if TYPE_CHECKING:
    from craik.weights import WeightsInfo

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
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run one of info, load and export."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(
            "usage: craik weights info FILE           say what a file of published weights is\n"
            "       craik weights load FILE -o DIR    make a model folder of it that every command reads\n"
            "       craik weights export RUN -o DIR   write an encoder for transformers.IJepaModel\n\n"
            "Each has --help. Train on from such weights: craik train RECIPE --init FILE"
        )
        return 0
    if not arguments or arguments[0] not in VERBS:
        near = difflib.get_close_matches(arguments[0], VERBS, n=1) if arguments else []
        raise UsageError(
            (f"no {arguments[0]!r}; did you mean {near[0]}? " if near else "what to do with the weights? ")
            + "craik weights info FILE | load FILE -o DIR | export RUN -o DIR"
        )
    return {"info": info, "load": load, "export": export}[arguments[0]](arguments[1:])


def info(arguments: list[str]) -> int:
    """Say what a file is."""
    options = parse(Info, arguments, "weights info")
    refuse_own(options.file)
    from craik.weights import info as read_info

    found = read_info(options.file)
    if options.json:
        parts = {part.name: {"tensors": part.num_tensors, "parameters": part.num_parameters} for part in found.parts}
        row = {"name": found.name, "layout": found.layout, "parts": parts, "image": found.image_size}
        print(json.dumps({**row, "patch": found.patch, "extra": found.extra, "note": found.note}))
    else:
        show(options.file, found)
    say(f"Next: craik weights load {quoted(options.file)} -o models/a")
    return 0


def refuse_own(file: Path) -> None:
    """Refuse a run or a model folder of Craik: it is no published release, and needs no loading."""
    from craik.api import own_folder

    if own_folder(file.parent if file.name == "model.safetensors" else file) is not None:
        raise UsageError(
            f"{file} is a model that Craik wrote, which every command reads as it is, such as craik embed. To give it "
            f"to transformers: craik weights export {quoted(file)} -o DIR"
        )


def show(file: Path, found: WeightsInfo) -> None:
    """What a file is, for people."""
    print(f"{file}: {found.name} ({found.layout})")
    for part in found.parts:
        print(f"  {part.name:<16} {part.num_tensors:>5} tensors  {part.num_parameters / 1e6:>9.1f} M parameters")
    if found.extra:
        print(f"  not loaded: {', '.join(found.extra)}")
    if found.note:
        print(f"  {found.note}")


def load(arguments: list[str]) -> int:
    """Turn published weights into a model folder."""
    options = parse(Load, arguments, "weights load")
    refuse_own(options.file)
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise UsageError(f"-o {options.out} exists and is not empty; name a new folder")
    from craik import api

    model, told = api.from_weights(options.file, heads=options.heads)
    model.save_pretrained(options.out)
    if options.json:
        print(json.dumps({"model": str(options.out), "name": told}))
    say(f"{options.out}: {told}")
    say(f"Next: craik embed {quoted(options.out)} PATH -o features.npz")
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
    if options.json:
        print(json.dumps({"folder": str(options.out), "encoder": options.encoder, "model": model.name}))
    say(f"{options.out}: the {options.encoder} encoder of {options.run}, as transformers reads it")
    say(f'Next, in Python: transformers.IJepaModel.from_pretrained("{options.out}")')
    return 0
