"""One call for every public layout: say what a file is, load it, or start training from it."""

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from craik.core.target import EMA
from craik.errors import UsageError
from craik.nn.encoder import Encoder
from craik.nn.position import Table
from craik.nn.predictor import Predictor
from craik.weights import hf_ijepa, ijepa
from craik.weights.build import describe, shape_of, size_of
from craik.weights.loaded import LoadedWeights, WeightsInfo

Which = Literal["target_encoder", "encoder"]


def is_hugging_face(path: Path) -> bool:
    """Whether a path is to be read as a Hugging Face folder or file, rather than as a torch checkpoint."""
    return path.is_dir() or path.suffix == ".safetensors"


def info(path: str | Path) -> WeightsInfo:
    """Which release a file or folder of weights is; only shapes are read.

    Raises:
        UsageError: If it is missing, damaged, unknown, or carries code.
    """
    path = Path(path)
    return hf_ijepa.info(path) if is_hugging_face(path) else ijepa.info(path)


def load(
    path: str | Path,
    which: Which = "target_encoder",
    *,
    heads: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> LoadedWeights:
    """Networks with the weights of an official checkpoint or a Hugging Face folder, strictly.

    Args:
        path: A `.pth.tar` file, a folder with config.json and model.safetensors, or a safetensors file.
        which: Encoder that is wanted, where the file has two; the paper evaluates the target encoder.
        heads: Attention heads, where neither the file nor the published sizes tell.
        image_size: Height and width the position table was made for [pixels], where the file does not tell and
            the grid is not square.

    Raises:
        UsageError: If the file is missing, damaged, carries code, or differs from its release in any tensor.
    """
    path = Path(path)
    if which not in ("target_encoder", "encoder"):
        raise UsageError(f"there is no {which!r} in public weights: ask for 'target_encoder' or 'encoder'")
    if is_hugging_face(path):
        return hf_ijepa.load(path, heads, image_size)
    return ijepa.load(path, which, heads, image_size)


def load_into(model: nn.Module, path: str | Path, *, asked: str = "this model", resample: bool = False) -> str:
    """Start a model from foreign weights: the encoder, and target and predictor where both sides have them.

    Args:
        model: Has an `encoder`, a `target`, and perhaps a `predictor`, as a recipe builds them.
        path: As for `load`.
        asked: What the user called the model, for example "ijepa:tiny"; for messages.
        resample: Fit position tables of another image size bicubically instead of refusing.

    Returns:
        What was loaded and what was left as it was, in one sentence.

    Raises:
        UsageError: If sizes differ; nothing is changed then.
    """
    encoder = model.encoder
    predictor = getattr(model, "predictor", None)
    if not isinstance(encoder, Encoder) or not isinstance(encoder.position, Table):
        raise UsageError(f"{path} holds a ViT with a position table, and the encoder of {asked} is none")
    theirs = load_for(encoder, predictor, Path(path), asked)
    moves: list[tuple[str, nn.Module, nn.Module]] = [("encoder", encoder, theirs.encoder)]
    if isinstance(model.target, EMA):
        moves.append(("target encoder", model.target.encoder, theirs.target_encoder or theirs.encoder))
    if isinstance(predictor, Predictor) and theirs.predictor is not None:
        check_predictor(predictor, theirs.predictor, path, asked)
        moves.append(("predictor", predictor, theirs.predictor))
    for _, ours, loaded in moves:
        fit_table(table_in(ours), table_in(loaded), path, asked, resample)
    for _, ours, loaded in moves:  # all checks are behind: nothing is half loaded
        ours.load_state_dict(loaded.state_dict())
    left = [name for name, _ in model.named_children() if name not in ("encoder", "target", "predictor")]
    if isinstance(predictor, nn.Module) and theirs.predictor is None:
        left.append("predictor")
    kept = f"; {' and '.join(left)} start from random weights" if left else ""
    return f"{', '.join(name for name, _, _ in moves)} from {path} ({theirs.name}){kept}"


def load_for(encoder: Encoder, predictor: object, path: Path, asked: str) -> LoadedWeights:
    """Weights that fit the trunk and the tokenizer of our encoder, or a message that says what does not.

    Heads that the file does not tell are taken to be ours.
    """
    found = info(path)
    ours, tokenizer = size_of(encoder.trunk), encoder.tokenizer
    heads = None if found.size else ours.heads
    if is_hugging_face(path):
        theirs = hf_ijepa.load(path, heads)
    else:
        which = "encoder" if any(part.name == "encoder" for part in found.parts) else "target_encoder"
        asking = None if heads is None or not isinstance(predictor, Predictor) else size_of(predictor.trunk).heads
        theirs = ijepa.load(path, which, heads, predictor_heads=asking)
    loaded = theirs.encoder
    same_input = (loaded.tokenizer.patch, loaded.tokenizer.channels) == (tokenizer.patch, tokenizer.channels)
    if size_of(loaded.trunk) == ours and same_input:
        return theirs
    image = tuple(n * side for n, side in zip(table_in(encoder).grid.shape, tokenizer.patch, strict=True))
    mine = describe(shape_of(encoder.trunk), tokenizer.patch, image)
    raise UsageError(
        f"{path} looks like {found.name} ({size_of(loaded.trunk).heads} heads), you asked for {asked} "
        f"({mine}, {ours.heads} heads); train a variant with the encoder of the file, or leave out --init"
    )


def table_in(module: nn.Module) -> Table:
    """The position table of an encoder or predictor."""
    if not isinstance(module, Encoder | Predictor) or module.position is None:
        raise TypeError(f"a {type(module).__name__} has no position table")
    return module.position


def check_predictor(ours: Predictor, theirs: Predictor, path: str | Path, asked: str) -> None:
    """Refuse a predictor of another size."""
    mine, found = size_of(ours.trunk), size_of(theirs.trunk)
    if mine != found:
        raise UsageError(
            f"the predictor in {path} is {found.width} wide, {found.depth} deep with {found.heads} heads; that of "
            f"{asked} is {mine.width} wide, {mine.depth} deep with {mine.heads} heads: "
            f"set --predictor.width {found.width} --predictor.depth {found.depth} --predictor.heads {found.heads}"
        )


@torch.no_grad()
def fit_table(ours: Table, theirs: Table, path: str | Path, asked: str, resample: bool) -> None:
    """Bring a loaded position table to our grid, if that is allowed."""
    if theirs.grid.shape == ours.grid.shape:
        return
    if not resample:
        raise UsageError(
            f"{path} was made for a grid of {' x '.join(map(str, theirs.grid.shape))} tokens, {asked} has "
            f"{' x '.join(map(str, ours.grid.shape))}: choose the image size of the file, or allow its position "
            "table to be interpolated with --init-resample (resample=True in Python)"
        )
    theirs.table = nn.Parameter(theirs.resampled(ours.grid), requires_grad=False)
    theirs.grid = ours.grid
