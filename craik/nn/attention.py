"""Self-attention, and the one place that chooses its kernel."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.nn.position import Rotation, rotate

EXPLICIT_MAX_TOKENS = 256
"""Longest sequence for which half-precision attention on a CPU is written out as two matmuls and a softmax.

Time of scaled_dot_product_attention over the explicit form (results/attention; above 1 the explicit form wins):

    tokens                                    9      21      43      64      79     196     400     784    1568
    CPU bf16 (emulated)                     9.5     7.4     5.5     3.9     3.2     2.0     1.2     1.2     1.5
    CPU float32                             0.3     0.9     1.2     0.8     1.1     0.9     0.8     1.0     0.7

Forward and backward. With native AVX-512 bf16 the factor is reported as 3 to 9 up to about 200 tokens.
So the explicit form is taken on a CPU in half precision for short sequences, the fused kernel everywhere else.
"""


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    valid: Tensor | None = None,
    visible: Tensor | None = None,
    dropout_prob: float = 0.0,
) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for q [B, H, M, d] and k, v [B, H, N, d].

    Keys where valid [B, N] is False are unseen by all, those where visible [M, N] is False by that query; weights are
    dropped with `dropout_prob`. Chooses the kernel by device, dtype and length: see EXPLICIT_MAX_TOKENS.
    """
    mask = visible if valid is None else valid[:, None, None, :]
    if valid is not None and visible is not None:
        mask = valid[:, None, None, :] & visible
    half = q.dtype in (torch.bfloat16, torch.float16)
    if q.device.type == "cpu" and half and k.shape[-2] <= EXPLICIT_MAX_TOKENS:
        return F.dropout(attention_map(q, k, mask), dropout_prob) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_prob)


def attention_map(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention weights [B, H, M, N] of queries [B, H, M, d] over keys [B, H, N, d]."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1)


class Segments(NamedTuple):
    """Lengths of sequences that lie one after another on the token axis, and do not see one another."""

    queries: tuple[int, ...]
    keys: tuple[int, ...]


def attend_apart(q: Tensor, k: Tensor, v: Tensor, segments: Segments, dropout_prob: float = 0.0) -> Tensor:
    """As `attend`, each segment for itself."""
    parts = zip(q.split(segments.queries, 2), k.split(segments.keys, 2), v.split(segments.keys, 2), strict=True)
    return torch.cat([attend(*part, dropout_prob=dropout_prob) for part in parts], 2)


class Attention(nn.Module):
    """Multi-head self-attention with a fused q, k, v projection.

    Queries may be fewer than keys: `queries` [B, M, D] attend over all `x` [B, N, D]. The last block of a trunk
    needs outputs only where somebody asked for them.

    Args:
        width: Features per token D.
        heads: Number of heads H.
        head_width: Features per head d; None divides the width evenly.
        bias: Whether q, k and v have a bias.
        dropout_prob: Probability that an attention weight is dropped in training.
    """

    def __init__(
        self, width: int, heads: int, head_width: int | None = None, bias: bool = True, dropout_prob: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout_prob = dropout_prob
        self.inner = width if head_width is None else heads * head_width
        self.qkv = nn.Linear(width, 3 * self.inner, bias=bias)
        self.proj = nn.Linear(self.inner, width)

    def forward(
        self,
        x: Tensor,
        queries: Tensor | None = None,
        rotation: Rotation | None = None,
        query_rotation: Rotation | None = None,
        valid: Tensor | None = None,
        visible: Tensor | None = None,
        segments: Segments | None = None,
    ) -> Tensor:
        """[B, N, D] -> [B, M, D], M = N without `queries`; `valid` [B, N] and `visible` [M, N] as in `attend`.

        With `segments`, which take the place of both, several sequences lie on the token axis.
        """
        if queries is None:
            q, k, v = self.split(self.qkv(x), 3)
            query_rotation = rotation
        else:
            sizes = (self.inner, 2 * self.inner)
            weight = self.qkv.weight.split(sizes)
            bias = (None, None) if self.qkv.bias is None else self.qkv.bias.split(sizes)
            (q,) = self.split(F.linear(queries, weight[0], bias[0]), 1)
            k, v = self.split(F.linear(x, weight[1], bias[1]), 2)
        if rotation is not None and query_rotation is not None:
            q, k = rotate(q, query_rotation), rotate(k, rotation)
        dropout_prob = self.dropout_prob if self.training else 0.0
        if segments is None:
            out = attend(q, k, v, valid, visible, dropout_prob)
        else:
            out = attend_apart(q, k, v, segments, dropout_prob)
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))  # [B, M, H * d]
        return projected

    def split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """[B, N, parts * H * d] -> parts tensors [B, H, N, d]; unbound where they lie, so that backward copies once."""
        return tuple(part.transpose(1, 2) for part in x.unflatten(-1, (parts, self.heads, -1)).unbind(2))

    def map(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """Attention weights [B, H, N, N], to look at."""
        q, k, _ = self.split(self.qkv(x), 3)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return attention_map(q, k)
