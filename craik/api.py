"""What a notebook uses: load a run, embed images, save and share the model."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from craik import __version__, weights
from craik.codec import decode, encode
from craik.core.world import WorldModel
from craik.data.clip import Clip
from craik.data.decode import UnreadableImage
from craik.data.decode import decode as decode_image
from craik.data.episode_video import require_video
from craik.data.hub import network_errors
from craik.data.images import ImageData
from craik.data.video import UnreadableVideo, read_frames, survey
from craik.errors import UsageError
from craik.evaluate.features import Featurizer, Pool, extract
from craik.nn.perception import Latents
from craik.recipes import Method, find
from craik.train.checkpoint import MANIFEST, Checkpoint, rng_state, set_rng_state
from craik.train.checkpoint import weights as weights_of
from craik.train.recipe import Recipe
from craik.train.run import write_atomic
from craik.train.runtime import choose_device
from craik.weights import load_into
from craik.weights.build import size_of

Json = dict[str, Any]
Images = str | Path | Image.Image | NDArray[np.uint8] | ImageData | list[Any]


@dataclass(frozen=True, slots=True)
class Model:
    """A pretrained model and what is known about it."""

    recipe: Recipe
    config: Json
    """Recipe, variant and every resolved value, as in config.json."""
    source: str
    device: torch.device

    @property
    def encoder(self) -> nn.Module:
        """The encoder whose features are used: the target encoder where there is a slow one."""
        model: Any = self.recipe.model
        encoder: nn.Module = model.target.representation(model.encoder)
        return encoder

    @property
    def online_encoder(self) -> nn.Module:
        """The encoder that gets gradients."""
        model: Any = self.recipe.model
        encoder: nn.Module = model.encoder
        return encoder

    @property
    def has_slow_target(self) -> bool:
        """Whether the encoder in use is a slow copy (EMA) of the online one."""
        return self.encoder is not self.online_encoder

    @property
    def name(self) -> str:
        """Recipe and variant."""
        return f"{self.config['recipe']}:{self.config['variant']}"

    def featurizer(self, pool: Pool = Pool.MEAN) -> Featurizer:
        """From raw images to features, as the evaluation uses it.

        The features of a world model are its latents; only the last four layers are those of its encoder.
        """
        view, encoder = self.recipe.view, self.encoder
        if self.recipe.window is not None and pool is not Pool.LAST_FOUR:
            encoder = Latents(self.recipe.model, self.recipe.look)
        return Featurizer(encoder, view.size, view.mean, view.std, pool, self.device)

    def embed(self, images: Images, *, pool: str = "mean", batch: int = 256) -> NDArray[np.float32]:
        """Embeddings of images, or of videos where the model takes these.

        Args:
            images: A path, a PIL image, a uint8 array [H, W, 3], a list of these, or an ImageData. A model of videos
                takes paths of videos, of which it sees the clip in the middle, and arrays [T, H, W, 3] of as many
                frames as its clips have; an image stands still for it.
            pool: "mean" over the tokens of the last layer [B, D], "last4" for the means of the last four layers
                side by side [B, 4 D], "tokens" for all tokens [B, N, D].
            batch: Images at a time.

        Returns:
            float32 [B, D], [B, 4 D] or [B, N, D].
        """
        featurizer = self.featurizer(parse_pool(pool))
        if isinstance(images, ImageData):
            return extract(featurizer, images, batch=batch).numpy()
        items = images if isinstance(images, list) else [images]
        if self.recipe.clip is not None:
            return embed_clips(featurizer, items, self.recipe.clip, batch)
        return embed_pictures(featurizer, items, batch)

    @property
    def world(self) -> WorldModel:
        """The world model, which takes normalized frames.

        Raises:
            UsageError: If this is a model of images.
        """
        if self.recipe.window is None:
            raise UsageError(
                f"{self.source} was trained on images ({self.name}) and cannot imagine; use embed, or train a world "
                "model: craik train leworldmodel:tiny --data EPISODES --out runs/world"
            )
        world: Any = self.recipe.model
        return world

    @torch.no_grad()
    def encode(self, frames: NDArray[Any] | Tensor) -> Tensor:
        """Latents [B, T, D] or [B, T, N, D] of a world model.

        Args:
            frames: Of any size, uint8 or float in [0, 1]: an array [B, T, H, W, 3] as simulators render it, or a tensor
                [B, T, 3, H, W].
        """
        x = torch.from_numpy(frames).movedim(-1, -3) if isinstance(frames, np.ndarray) else frames
        if x.ndim != 5 or x.shape[2] not in (1, 3):
            raise UsageError(
                f"frames are {list(frames.shape)}; expected an array [B, T, H, W, 3] or a tensor [B, T, 3, H, W]"
            )
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise UsageError("frames hold numbers that are not finite: look at what made them")
        return self.world.encode(self.recipe.view.show(x.to(self.device)))

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        """Latents [B, H, D] or [B, H, N, D] that a world model imagines; see `core.world.WorldModel`.

        Args:
            latents: Of the frames seen, as `encode` gives them, [B, T, D].
            past: Actions between those frames, [B, T - 1, A], in units of the environment; where the model skips
                frames, all between two of them one after the other.
            actions: To be imagined, [B, H, A]; discrete ones one-hot. Gradient flows back to them.
            z: What the actions do not decide, where the model has it.

        Raises:
            UsageError: If the actions are of another width than those the model was trained with.
        """
        world, window = self.world, self.recipe.window
        assert window is not None
        width = window.action_size * window.skip
        if actions.shape[-1] != width or (past.shape[1] and past.shape[-1] != width):
            raise UsageError(
                f"actions are {actions.shape[-1]} numbers wide (past: {past.shape[-1]}), and the model takes {width}: "
                "all those between two of its frames, one after the other, as its data had them"
            )
        return world.rollout(latents, past.to(self.device), actions.to(self.device), z)

    def untrained(self, seed: int = 1) -> "Model":
        """The same architecture with fresh weights: what every score is to be compared with."""
        recipe = build_fresh(self.config, seed)
        recipe.model.to(self.device).eval()
        return Model(recipe, self.config, f"{self.source}, untrained", self.device)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write config.json and model.safetensors into a folder that `craik.load` reads."""
        return save_model(Path(folder), self.recipe.model, self.config)

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Upload config, weights and model card to the Hugging Face hub; returns the address."""
        return push_to_hub(self, repo_id, private=private)


def parse_pool(name: str) -> Pool:
    """The pooling of that name."""
    try:
        return Pool(name)
    except ValueError:
        raise UsageError(f"pool {name!r}: use one of {', '.join(p.value for p in Pool)}") from None


def load(source: str | Path, *, device: str = "auto") -> Model:
    """A model from a run folder, or from a folder that `save_pretrained` wrote.

    Raises:
        UsageError: If there is no model there, or it does not fit its own config.
    """
    chosen = choose_device(device)
    folder = own_folder(Path(source))
    if folder is None:
        raise UsageError(f"{source}: {why_no_model(Path(source))}")
    config, tensors = read_weights(folder)
    refuse_code_inside(config, folder)
    recipe = build(config)
    load_strict(recipe.model, tensors, str(folder / "model.safetensors"))
    recipe.model.to(chosen).eval()
    return Model(recipe, config, str(source), chosen)


def why_no_model(source: Path) -> str:
    """Why there is no model at a path, and what to do."""
    if (source / "model" / "model.safetensors").is_file():
        return "its model/config.json is missing or damaged; a checkpoint of the run has the weights as well"
    if (source / "checkpoints").exists() or (source / "metrics.jsonl").exists():
        return f"this run has saved no model yet. Go on with it: craik train --resume {quote(str(source))}"
    published = source.is_file() or (source / "config.json").exists()
    if published:
        name = quote(str(source))
        return f"no model that Craik wrote. If these are published weights: craik weights load {name} -o models/a"
    what = "no such folder" if not source.exists() else "no model here (expected model/model.safetensors)"
    return f"{what}. Train one: craik train ijepa:tiny --data PATH --out runs/a"


def refuse_code_inside(config: Json, folder: Path) -> None:
    """Refuse a model folder that brings a recipe file along: weights of other people must not run code.

    Raises:
        UsageError: If the recipe that config.json names lies in the folder.
    """
    name = str(config.get("recipe", ""))
    if name.endswith(".py") and Path(name).resolve().is_relative_to(folder.resolve().parent):
        raise UsageError(
            f"{folder}: its recipe {name} lies in the folder itself and was not run. "
            "If you trust it, move the recipe file elsewhere and name its new place in config.json"
        )


def from_weights(path: str | Path, *, heads: int | None = None) -> tuple[Model, str]:
    """A model with published I-JEPA weights, and what it is, in words.

    Args:
        path: Official .pth.tar file, Hugging Face folder, or safetensors file.
        heads: Attention heads, where neither the file nor the published sizes tell.

    Raises:
        UsageError: If the file is missing, damaged, carries code, or differs from its release in any tensor.
    """
    from craik.recipes import ijepa

    theirs = weights.load(path, heads=heads)
    if theirs.image_size[0] != theirs.image_size[1] or theirs.patch[0] != theirs.patch[1]:
        raise UsageError(f"{path} is for images of {theirs.image_size} px; only square ones can be used here")
    config = ijepa.Config(image=theirs.image_size[0], patch=theirs.patch[0], encoder=size_of(theirs.encoder.trunk))
    if theirs.predictor is not None:
        config = replace(config, predictor=size_of(theirs.predictor.trunk))
    recipe = ijepa.build(config)
    told = load_into(recipe.model, path, asked="this file")
    recipe.model.eval()
    method = find("ijepa:vith14_in1k")
    return Model(recipe, describe(method, config), str(path), torch.device("cpu")), told


def build(config: Json) -> Recipe:
    """The built parts of a config.json.

    Raises:
        UsageError: If its recipe is gone, or its values are not those of the recipe.
    """
    method = find_recorded(config)
    recipe: Recipe = method.build(decode(method.module.Config, config["config"]))
    return recipe


def build_fresh(config: Json, seed: int) -> Recipe:
    """As `build`, with weights that follow from a seed; no other random number is touched."""
    state = rng_state()
    torch.manual_seed(seed)
    recipe = build(config)
    set_rng_state(state)
    return recipe


def find_recorded(config: Json) -> Method:
    """The method that a config.json names.

    Raises:
        UsageError: If it is gone, or named by a relative path, which only people write.
    """
    if missing := [key for key in ("recipe", "variant", "config") if key not in config]:
        raise UsageError(f"config.json has no {', '.join(missing)}; it was not written by Craik")
    name = str(config["recipe"])
    if name.endswith(".py") and not Path(name).is_absolute():
        raise UsageError(f"config.json names its recipe by a relative path ({name}), which Craik does not write")
    return find(f"{name}:{config['variant']}")


def describe(method: Method, config: Any) -> Json:
    """What config.json records of a method."""
    return {"recipe": method.name, "variant": method.variant, "config": encode(config), "craik": __version__}


def load_strict(model: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Read weights into a model; every missing, unexpected or misshapen one is named.

    Raises:
        UsageError: If they do not fit exactly.
    """
    own = model.state_dict()
    missing, unexpected = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    shapes = [
        f"{name} {list(weights[name].shape)} instead of {list(own[name].shape)}"
        for name in sorted(set(own) & set(weights))
        if own[name].shape != weights[name].shape
    ]
    if missing or unexpected or shapes:
        raise UsageError(
            f"{where} does not fit its config. Missing: {', '.join(missing) or 'none'}. "
            f"Unexpected: {', '.join(unexpected) or 'none'}. Other shapes: {'; '.join(shapes) or 'none'}"
        )
    model.load_state_dict(weights)


def initialize(model: nn.Module, source: str, asked: str, *, resample: bool = False) -> str:
    """Start a model from the weights of a run, one of its checkpoints, a model folder, or a published checkpoint.

    Returns:
        What was loaded, in one sentence.

    Raises:
        UsageError: If the weights do not fit; nothing is changed then.
    """
    folder = own_folder(Path(source))
    if folder is not None:
        config, tensors = read_weights(folder)
        made_by = f"{config.get('recipe')}:{config.get('variant')}"
        load_strict(model, tensors, f"{source} was made by {made_by} and cannot start {asked}: it")
        return f"all weights from {source}"
    if not Path(source).exists():
        raise UsageError(f"--init {source}: no such run, model folder or checkpoint file")
    if (Path(source) / MANIFEST).is_file():
        found = Checkpoint(Path(source))
        if damage := found.damage():
            raise UsageError(f"--init {source}: {damage}; take another checkpoint of the run")
        load_strict(model, weights_of(found), f"{source} cannot start {asked}: it")
        return f"all weights from {source}"
    return load_into(model, source, asked=asked, resample=resample)


def own_folder(source: Path) -> Path | None:
    """The folder with config.json and model.safetensors that Craik wrote in or under a path."""
    for folder in (source / "model", source):
        config = folder / "config.json"
        if (folder / "model.safetensors").is_file() and config.is_file() and b'"recipe"' in config.read_bytes():
            return folder
    return None


def read_weights(folder: Path) -> tuple[Json, dict[str, Tensor]]:
    """config.json and the tensors of a model folder."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(f"{folder} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{folder / 'config.json'} holds no JSON object; it was not written by Craik")
    return config, tensors


def save_model(folder: Path, model: nn.Module, config: Json) -> Path:
    """Write the loadable folder, atomically file by file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomic(folder / "model.safetensors", serialize(tensors, {"format": "pt", "craik": __version__}))
    write_atomic(folder / "config.json", json.dumps(config, indent=1) + "\n")
    return folder


def save_pretrained(model: Model, folder: str | Path) -> Path:
    """Write a model into a folder that `craik.load` reads."""
    return model.save_pretrained(folder)


def from_pretrained(name: str | Path, *, device: str = "auto") -> Model:
    """A model from a folder, or from the Hugging Face hub by its id.

    Raises:
        UsageError: If neither is there; a hub that cannot be reached is said to be so.
    """
    if Path(name).exists():
        return load(name, device=device)
    hub = import_hub("from_pretrained")
    try:
        folder = hub.snapshot_download(str(name), allow_patterns=["config.json", "model.safetensors", "README.md"])
    except (ValueError, *network_errors()) as error:
        raise UsageError(
            f"{name}: no such folder, and the hub cannot be reached or has no such model ({first_line(error)}). "
            "Pass a local folder, or set HF_HOME to where an offline copy lies"
        ) from None
    if own_folder(Path(folder)) is not None and str(read_weights(Path(folder))[0].get("recipe")).endswith(".py"):
        raise UsageError(f"{name} was made by a recipe file of its author, which Craik does not run")
    return replace(load(folder, device=device), source=str(name))


def push_to_hub(model: Model, repo_id: str, *, private: bool = False) -> str:
    """Upload config, weights and model card to the Hugging Face hub; returns the address."""
    hub = import_hub("push_to_hub")
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        card = Path(model.source) / "README.md"
        if card.is_file():
            shutil.copy(card, Path(folder) / "README.md")
        try:
            address = hub.create_repo(repo_id, private=private, exist_ok=True)
            hub.upload_folder(repo_id=repo_id, folder_path=folder)
        except (ValueError, *network_errors()) as error:
            raise UsageError(
                f"{repo_id}: the upload failed ({first_line(error)}). Log in with `hf auth login`, and name the "
                "repository OWNER/NAME"
            ) from None
    return str(address)


def import_hub(what: str) -> Any:
    """huggingface_hub, or an error that names the extra."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise UsageError(f"{what} needs the Hugging Face hub client: pip install 'craik[hub]'") from None
    return huggingface_hub


def first_line(error: Exception) -> str:
    """The first line of a message that may be long, or the name of an error without one."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def embed_pictures(featurizer: Featurizer, items: list[Any], batch: int) -> NDArray[np.float32]:
    """Features of images of any of the accepted kinds, in their order; each is what it would be alone."""
    if not items:
        raise UsageError("no images to embed: the list is empty")
    pictures = [as_picture(item) for item in items]
    size = featurizer.image_size
    exact = np.array([p.size == (size, size) for p in pictures])
    out: NDArray[np.float32] | None = None
    for side, rows in ((size, np.flatnonzero(exact)), (2 * size, np.flatnonzero(~exact))):
        if len(rows):
            features = extract(featurizer, squash([pictures[i] for i in rows], side), batch=batch).numpy()
            out = np.empty((len(pictures), *features.shape[1:]), dtype=np.float32) if out is None else out
            out[rows] = features
    assert out is not None
    return out


def embed_clips(featurizer: Featurizer, items: list[Any], clip: Clip, batch: int) -> NDArray[np.float32]:
    """Features of videos, arrays of frames, and images that stand still, in their order."""
    if not items:
        raise UsageError("no videos to embed: the list is empty")
    side = 2 * featurizer.image_size
    parts = [as_clip(item, clip, side) for item in items]
    clips = ImageData(
        pixels=np.stack([frames for frames, _ in parts]),
        sizes=np.array([size for _, size in parts], dtype=np.int32),
        name="videos",
        paths=[f"video {i}" for i in range(len(parts))],
    )
    return extract(featurizer, clips, batch=max(1, batch // clip.frames)).numpy()


def as_clip(item: Any, clip: Clip, side: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """One clip on canvases, uint8 [T, S, S, 3], and the (height, width) of its original [px]."""
    if isinstance(item, str | Path) and Path(item).is_file():
        require_video(f"{item} may be a video")
        try:
            track = survey(Path(item))
            if not clip.places(track):
                raise UsageError(
                    f"{item}: {track.seconds:.2f} s, and a clip spans {clip.seconds:.2f} s; give a longer one"
                )
            frames = read_frames(Path(item), track.stamps[clip.pick(track, 0.5)], side)
        except UnreadableVideo as error:
            raise UsageError(f"{item}: cannot be read as a video ({error.reason})") from None
        return frames, (track.height, track.width)
    if isinstance(item, np.ndarray) and item.ndim == 4:
        if len(item) != clip.frames:
            raise UsageError(f"{len(item)} frames, and the model takes clips of {clip.frames}: [T, H, W, 3]")
        pictures = [as_picture(frame) for frame in item]
    else:
        pictures = [as_picture(item)] * clip.frames
    canvases = squash(pictures, side)
    return canvases.take(np.arange(clip.frames)), (pictures[0].height, pictures[0].width)


def squash(pictures: list[Image.Image], side: int) -> ImageData:
    """Whole images on square canvases of `side` px; the view is cut out of them in the aspect of the original."""
    canvas = np.stack([np.asarray(p.resize((side, side), Image.Resampling.BICUBIC)) for p in pictures])
    sizes = np.array([(p.height, p.width) for p in pictures], dtype=np.int32)
    return ImageData(pixels=canvas, sizes=sizes, name="images", paths=[f"image {i}" for i in range(len(pictures))])


def as_picture(item: Any) -> Image.Image:
    """One image as RGB."""
    if isinstance(item, Image.Image):
        return item.convert("RGB")
    if isinstance(item, np.ndarray):
        if item.dtype != np.uint8 or item.ndim != 3 or item.shape[2] != 3:
            raise UsageError(f"an image array has to be uint8 [H, W, 3], got {item.dtype} {list(item.shape)}")
        return Image.fromarray(item)
    if isinstance(item, str | Path):
        if Path(item).is_dir():
            raise UsageError(f"{item} is a folder: give a list of its files, or: craik embed RUN {item} -o FILE.npz")
        if not Path(item).is_file():
            raise UsageError(f"{item}: no such image file")
        try:
            return decode_image(Path(item))
        except UnreadableImage as error:
            raise UsageError(f"{item}: cannot be read as an image ({error.reason})") from None
    raise UsageError(f"cannot read an image from {type(item).__name__}; give a path, a PIL image or an array")
