"""The pre-norm transformer block, and a trunk of them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.nn.attention import Attention, Segments
from craik.nn.position import Rotary, Rotation
from craik.nn.sizes import Size

NORM_EPS = 1e-6  # all LayerNorms of encoders and predictors in the JEPA family


class MLP(nn.Module):
    """Two linear layers with an exact (erf) GELU between, and dropout after it where asked for."""

    def __init__(self, width: int, hidden: int, dropout_prob: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.drop = nn.Dropout(dropout_prob)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        out: Tensor = self.fc2(self.drop(self.act(self.fc1(x))))
        return out


class GatedMLP(nn.Module):
    """SwiGLU: fc3(silu(fc1(x)) * fc2(x)). Source: Shazeer 2020 (arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(width, hidden)
        self.fc3 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        out: Tensor = self.fc3(F.silu(self.fc1(x)) * self.fc2(x))
        return out


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, size: Size, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, eps=eps)
        self.attn = Attention(size.width, size.heads)
        self.norm2 = nn.LayerNorm(size.width, eps=eps)
        self.mlp = GatedMLP(size.width, size.hidden) if size.gated else MLP(size.width, size.hidden)

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        valid: Tensor | None = None,
        pick: Callable[[Tensor], Tensor] | None = None,
        segments: Segments | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        """[B, N, D] -> [B, N, D], or [B, M, D] for the M tokens that `pick` takes from the token axis (dim -2).

        Keys that a query may not see are False in its row of visible [N, N].
        """
        h = self.norm1(x)
        if pick is None:
            x = x + self.attn(h, rotation=rotation, valid=valid, visible=visible, segments=segments)
        else:
            turned = None if rotation is None else rotation.take(pick)
            rows = None if visible is None else pick(visible)
            x = pick(x) + self.attn(h, pick(h), rotation, turned, valid, rows, segments)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Trunk(nn.Module):
    """Blocks and a final norm: what encoder and predictor have in common."""

    def __init__(self, size: Size, rotary: Rotary | None = None, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(size, eps) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, eps=eps)
        self.rotary = rotary
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init_linear(module)

    def forward(
        self,
        x: Tensor,
        at: Tensor,
        valid: Tensor | None = None,
        pick: Callable[[Tensor], Tensor] | None = None,
        segments: Segments | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        """[B, N, D] at [B, N, A] -> normed [B, N, D], or [B, M, D] with `pick`.

        All blocks but the last need every token. In the last one, tokens that nobody asked for serve as keys and
        values only: their queries, MLP and norm are left out, which changes nothing in the result.

        Args:
            x: Tokens.
            at: Their coordinates.
            valid: False where a token is padding [B, N].
            pick: Takes the tokens that are asked for from the token axis (dim -2).
            segments: Several sequences lie on the token axis, each for itself; its queries are what `pick` leaves.
            visible: False where a query may not see a key [N, N]; None lets all see all.
        """
        rotation = None if self.rotary is None else self.rotary(at, x.dtype)
        inner = None if segments is None else Segments(segments.keys, segments.keys)
        *body, last = self.blocks
        for block in body:
            x = block(x, rotation, valid, segments=inner, visible=visible)
        out: Tensor = self.norm(last(x, rotation, valid, pick, segments, visible))
        return out

    def states(self, x: Tensor, at: Tensor, valid: Tensor | None = None, visible: Tensor | None = None) -> list[Tensor]:
        """The residual stream [B, N, D] after each block, not normed."""
        rotation = None if self.rotary is None else self.rotary(at, x.dtype)
        states = []
        for block in self.blocks:
            x = block(x, rotation, valid, visible=visible)
            states.append(x)
        return states


def init_linear(linear: nn.Linear, std: float = 0.02) -> None:
    """Normal weights and zero bias: the effective initialization of I-JEPA (its depth rescale is undone)."""
    nn.init.trunc_normal_(linear.weight, std=std)  # cut at +-2, a hundred deviations away
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


@torch.no_grad()
def rescale_by_depth(trunk: Trunk) -> None:
    """Divide the weights of what block i = 1, 2, ... adds to the stream by sqrt(2 i), as V-JEPA 2 begins."""
    for number, block in enumerate(trunk.blocks, start=1):
        for name in ("attn.proj", "mlp.fc2"):  # of a gated MLP too, where fc3 would be meant: as published
            block.get_submodule(name).get_parameter("weight").div_((2 * number) ** 0.5)
