"""The Hugging Face layout of V-JEPA 2, in and out: encoder and predictor, and the video classifier.

Differences of that port which matter to those who compare: it numbers positions by the crop size of config.json (ours
by the input), its predictor always asks with mask token 1 (`kind=1`), which released training never moved from zero,
and its classifier pools with the encoder's epsilon and number of heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.errors import UsageError
from craik.nn.encoder import Encoder
from craik.nn.pooling import AttentivePooler
from craik.nn.predictor import Predictor
from craik.weights.build import describe, fill, first_block, measure_trunk, need, size_of
from craik.weights.hf_folder import new_folder, read_json, read_tensors, triple, write_folder
from craik.weights.keys import KeyMap, hand_over
from craik.weights.loaded import LoadedWeights, PartInfo, WeightsInfo
from craik.weights.video import (
    ROTARY_FAMILIES,
    VideoShape,
    build_video_encoder,
    build_video_predictor,
    measure_video,
)

IN_BLOCK = {
    "norm1": ("norm1",),
    "attn.qkv": tuple(f"attention.{name}" for name in ("query", "key", "value")),
    "attn.proj": ("attention.proj",),
    "norm2": ("norm2",),
    "mlp.fc1": ("mlp.fc1",),
    "mlp.fc2": ("mlp.fc2",),
}
ENCODER = KeyMap(
    plain={"tokenizer.proj": "embeddings.patch_embeddings.proj", "trunk.norm": "layernorm"},
    block="layer.{i}.",
    parts=IN_BLOCK,
)
MASK_TOKENS = "embeddings.mask_tokens"
"""All mask tokens of the predictor in one tensor [n, 1, 1, D]."""
KIND = 1
"""Number of the mask token that the port asks with, modulo their number."""


def predictor_keys(num_kinds: int) -> KeyMap:
    """Names of a predictor's parameters, with the mask tokens taken apart."""
    plain = {"embed": "embeddings.predictor_embeddings", "trunk.norm": "layernorm", "proj": "proj"}
    plain |= {"mask_token": f"{MASK_TOKENS}.0"}
    plain |= {f"other_tokens.{i - 1}": f"{MASK_TOKENS}.{i}" for i in range(1, num_kinds)}
    return KeyMap(plain, "layer.{i}.", IN_BLOCK)


def pooler_keys(depth: int) -> KeyMap:
    """Names of the parameters of an attentive pooler with so many levels."""
    cross, plain, stacked = "cross_attention_layer", {"query": "query_tokens"}, {}
    plain |= {"norm1": f"{cross}.layer_norm1", "norm2": f"{cross}.layer_norm2"}
    plain |= {"mlp.fc1": f"{cross}.mlp.fc1", "mlp.fc2": f"{cross}.mlp.fc2", "cross.q": f"{cross}.cross_attn.q_proj"}
    stacked["cross.kv"] = (f"{cross}.cross_attn.k_proj", f"{cross}.cross_attn.v_proj")
    for i in range(depth - 1):
        ours, theirs = f"blocks.{i}", f"self_attention_layers.{i}"
        plain |= {f"{ours}.norm1": f"{theirs}.layer_norm1", f"{ours}.norm2": f"{theirs}.layer_norm2"}
        plain |= {f"{ours}.mlp.fc1": f"{theirs}.mlp.fc1", f"{ours}.mlp.fc2": f"{theirs}.mlp.fc2"}
        plain |= {f"{ours}.attn.proj": f"{theirs}.self_attn.out_proj"}
        stacked[f"{ours}.attn.qkv"] = tuple(f"{theirs}.self_attn.{name}_proj" for name in "qkv")
    return KeyMap(plain, "", {}, stacked)


@dataclass(frozen=True, slots=True)
class Settings:
    """What config.json and the preprocessor say, as far as it is needed."""

    heads: int | None = None
    predictor_heads: int = 12
    eps: float = 1e-6
    image: int = 256
    frames: int = 64
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True, slots=True)
class Model:
    """Tensors of a folder or file by network, without their prefixes."""

    path: Path
    networks: Mapping[str, Mapping[str, Tensor]]
    """encoder, predictor, pooler and classifier, as far as they are there."""
    settings: Settings

    def shape(self) -> VideoShape:
        """Shape of the encoder."""
        return measure_video(self.networks["encoder"], ENCODER, f"encoder of {self.path}")

    def name(self) -> str:
        """For example "V-JEPA 2 ViT-L/16, 256 px"."""
        shape = self.shape()
        return f"V-JEPA 2 {describe(shape.trunk, shape.patch, (self.settings.image, self.settings.image))}"


def read(path: Path, device: str = "cpu") -> Model:
    """A folder as `save_pretrained` writes it, or its safetensors file; on device "meta" only shapes.

    Raises:
        UsageError: If files are missing or damaged, or hold another model.
    """
    networks: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for key, tensor in read_tensors(path, device).items():
        network, _, rest = key.removeprefix("vjepa2.").partition(".")
        if network not in ("encoder", "predictor", "pooler", "classifier"):
            unknown.append(key)
        networks.setdefault(network, {})[rest] = tensor
    if unknown or "encoder" not in networks:
        raise UsageError(
            f"{path} is not a V-JEPA 2 model of transformers: expected encoder, predictor, and perhaps pooler and "
            f"classifier; " + (f"unexpected: {', '.join(sorted(unknown)[:12])}" if unknown else "there is no encoder")
        )
    tokens = networks.get("predictor", {}).pop(MASK_TOKENS, None)
    if tokens is not None:
        networks["predictor"] |= {f"{MASK_TOKENS}.{i}": token for i, token in enumerate(tokens)}
    return Model(path, networks, read_settings(path if path.is_dir() else path.parent))


def read_settings(folder: Path) -> Settings:
    """Numbers that the tensors do not tell."""
    if not (folder / "config.json").exists():
        return Settings()
    config = read_json(folder / "config.json")
    if config.get("hidden_act", "gelu") != "gelu" or config.get("qkv_bias", True) is not True:
        raise UsageError(f"{folder} is not of a released kind: only hidden_act 'gelu' and qkv_bias true can be loaded")
    shown: dict[str, object] = {}
    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        if (folder / name).exists():
            shown = read_json(folder / name)
            break
    heads = config.get("num_attention_heads")
    return Settings(
        heads=heads if isinstance(heads, int) else None,
        predictor_heads=number(config, "pred_num_attention_heads", 12),
        eps=float(str(config.get("layer_norm_eps", 1e-6))),
        image=number(config, "crop_size", 256),
        frames=number(config, "frames_per_clip", 64),
        mean=triple(shown.get("image_mean"), IMAGENET_MEAN),
        std=triple(shown.get("image_std"), IMAGENET_STD),
    )


def number(config: Mapping[str, object], key: str, default: int) -> int:
    """A whole number of config.json, or the default of transformers' class."""
    value = config.get(key)
    return value if isinstance(value, int) else default


def is_vjepa2(path: Path) -> bool:
    """Whether a folder or safetensors file is to be read as V-JEPA 2: by config.json, or else by the first names."""
    folder = path if path.is_dir() else path.parent
    if (folder / "config.json").exists():
        return read_json(folder / "config.json").get("model_type") == "vjepa2"
    return any("embeddings.patch_embeddings.proj." in key for key in read_tensors(path, "meta"))


def info(path: Path) -> WeightsInfo:
    """What a Hugging Face folder or file holds."""
    model = read(path, "meta")
    shape, settings = model.shape(), model.settings
    family = shape.trunk.family(ROTARY_FAMILIES)
    known = settings.heads is not None or family is not None
    return WeightsInfo(
        path=path,
        layout="Hugging Face V-JEPA 2",
        name=model.name(),
        size=shape.trunk.size(settings.heads, str(path), ROTARY_FAMILIES) if known else None,
        image_size=(settings.image, settings.image),
        patch=shape.patch,
        parts=tuple(
            PartInfo(name, len(tensors), sum(tensor.numel() for tensor in tensors.values()))
            for name, tensors in model.networks.items()
        ),
        note="published conversions hold the target encoder; the port asks with mask token 1, which was never trained",
        frames=settings.frames,
        tubelet=shape.tubelet,
    )


def load(path: Path, heads: int | None = None) -> LoadedWeights:
    """All networks of a Hugging Face folder or safetensors file, strictly.

    Raises:
        UsageError: If the file is missing or damaged, or differs from the layout in any tensor.
    """
    model = read(path)
    settings, shape, origin = model.settings, model.shape(), str(path)
    if heads is not None and settings.heads not in (None, heads):
        raise UsageError(f"{path}: config.json says {settings.heads} heads, you asked for {heads}; leave it out")
    size = shape.trunk.size(heads or settings.heads, origin, ROTARY_FAMILIES)
    grid = shape.grid(settings.frames, (settings.image, settings.image), settings.image, origin)
    encoder = build_video_encoder(model.networks["encoder"], ENCODER, size, shape, None, f"encoder of {path}")
    predictor = None
    if "predictor" in model.networks:
        theirs = model.networks["predictor"]
        kinds = max(1, sum(key.startswith(MASK_TOKENS) for key in theirs))
        keys, asked = predictor_keys(kinds), settings.predictor_heads
        predictor = build_video_predictor(theirs, keys, asked, grid, True, kinds, f"predictor of {path}")
    pooler = load_pooler(model, size.heads) if "pooler" in model.networks else None
    for network in (encoder, predictor):
        for module in () if network is None else network.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = settings.eps
    return LoadedWeights(
        encoder=encoder,
        predictor=predictor,
        target_encoder=None,
        classifier=load_classifier(model, size.width),
        image_size=(settings.image, settings.image),
        patch=shape.patch,
        mean=settings.mean,
        std=settings.std,
        name=model.name(),
        frames=settings.frames,
        tubelet=shape.tubelet,
        pooler=pooler,
    )


def load_pooler(model: Model, heads: int) -> AttentivePooler:
    """The attentive pooler of a classifier."""
    theirs, origin = model.networks["pooler"], f"pooler of {model.path}"
    queries = need(theirs, "query_tokens", 3, origin)
    hidden = need(theirs, "cross_attention_layer.mlp.fc1.weight", 2, origin).shape[0]
    if any(key.startswith("self_attention_layers.") for key in theirs):
        layers = KeyMap({}, "self_attention_layers.{i}.", {"mlp.fc1": ("mlp.fc1",)})
        depth = 1 + measure_trunk(theirs, layers, queries.shape[2], origin).depth
    else:
        depth = 1
    with torch.device("meta"):
        pooler = AttentivePooler(
            queries.shape[2],
            heads,
            num_queries=queries.shape[1],
            depth=depth,
            mlp_ratio=hidden / queries.shape[2],
            eps=model.settings.eps,
        )
    return fill(pooler, theirs, pooler_keys(depth), origin)


def load_classifier(model: Model, width: int) -> nn.Linear | None:
    """The linear head [D] -> [classes], if there is one."""
    theirs = model.networks.get("classifier")
    if theirs is None:
        return None
    weight = need(theirs, "weight", 2, f"classifier of {model.path}")
    with torch.device("meta"):
        head = nn.Linear(width, len(weight))
    return fill(head, theirs, KeyMap({"weight": "weight", "bias": "bias"}, "", {}), f"classifier of {model.path}")


def export_hf(
    encoder: Encoder,
    predictor: Predictor,
    folder: str | Path,
    *,
    frames: int,
    image: int,
    pooler: AttentivePooler | None = None,
    classifier: nn.Linear | None = None,
) -> Path:
    """Write networks so that transformers' VJEPA2Model, or its video classifier, gives the same features.

    Args:
        encoder: A video encoder with the rotary positions of V-JEPA 2's weights (tiled).
        predictor: Its predictor, with the same positions.
        folder: New or empty folder; it appears whole or not at all.
        frames: Frames of a clip.
        image: Side of a frame [pixels]; the port numbers positions by it, so features agree at this side alone.
        pooler: Attentive pooler of the classifier; with it a classifier is written.
        classifier: Head on what the pooler gives.

    Raises:
        UsageError: If the folder is not empty, or a network is of a kind that the layout cannot hold.
    """
    folder = new_folder(folder)
    check_fit(encoder, predictor)
    if (pooler is None) != (classifier is None):
        raise UsageError("a video classifier has both a pooler and a head: give both, or none")
    if pooler is not None:
        check_pooler(pooler, size_of(encoder.trunk).heads)
    tokenizer, kinds = encoder.tokenizer, 1 + len(predictor.other_tokens)
    asked = hand_over(predictor.state_dict(), predictor_keys(kinds), 0, ())
    asked[MASK_TOKENS] = torch.stack([asked.pop(f"{MASK_TOKENS}.{i}") for i in range(kinds)])
    networks = {
        "encoder": hand_over(encoder.state_dict(), ENCODER, tokenizer.channels, tokenizer.patch),
        "predictor": asked,
    }
    prefix = "" if pooler is None else "vjepa2."
    tensors = {f"{prefix}{name}.{key}": t for name, network in networks.items() for key, t in network.items()}
    config = config_of(encoder, predictor, frames, image)
    if pooler is not None and classifier is not None:
        keys = pooler_keys(1 + len(pooler.blocks))
        tensors |= {f"pooler.{key}": t for key, t in hand_over(pooler.state_dict(), keys, 0, ()).items()}
        tensors |= {f"classifier.{key}": t.detach().cpu() for key, t in classifier.state_dict().items()}
        classes = {str(i): f"LABEL_{i}" for i in range(classifier.out_features)}
        config |= {
            "architectures": ["VJEPA2ForVideoClassification"],
            "num_pooler_layers": len(pooler.blocks),
            "id2label": classes,
            "label2id": {name: int(i) for i, name in classes.items()},
        }
    return write_folder(folder, tensors, {"config.json": config})


def check_fit(encoder: Encoder, predictor: Predictor) -> None:
    """Refuse what the layout cannot hold."""
    reasons = []
    for name, trunk in (("encoder", encoder.trunk), ("predictor", predictor.trunk)):
        if trunk.rotary is None or not trunk.rotary.tiled:
            reasons.append(f"the {name}'s positions are not rotary as in V-JEPA 2's weights (tiled)")
    if len(encoder.tokenizer.patch) != 3 or encoder.tokenizer.patch[1] != encoder.tokenizer.patch[2]:
        reasons.append(f"patches of {encoder.tokenizer.patch} are not (t, h, w) with h = w")
    if reasons:
        raise UsageError(f"this model does not fit the Hugging Face V-JEPA 2 layout: {' and '.join(reasons)}")


def check_pooler(pooler: AttentivePooler, heads: int) -> None:
    """Refuse a pooler that the layout cannot hold: its sizes are not in config.json but follow from the encoder's."""
    width = pooler.query.shape[2]
    wanted = f"{heads} heads, an MLP of {4 * width}, one query, and blocks on the tokens"
    fits = pooler.mlp is not None and pooler.mlp.fc1.out_features == 4 * width and pooler.query.shape[1] == 1
    if not fits or pooler.cross.heads != heads or (len(pooler.blocks) and pooler.refine != "tokens"):
        raise UsageError(f"this pooler does not fit the Hugging Face V-JEPA 2 layout, which has {wanted}")


def config_of(encoder: Encoder, predictor: Predictor, frames: int, image: int) -> dict[str, object]:
    """Content of config.json."""
    size, narrow = size_of(encoder.trunk), size_of(predictor.trunk)
    return {
        "architectures": ["VJEPA2Model"],
        "model_type": "vjepa2",
        "patch_size": encoder.tokenizer.patch[1],
        "crop_size": image,
        "frames_per_clip": frames,
        "tubelet_size": encoder.tokenizer.patch[0],
        "hidden_size": size.width,
        "in_chans": encoder.tokenizer.channels,
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.depth,
        "mlp_ratio": size.mlp_ratio,
        "layer_norm_eps": first_block(encoder.trunk).norm1.eps,
        "qkv_bias": True,
        "hidden_act": "gelu",
        "pred_hidden_size": narrow.width,
        "pred_num_attention_heads": narrow.heads,
        "pred_num_hidden_layers": narrow.depth,
        "pred_num_mask_tokens": 1 + len(predictor.other_tokens),
        "pred_mlp_ratio": narrow.mlp_ratio,
        "pred_zero_init_mask_tokens": True,
        "torch_dtype": str(next(encoder.parameters()).dtype).removeprefix("torch."),
    }
