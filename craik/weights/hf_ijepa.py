"""The Hugging Face layout of I-JEPA, in and out: config.json and model.safetensors, encoder only.

Converted releases hold the online encoder, not the target encoder that the paper evaluates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.errors import UsageError
from craik.nn.encoder import Encoder
from craik.nn.position import Table
from craik.weights.build import EncoderShape, build_encoder, describe, measure_encoder, size_of
from craik.weights.hf_folder import new_folder, read_json, read_tensors, triple, write_folder
from craik.weights.keys import KeyMap, hand_over
from craik.weights.loaded import LoadedWeights, PartInfo, WeightsInfo

PLAIN = {
    "tokenizer.proj": "embeddings.patch_embeddings.projection",
    "position.table": "embeddings.position_embeddings",
    "trunk.norm": "layernorm",
}
KEYS_2024 = KeyMap(
    plain=PLAIN,
    block="encoder.layer.{i}.",
    parts={
        "norm1": ("layernorm_before",),
        "attn.qkv": tuple(f"attention.attention.{name}" for name in ("query", "key", "value")),
        "attn.proj": ("attention.output.dense",),
        "norm2": ("layernorm_after",),
        "mlp.fc1": ("intermediate.dense",),
        "mlp.fc2": ("output.dense",),
    },
)
KEYS_5 = KeyMap(
    plain=PLAIN,
    block="layers.{i}.",
    parts={
        "norm1": ("layernorm_before",),
        "attn.qkv": tuple(f"attention.{name}_proj" for name in "qkv"),
        "attn.proj": ("attention.o_proj",),
        "norm2": ("layernorm_after",),
        "mlp.fc1": ("mlp.fc1",),
        "mlp.fc2": ("mlp.fc2",),
    },
)
EXTRA = ("pooler.dense.weight", "pooler.dense.bias", "embeddings.mask_token")
"""Tensors of optional parts that no release of I-JEPA uses."""
ONLINE_NOTE = "published conversions hold the online encoder, not the target encoder that the paper evaluates"


@dataclass(frozen=True, slots=True)
class Settings:
    """What config.json and preprocessor_config.json say, as far as it is needed; None where the file is absent."""

    heads: int | None = None
    eps: float = 1e-6
    image_size: tuple[int, int] | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True, slots=True)
class Model:
    """Tensors of a folder or file, without the prefix `ijepa.`."""

    path: Path
    encoder: Mapping[str, Tensor]
    classifier: Mapping[str, Tensor]
    extra: tuple[str, ...]
    keys: KeyMap
    settings: Settings

    def shape(self) -> EncoderShape:
        """Shape of the encoder."""
        return measure_encoder(self.encoder, self.keys, str(self.path))

    def name(self) -> str:
        """For example "I-JEPA ViT-H/14, 224 px"."""
        shape = self.shape()
        return f"I-JEPA {describe(shape.trunk, shape.patch, self.image_size(shape))}"

    def image_size(self, shape: EncoderShape) -> tuple[int, int]:
        """Height and width the position table was made for [pixels]."""
        grid = shape.grid(self.settings.image_size, str(self.path))
        return grid.shape[0] * shape.patch[0], grid.shape[1] * shape.patch[1]


def read(path: Path, device: str = "cpu") -> Model:
    """A folder as `save_pretrained` writes it, or its safetensors file; on device "meta" only shapes.

    Raises:
        UsageError: If files are missing or damaged, or hold another model.
    """
    folder = path if path.is_dir() else path.parent
    bare = {key.removeprefix("ijepa."): tensor for key, tensor in read_tensors(path, device).items()}
    classifier = {key: bare.pop(key) for key in list(bare) if key.startswith("classifier.")}
    extra = tuple(key for key in EXTRA if key in bare)
    encoder = {key: tensor for key, tensor in bare.items() if key not in EXTRA}
    keys = KEYS_2024 if any(key.startswith("encoder.layer.") for key in encoder) else KEYS_5
    return Model(path, encoder, classifier, extra, keys, read_settings(folder))


def read_settings(folder: Path) -> Settings:
    """Numbers that the tensors do not tell."""
    config: dict[str, object] = {}
    if (folder / "config.json").exists():
        config = read_json(folder / "config.json")
        if config.get("model_type", "ijepa") != "ijepa":
            raise UsageError(
                f"{folder} holds a model of type {config['model_type']!r}; expected 'ijepa' "
                "(facebook/ijepa_vith14_1k and its kin)"
            )
        if config.get("hidden_act", "gelu") != "gelu":
            raise UsageError(f"{folder} uses hidden_act {config['hidden_act']!r}; only 'gelu' can be loaded")
    shown: dict[str, object] = {}
    if (folder / "preprocessor_config.json").exists():
        shown = read_json(folder / "preprocessor_config.json")
    heads, image = config.get("num_attention_heads"), config.get("image_size")
    return Settings(
        heads=heads if isinstance(heads, int) else None,
        eps=float(str(config.get("layer_norm_eps", 1e-12 if config else 1e-6))),  # 1e-12: default of the class
        image_size=pair(image),
        mean=triple(shown.get("image_mean"), IMAGENET_MEAN),
        std=triple(shown.get("image_std"), IMAGENET_STD),
    )


def pair(size: object) -> tuple[int, int] | None:
    """Height and width from one number or two."""
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list) and len(size) == 2 else None


def info(path: Path) -> WeightsInfo:
    """What a Hugging Face folder or file holds."""
    model = read(path, "meta")
    shape, parts = model.shape(), {"encoder": model.encoder, "classifier": model.classifier}
    family = shape.trunk.family()
    known = model.settings.heads is not None or family is not None
    naming = "2024 names" if model.keys is KEYS_2024 else "transformers 5 names"
    return WeightsInfo(
        path=path,
        layout=f"Hugging Face I-JEPA ({naming})",
        name=model.name(),
        size=shape.trunk.size(model.settings.heads, str(path)) if known else None,
        image_size=model.image_size(shape),
        patch=shape.patch,
        parts=tuple(
            PartInfo(name, len(tensors), sum(tensor.numel() for tensor in tensors.values()))
            for name, tensors in parts.items()
            if tensors
        ),
        extra=model.extra,
        note=ONLINE_NOTE,
    )


def load(path: Path, heads: int | None = None, image_size: tuple[int, int] | None = None) -> LoadedWeights:
    """The encoder, and the classifier if there is one, of a Hugging Face folder or safetensors file."""
    model = read(path)
    shape, origin = model.shape(), str(path)
    if heads is not None and model.settings.heads not in (None, heads):
        raise UsageError(f"{path}: config.json says {model.settings.heads} heads, you asked for {heads}; leave it out")
    size = shape.trunk.size(heads or model.settings.heads, origin)
    grid = shape.grid(image_size or model.settings.image_size, origin)
    encoder = build_encoder(model.encoder, model.keys, size, shape, grid, origin)
    for module in encoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = model.settings.eps
    return LoadedWeights(
        encoder=encoder,
        predictor=None,
        target_encoder=None,
        classifier=load_classifier(model.classifier, size.width, origin),
        image_size=(grid.shape[0] * shape.patch[0], grid.shape[1] * shape.patch[1]),
        patch=shape.patch,
        mean=model.settings.mean,
        std=model.settings.std,
        name=model.name(),
    )


def load_classifier(theirs: Mapping[str, Tensor], width: int, origin: str) -> nn.Linear | None:
    """The linear head [D] -> [classes], if there is one."""
    if not theirs:
        return None
    weight, bias = theirs.get("classifier.weight"), theirs.get("classifier.bias")
    if weight is None or bias is None or weight.shape != (len(bias), width) or len(theirs) != 2:
        found = ", ".join(f"{key} {list(tensor.shape)}" for key, tensor in theirs.items())
        raise UsageError(f"{origin}: expected classifier.weight [classes, {width}] and classifier.bias; found {found}")
    head = nn.Linear(width, len(weight))
    head.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return head.eval()


def export_hf(
    encoder: Encoder,
    folder: str | Path,
    image_size: int | tuple[int, int] | None = None,
    *,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Path:
    """Write an encoder so that `transformers.IJepaModel.from_pretrained(folder)` gives the same features.

    Args:
        encoder: A ViT with a position table on a two-axis grid.
        folder: New or empty folder; it appears whole or not at all.
        image_size: Height and width [pixels]; the table is resampled bicubically if it was made for another.
        mean: Of the channels, for preprocessor_config.json.
        std: Of the channels.

    Raises:
        UsageError: If the folder is not empty, or the encoder is of a kind that the layout cannot hold.
    """
    folder = new_folder(folder)
    table = table_of(encoder)
    patch = encoder.tokenizer.patch
    own = tuple(cells * side for cells, side in zip(table.grid.shape, patch, strict=True))
    image = own if image_size is None else (image_size,) * 2 if isinstance(image_size, int) else image_size
    ours = encoder.state_dict()
    if image != own:
        ours["position.table"] = table.resampled(encoder.tokenizer.grid(image))
    return write_folder(
        folder,
        hand_over(ours, KEYS_2024, encoder.tokenizer.channels, patch),
        {"config.json": config_of(encoder, image), "preprocessor_config.json": preprocessor(image, mean, std)},
    )


def table_of(encoder: nn.Module) -> Table:
    """The position table of an encoder that the layout can hold; others are refused."""
    if not isinstance(encoder, Encoder):
        raise UsageError(f"the Hugging Face layout holds a ViT; this encoder is a {type(encoder).__name__}")
    reasons = []
    if encoder.trunk.rotary is not None:
        reasons.append("its positions are rotary")
    if len(set(encoder.tokenizer.patch)) != 1 or len(encoder.tokenizer.patch) != 2:
        reasons.append("its patches are not square")
    if isinstance(encoder.position, Table) and not reasons:
        return encoder.position
    reasons += [] if isinstance(encoder.position, Table) else ["it has no position table"]
    raise UsageError(f"this encoder does not fit the Hugging Face I-JEPA layout: {' and '.join(reasons)}")


def config_of(encoder: Encoder, image: tuple[int, ...]) -> dict[str, object]:
    """Content of config.json."""
    size = size_of(encoder.trunk)
    return {
        "architectures": ["IJepaModel"],
        "model_type": "ijepa",
        "hidden_size": size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.heads,
        "intermediate_size": size.hidden,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "layer_norm_eps": encoder.trunk.norm.eps,
        "image_size": image[0] if len(set(image)) == 1 else list(image),
        "patch_size": encoder.tokenizer.patch[0],
        "num_channels": encoder.tokenizer.channels,
        "qkv_bias": True,
        "torch_dtype": str(next(encoder.parameters()).dtype).removeprefix("torch."),
    }


def preprocessor(
    image: tuple[int, ...], mean: tuple[float, float, float], std: tuple[float, float, float]
) -> dict[str, object]:
    """Content of preprocessor_config.json."""
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "size": {"height": image[0], "width": image[1]},
        "resample": 2,  # bilinear
        "rescale_factor": 1 / 255,
        "image_mean": list(mean),
        "image_std": list(std),
    }
