"""Attentive pooling: learned queries look at tokens and report what they found."""

from typing import Literal

import torch
from torch import Tensor, nn

from craik.nn.attention import attend
from craik.nn.block import MLP, Block, init_linear
from craik.nn.sizes import Size

PROBE_EPS = 1e-5  # LayerNorms of the published probes; encoders have 1e-6


class CrossAttention(nn.Module):
    """Queries look at tokens; no output projection follows, as in the published probes."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)

    def forward(self, queries: Tensor, x: Tensor) -> Tensor:
        """Queries [B, Q, D] over x [B, N, D], [B, Q, D]."""
        k, v = (part.transpose(1, 2) for part in self.kv(x).unflatten(-1, (2, self.heads, -1)).unbind(2))
        q = self.q(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return attend(q, k, v).transpose(1, 2).flatten(2)


class AttentivePooler(nn.Module):
    """Tokens [B, N, D] to one embedding for each learned query, [B, Q, D].

    queries + attention(queries, norm(x)), then + mlp(norm(...)): the queries themselves are not normalized.

    Args:
        width: Features per token D.
        heads: Attention heads; 16 in the published probes of every size.
        num_queries: Learned queries Q.
        depth: 1 is cross-attention alone, each further level a self-attention block.
        mlp_ratio: Hidden width of the MLPs over the width.
        refine: What the further blocks work on: the queries afterwards (V-JEPA 1) or the tokens before (V-JEPA 2).
        complete: Whether norm, residual and MLP surround the cross-attention.
        eps: Of all LayerNorms; the Hugging Face port has the encoder's.

    Source: Bardes et al. 2024 (arXiv 2404.08471), section 4; Assran et al. 2025 (arXiv 2506.09985), appendix.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        num_queries: int = 1,
        depth: int = 1,
        mlp_ratio: float = 4.0,
        refine: Literal["queries", "tokens"] = "tokens",
        complete: bool = True,
        eps: float = PROBE_EPS,
    ) -> None:
        super().__init__()
        size = Size(width, depth, heads, mlp_ratio)
        self.refine = refine
        self.query = nn.Parameter(torch.empty(1, num_queries, width))
        self.blocks = nn.ModuleList(Block(size, eps) for _ in range(depth - 1))
        self.cross = CrossAttention(width, heads)
        self.norm1 = nn.LayerNorm(width, eps=eps) if complete else None
        self.norm2 = nn.LayerNorm(width, eps=eps) if complete else None
        self.mlp = MLP(width, size.hidden) if complete else None
        nn.init.normal_(self.query, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init_linear(module)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, Q, D]."""
        before, after = (self.blocks, ()) if self.refine == "tokens" else ((), self.blocks)
        for block in before:
            x = block(x)
        queries = self.query.expand(len(x), -1, -1)
        if self.norm1 is None or self.norm2 is None or self.mlp is None:
            pooled: Tensor = self.cross(queries, x)
        else:
            pooled = queries + self.cross(queries, self.norm1(x))
            pooled = pooled + self.mlp(self.norm2(pooled))
        for block in after:
            pooled = block(pooled)
        return pooled
