"""One call for every public layout: say what a file is, load it, or start training from it."""

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from craik.core.target import EMA
from craik.errors import UsageError
from craik.nn.encoder import Encoder
from craik.nn.frame_predictor import FramePredictor
from craik.nn.position import SinCos, Table
from craik.nn.predictor import Predictor
from craik.weights import hf_ijepa, hf_vjepa2, ijepa, vjepa, vjepa2_ac
from craik.weights.build import describe, shape_of, size_of
from craik.weights.loaded import LoadedWeights, WeightsInfo
from craik.weights.read import read_checkpoint

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
    if is_hugging_face(path):
        return hf_vjepa2.info(path) if hf_vjepa2.is_vjepa2(path) else hf_ijepa.info(path)
    entries = read_checkpoint(path, "meta")
    if vjepa2_ac.is_action_conditioned(entries):
        return vjepa2_ac.info(path)
    return vjepa.info(path) if vjepa.is_video(entries) else ijepa.info(path)


def load(
    path: str | Path,
    which: Which = "target_encoder",
    *,
    heads: int | None = None,
    image_size: tuple[int, int] | None = None,
    frames: int | None = None,
    release: vjepa.ReleaseName | None = None,
) -> LoadedWeights:
    """Networks with the weights of an official checkpoint or a Hugging Face folder, strictly.

    Args:
        path: A `.pth.tar` file, a folder with config.json and model.safetensors, or a safetensors file.
        which: Encoder that is wanted, where the file has two; the paper evaluates the target encoder.
        heads: Attention heads, where neither the file nor the published sizes tell.
        image_size: Height and width the position table was made for [pixels], where the file does not tell and
            the grid is not square.
        frames: Frames of a clip that a video model was made for, where its file does not tell.
        release: "vjepa" or "vjepa2", for the few files of video models that do not tell.

    Raises:
        UsageError: If the file is missing, damaged, carries code, or differs from its release in any tensor.
    """
    path = Path(path)
    if which not in ("target_encoder", "encoder"):
        raise UsageError(f"there is no {which!r} in public weights: ask for 'target_encoder' or 'encoder'")
    if is_hugging_face(path):
        if hf_vjepa2.is_vjepa2(path):
            return hf_vjepa2.load(path, heads)
        return hf_ijepa.load(path, heads, image_size)
    entries = read_checkpoint(path, "meta")
    if vjepa2_ac.is_action_conditioned(entries):
        return encoder_alone(vjepa2_ac.load(path, heads=heads, image_size=image_size))
    if vjepa.is_video(entries):
        return vjepa.load(path, which, heads=heads, image_size=image_size, frames=frames, release=release)
    return ijepa.load(path, which, heads, image_size)


def encoder_alone(theirs: vjepa2_ac.LoadedActionConditioned) -> LoadedWeights:
    """What V-JEPA 2-AC has in common with other releases; its predictor is given by `weights.vjepa2_ac.load`."""
    patch = theirs.encoder.tokenizer.patch
    return LoadedWeights(
        encoder=theirs.encoder,
        predictor=None,
        target_encoder=None,
        classifier=None,
        image_size=theirs.image_size,
        patch=(patch[1], patch[2]),
        mean=theirs.mean,
        std=theirs.std,
        name=theirs.name,
        frames=patch[0],
        tubelet=patch[0],
    )


def load_into(model: nn.Module, path: str | Path, *, asked: str = "this model", resample: bool = False) -> str:
    """Start a model from foreign weights: the encoder, and target and predictor where both sides have them.

    Args:
        model: Has an `encoder`, a `target`, and perhaps a `predictor`, as a recipe builds them.
        path: As for `load`.
        asked: What the user called the model, for example "ijepa:tiny"; for messages.
        resample: Fit position tables of another image size by interpolation instead of refusing.

    Returns:
        What was loaded and what was left as it was, in one sentence.

    Raises:
        UsageError: If sizes differ; nothing is changed then.
    """
    encoder = model.encoder
    predictor = getattr(model, "predictor", None)
    if not isinstance(encoder, Encoder):
        raise UsageError(f"{path} holds a ViT, and the encoder of {asked} is none")
    if isinstance(predictor, FramePredictor):
        return load_beneath(model, encoder, predictor, Path(path), asked)
    theirs = load_for(encoder, predictor, Path(path), asked)
    moves: list[tuple[str, nn.Module, nn.Module]] = [("encoder", encoder, theirs.encoder)]
    if isinstance(model.target, EMA):
        moves.append(("target encoder", model.target.encoder, theirs.target_encoder or theirs.encoder))
    if isinstance(predictor, Predictor) and theirs.predictor is not None:
        check_predictor(predictor, theirs.predictor, path, asked)
        moves.append(("predictor", predictor, theirs.predictor))
    for _, ours, loaded in moves:
        check_positions(ours, loaded, path, asked)
        fit_table(table_in(ours), table_in(loaded), path, asked, resample)
    for _, ours, loaded in moves:  # all checks are behind: nothing is half loaded
        ours.load_state_dict(loaded.state_dict())
    left = [name for name, _ in model.named_children() if name not in ("encoder", "target", "predictor")]
    if isinstance(predictor, nn.Module) and theirs.predictor is None:
        left.append("predictor")
    kept = f"; {' and '.join(left)} start from random weights" if left else ""
    return f"{', '.join(name for name, _, _ in moves)} from {path} ({theirs.name}){kept}"


def load_beneath(model: nn.Module, encoder: Encoder, predictor: FramePredictor, path: Path, asked: str) -> str:
    """As `load_into` for a frozen encoder: of V-JEPA 2-AC with the predictor, of other releases the target encoder."""
    if is_hugging_face(path) or not vjepa2_ac.is_action_conditioned(read_checkpoint(path, "meta")):
        found = load_for(encoder, None, path, asked)
        check_positions(encoder, found.encoder, path, asked)
        encoder.load_state_dict((found.target_encoder or found.encoder).state_dict())
        return f"frozen encoder from {path} ({found.name}); predictor starts from random weights"
    ours, patch = size_of(predictor.trunk), encoder.tokenizer.patch[-2:]
    theirs = vjepa2_ac.load(
        path,
        heads=None if vjepa2_ac.info(path).size else size_of(encoder.trunk).heads,
        predictor_heads=ours.heads,
        image_size=(predictor.grid.shape[0] * patch[0], predictor.grid.shape[1] * patch[1]),
    )
    check_positions(encoder, theirs.encoder, path, asked)
    pairs = ((encoder, theirs.encoder), (predictor, theirs.predictor))
    other = [
        f"{name} {list(tensor.shape)}, here {list(mine[name].shape) if name in mine else 'none'}"
        for our_network, network in pairs
        for mine in [our_network.state_dict()]
        for name, tensor in network.state_dict().items()
        if name not in mine or mine[name].shape != tensor.shape
    ]
    if other or any(size_of(one.trunk) != size_of(two.trunk) for one, two in pairs):
        raise UsageError(
            f"{path} is {theirs.name}, of another size than {asked}: {', '.join(other[:4])}. Actions and states have "
            "7 numbers there; train vjepa2_ac:vitg on such data, or leave out --init"
        )
    scales = [part for name, part in model.named_children() if name in ("scale", "state_scale")]
    if any(bool((s.get_buffer("mean") != 0).any() or (s.get_buffer("std") != 1).any()) for s in scales):
        raise UsageError(f"{path} was trained on actions and states in raw units: give --standardized False")
    for one, two in pairs:
        one.load_state_dict(two.state_dict())
    return f"frozen encoder and predictor from {path} ({theirs.name})"


def load_for(encoder: Encoder, predictor: object, path: Path, asked: str) -> LoadedWeights:
    """Weights that fit the trunk and the tokenizer of our encoder, or a message that says what does not.

    Heads that the file does not tell are taken to be ours.
    """
    found = info(path)
    ours, tokenizer = size_of(encoder.trunk), encoder.tokenizer
    heads = None if found.size else ours.heads
    video = found.frames is not None
    if is_hugging_face(path):
        theirs = hf_vjepa2.load(path, heads) if video else hf_ijepa.load(path, heads)
    else:
        which = "encoder" if any(part.name == "encoder" for part in found.parts) else "target_encoder"
        asking = None if heads is None or not isinstance(predictor, Predictor) else size_of(predictor.trunk).heads
        if video:
            theirs = vjepa.load(path, which, heads=heads, predictor_heads=asking)
        else:
            theirs = ijepa.load(path, which, heads, predictor_heads=asking)
    loaded = theirs.encoder
    same_input = (loaded.tokenizer.patch, loaded.tokenizer.channels) == (tokenizer.patch, tokenizer.channels)
    if size_of(loaded.trunk) == ours and same_input:
        return theirs
    mine = describe(shape_of(encoder.trunk), tokenizer.patch, image_of(encoder))
    raise UsageError(
        f"{path} looks like {found.name} ({size_of(loaded.trunk).heads} heads), you asked for {asked} "
        f"({mine}, {ours.heads} heads); train a variant with the encoder of the file, or leave out --init"
    )


def image_of(encoder: Encoder) -> tuple[int, ...]:
    """Sizes of the input that the position table is for [pixels, frames]; those of a patch where there is none."""
    table, patch = table_in(encoder), encoder.tokenizer.patch
    cells = (1,) * len(patch) if table is None else table.grid.shape
    return tuple(n * side for n, side in zip(cells, patch, strict=True))


def table_in(module: nn.Module) -> Table | None:
    """The position table of an encoder or predictor; None where positions are rotary."""
    if not isinstance(module, Encoder | Predictor) or isinstance(module.position, SinCos):
        raise TypeError(f"a {type(module).__name__} has no position table")
    return module.position


def check_positions(ours: nn.Module, theirs: nn.Module, path: str | Path, asked: str) -> None:
    """Refuse weights that were made for other positions: a table, rotary ones, or those with V-JEPA 2's slip."""
    kinds = []
    for module in (ours, theirs):
        rotary = module.trunk.rotary if isinstance(module, Encoder | Predictor) else None
        kinds.append("a position table" if rotary is None else f"rotary positions, tiled {rotary.tiled}")
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"{path} has {kinds[1]}, {asked} has {kinds[0]}: the same weights mean something else there. Train a "
            "variant with the positions of the file" + (" (--tiled True)" if "tiled True" in kinds[1] else "")
        )


def check_predictor(ours: Predictor, theirs: Predictor, path: str | Path, asked: str) -> None:
    """Refuse a predictor of another size."""
    mine, found = size_of(ours.trunk), size_of(theirs.trunk)
    if len(ours.other_tokens) != len(theirs.other_tokens):
        raise UsageError(
            f"the predictor in {path} has {1 + len(theirs.other_tokens)} mask tokens, that of {asked} "
            f"{1 + len(ours.other_tokens)}: set --mask-tokens {1 + len(theirs.other_tokens)}, or leave out --init"
        )
    if mine != found:
        raise UsageError(
            f"the predictor in {path} is {found.width} wide, {found.depth} deep with {found.heads} heads; that of "
            f"{asked} is {mine.width} wide, {mine.depth} deep with {mine.heads} heads: "
            f"set --predictor.width {found.width} --predictor.depth {found.depth} --predictor.heads {found.heads}"
        )


@torch.no_grad()
def fit_table(ours: Table | None, theirs: Table | None, path: str | Path, asked: str, resample: bool) -> None:
    """Bring a loaded position table to our grid, if that is allowed."""
    if ours is None or theirs is None or theirs.grid.shape == ours.grid.shape:
        return
    if not resample:
        raise UsageError(
            f"{path} was made for a grid of {' x '.join(map(str, theirs.grid.shape))} tokens, {asked} has "
            f"{' x '.join(map(str, ours.grid.shape))}: choose the image size of the file, or allow its position "
            "table to be interpolated with --init-resample (resample=True in Python)"
        )
    theirs.table = nn.Parameter(theirs.resampled(ours.grid), requires_grad=False)
    theirs.grid = ours.grid
