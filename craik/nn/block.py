"""The pre-norm transformer block, and a trunk of them."""

from collections.abc import Callable

from torch import Tensor, nn

from craik.nn.attention import Attention
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


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, size: Size, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, eps=eps)
        self.attn = Attention(size.width, size.heads)
        self.norm2 = nn.LayerNorm(size.width, eps=eps)
        self.mlp = MLP(size.width, size.hidden)

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        valid: Tensor | None = None,
        pick: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """[B, N, D] -> [B, N, D], or [B, M, D] for the M tokens that `pick` takes from the token axis (dim -2)."""
        h = self.norm1(x)
        if pick is None:
            x = x + self.attn(h, rotation=rotation, valid=valid)
        else:
            turned = None if rotation is None else Rotation(*map(pick, (t.squeeze(1) for t in rotation)))
            turned = None if turned is None else Rotation(*(t.unsqueeze(1) for t in turned))
            x = pick(x) + self.attn(h, pick(h), rotation, turned, valid)
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
    ) -> Tensor:
        """[B, N, D] at [B, N, A] -> normed [B, N, D], or [B, M, D] with `pick`.

        All blocks but the last need every token. In the last one, tokens that nobody asked for serve as keys and
        values only: their queries, MLP and norm are left out, which changes nothing in the result.
        """
        rotation = None if self.rotary is None else self.rotary(at)
        *body, last = self.blocks
        for block in body:
            x = block(x, rotation, valid)
        out: Tensor = self.norm(last(x, rotation, valid, pick))
        return out

    def states(self, x: Tensor, at: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """The residual stream [B, N, D] after each block, not normed."""
        rotation = None if self.rotary is None else self.rotary(at)
        states = []
        for block in self.blocks:
            x = block(x, rotation, valid)
            states.append(x)
        return states


def init_linear(linear: nn.Linear, std: float = 0.02) -> None:
    """Normal weights and zero bias: the effective initialization of I-JEPA (its depth rescale is undone)."""
    nn.init.trunc_normal_(linear.weight, std=std)  # cut at +-2, a hundred deviations away
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
