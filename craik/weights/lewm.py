"""LeWorldModel checkpoints: one state dict with encoder, projector, predictor, pred_proj and action_encoder.

The encoder is transformers' ViTModel, whose names differ between the releases 4.x and 5.x. Statistics of actions are
not in these files: give them with `model.scale.set(mean, std)`.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from craik.errors import UsageError
from craik.weights import hf_ijepa
from craik.weights.keys import KeyMap, take_over
from craik.weights.read import read_checkpoint, read_safetensors

VIT = {
    "tokenizer.proj": "encoder.embeddings.patch_embeddings.projection",
    "class_token": "encoder.embeddings.cls_token",
    "position": "encoder.embeddings.position_embeddings",
    "trunk.norm": "encoder.layernorm",
}
ENCODER_4 = KeyMap(plain=VIT, block="encoder.encoder.layer.{i}.", parts=hf_ijepa.KEYS_2024.parts)
ENCODER_5 = KeyMap(plain=VIT, block="encoder.layers.{i}.", parts=hf_ijepa.KEYS_5.parts)
PROJECTOR = KeyMap(plain={f"{i}": f"projector.net.{i}" for i in (0, 1, 3)}, block="", parts={})
PREDICTOR = KeyMap(
    plain={
        "position": "predictor.pos_embedding",
        "trunk.embed": "predictor.transformer.input_proj",
        "trunk.embed_cond": "predictor.transformer.cond_proj",
        "trunk.norm": "predictor.transformer.norm",
        "trunk.proj": "predictor.transformer.output_proj",
        **{f"head.{i}": f"pred_proj.net.{i}" for i in (0, 1, 3)},
    },
    block="predictor.transformer.layers.{i}.",
    parts={
        "modulation": ("adaLN_modulation.1",),
        "inner.norm1": ("attn.norm",),
        "inner.attn.qkv": ("attn.to_qkv",),
        "inner.attn.proj": ("attn.to_out.0",),
        "inner.norm2": ("mlp.net.0",),
        "inner.mlp.fc1": ("mlp.net.1",),
        "inner.mlp.fc2": ("mlp.net.4",),
    },
)
ACTIONS = KeyMap(
    plain={
        "smooth": "action_encoder.patch_embed",
        "fc1": "action_encoder.embed.0",
        "fc2": "action_encoder.embed.2",
    },
    block="",
    parts={},
)
NETWORKS = ("encoder.", "projector.", "predictor.", "pred_proj.", "action_encoder.")


def load_into(model: nn.Module, path: str | Path) -> str:
    """Give a world model the weights of a published one, strictly: all or nothing.

    Args:
        model: As `craik.recipes.leworldmodel.build` makes it, with the sizes of the file. The number of attention
            heads cannot be told from tensors: it is the model's.
        path: A safetensors file, or a torch checkpoint whose tensors stand at the top or in an entry `model`.

    Returns:
        What was loaded, in one sentence.

    Raises:
        UsageError: If the file is missing, damaged, carries code, or differs from the model in any tensor.
    """
    path = Path(path)
    theirs = read(path)
    encoder = ENCODER_4 if any(key.startswith("encoder.encoder.") for key in theirs) else ENCODER_5
    plan = (
        ("perception.encoder", encoder, ("encoder.",)),
        ("perception.head", PROJECTOR, ("projector.",)),
        ("predictor", PREDICTOR, ("predictor.", "pred_proj.")),
        ("actions", ACTIONS, ("action_encoder.",)),
    )
    taken: list[tuple[nn.Module, dict[str, Tensor]]] = []
    for name, keys, prefixes in plan:
        module = model.get_submodule(name)
        own = {key: tensor for key, tensor in theirs.items() if key.startswith(prefixes)}
        taken.append((module, take_over(own, module.state_dict(), keys, f"{prefixes[0][:-1]} of {path}")))
    for module, tensors in taken:  # all checks are behind: nothing is half loaded
        module.load_state_dict(tensors)
    return f"encoder, predictor and action encoder from {path} (LeWorldModel); action statistics are not in it"


def read(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint by their published names; the 1 x 1 convolution over time as a linear map."""
    if path.suffix == ".safetensors":
        entries: dict[str, object] = dict(read_safetensors(path))
    else:
        entries = read_checkpoint(path)
        inside = entries.get("model")
        entries = {str(key): value for key, value in inside.items()} if isinstance(inside, dict) else entries
    theirs = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
    unknown = sorted(key for key in entries if not key.startswith(NETWORKS) or key not in theirs)
    if unknown or not theirs:
        raise UsageError(
            f"{path} is not a LeWorldModel checkpoint: expected tensors of {', '.join(n[:-1] for n in NETWORKS)}"
            + (f"; unexpected: {', '.join(unknown[:12])}" if unknown else "")
        )
    smooth = theirs.get("action_encoder.patch_embed.weight")
    if smooth is not None and smooth.ndim == 3 and smooth.shape[-1] == 1:
        theirs["action_encoder.patch_embed.weight"] = smooth[..., 0]
    return theirs
