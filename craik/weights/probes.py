"""The published attentive probes of V-JEPA and V-JEPA 2: what reads frozen tokens, and its linear head."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from craik.errors import UsageError
from craik.nn.pooling import AttentivePooler
from craik.weights.build import fill, need
from craik.weights.keys import KeyMap
from craik.weights.read import read_checkpoint

HEADS = 16
"""Attention heads of the published probes, for encoders of every size."""
UNUSED = ("cross_attention_block.xattn.proj.", "cross_attention_block.proj.")
"""What V-JEPA 1's files carry and never use: an output projection of the cross-attention."""
HEAD = KeyMap({"weight": "linear.weight", "bias": "linear.bias"}, "", {})


@dataclass(frozen=True, slots=True)
class LoadedProbe:
    """A published probe, float32, on the CPU, in evaluation mode: `head(pooler(tokens)[:, 0])` gives the logits."""

    pooler: AttentivePooler
    head: nn.Linear


def load_probe(path: str | Path, *, heads: int = HEADS, number: int = 0) -> LoadedProbe:
    """The probe in an official file: entry `classifier` of V-JEPA, or one of the list `classifiers` of V-JEPA 2.

    Args:
        path: The file.
        heads: Attention heads, which the tensors do not tell.
        number: Which one of the list; released files hold one.

    Raises:
        UsageError: If it is no such file, or differs from its release in any tensor.
    """
    path = Path(path)
    entries = read_checkpoint(path)
    found = entries.get("classifier")
    several = entries.get("classifiers")
    if isinstance(several, list) and 0 <= number < len(several):
        found = several[number]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UsageError(
            f"{path} holds no attentive probe number {number}: expected `classifier` (V-JEPA) or a list `classifiers` "
            f"(V-JEPA 2) of tensors, found {', '.join(sorted(entries)[:12]) or 'nothing'}"
        )
    theirs = {str(key).removeprefix("module."): value for key, value in found.items()}
    pooled = {key.removeprefix("pooler."): value for key, value in theirs.items() if key.startswith("pooler.")}
    rest = {key: value for key, value in theirs.items() if not key.startswith("pooler.")}
    weight = need(theirs, "linear.weight", 2, str(path))
    refine: Literal["queries", "tokens"] = "tokens" if several is not None else "queries"
    with torch.device("meta"):
        head = nn.Linear(weight.shape[1], weight.shape[0])
    pooler = build_pooler(pooled, heads, refine, f"pooler of {path}")
    return LoadedProbe(pooler, fill(head, rest, HEAD, f"classifier of {path}"))


def build_pooler(
    theirs: Mapping[str, Tensor], heads: int, refine: Literal["queries", "tokens"], origin: str
) -> AttentivePooler:
    """The attentive pooler with these weights, strictly but for what the release never uses."""
    theirs = {key: value for key, value in theirs.items() if not key.startswith(UNUSED)}
    queries = need(theirs, "query_tokens", 3, origin)
    first = theirs.get("cross_attention_block.mlp.fc1.weight")
    numbers = [int(match.group(1)) for key in theirs if (match := re.match(r"blocks\.(\d+)\.", key))]
    depth = 1 + max(numbers, default=-1) + 1
    width = queries.shape[2]
    if width % heads:
        raise UsageError(f"{origin}: {heads} heads do not divide the width {width}; give another number of heads")
    with torch.device("meta"):
        pooler = AttentivePooler(
            width,
            heads,
            num_queries=queries.shape[1],
            depth=depth,
            mlp_ratio=4.0 if first is None else first.shape[0] / width,
            refine=refine,
            complete=first is not None,
        )
    return fill(pooler, theirs, pooler_keys(depth, complete=first is not None), origin)


def pooler_keys(depth: int, complete: bool = True) -> KeyMap:
    """Official names of the parameters of an attentive pooler with so many levels."""
    block = "cross_attention_block"
    cross = f"{block}.xattn" if complete else block
    plain = {"query": "query_tokens", "cross.q": f"{cross}.q", "cross.kv": f"{cross}.kv"}
    plain |= {part: f"{block}.{part}" for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")}
    for i in range(depth - 1):
        parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        plain |= {f"blocks.{i}.{part}": f"blocks.{i}.{part}" for part in parts}
    return KeyMap(plain, "", {})
