"""Self-attention, and the one place that chooses its kernel."""

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


def attend(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for q [B, H, M, d] and k, v [B, H, N, d]; keys where valid [B, N] is False are unseen.

    Chooses the kernel by device, dtype and length; see EXPLICIT_MAX_TOKENS for the measurement.
    """
    mask = None if valid is None else valid[:, None, None, :]
    half = q.dtype in (torch.bfloat16, torch.float16)
    if q.device.type == "cpu" and half and k.shape[-2] <= EXPLICIT_MAX_TOKENS:
        return attention_map(q, k, mask) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def attention_map(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention weights [B, H, M, N] of queries [B, H, M, d] over keys [B, H, N, d]."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1)


class Attention(nn.Module):
    """Multi-head self-attention with a fused q, k, v projection.

    Queries may be fewer than keys: `queries` [B, M, D] attend over all `x` [B, N, D]. The last block of a trunk
    needs outputs only where somebody asked for them.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        queries: Tensor | None = None,
        rotation: Rotation | None = None,
        query_rotation: Rotation | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """[B, N, D] -> [B, M, D], M = N without `queries`."""
        if queries is None:
            q, k, v = self.split(self.qkv(x), 3)
            query_rotation = rotation
        else:
            width = x.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            (q,) = self.split(F.linear(queries, weight[:width], bias[:width]), 1)
            k, v = self.split(F.linear(x, weight[width:], bias[width:]), 2)
        if rotation is not None and query_rotation is not None:
            q, k = rotate(q, query_rotation), rotate(k, rotation)
        out = attend(q, k, v, valid).transpose(1, 2).flatten(2)  # [B, M, D]
        projected: Tensor = self.proj(out)
        return projected

    def split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """[B, N, parts * D] -> parts tensors [B, H, N, d]; unbound where they lie, so that backward copies once."""
        return tuple(part.transpose(1, 2) for part in x.unflatten(-1, (parts, self.heads, -1)).unbind(2))

    def map(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """Attention weights [B, H, N, N], to look at."""
        q, k, _ = self.split(self.qkv(x), 3)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return attention_map(q, k)
