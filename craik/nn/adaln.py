"""AdaLN-zero: a transformer over time whose blocks are modulated by a condition, such as an action.

The modulation is zero at first, so that every block begins as the identity.
Source: Peebles and Xie 2023 (arXiv 2212.09748), section 3.2; in the form of LeWorldModel (arXiv 2603.19312).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.nn.causal import CausalBlock, CausalSize, frame_causal

MODULATED_EPS = 1e-6  # of the norm without weights, before the modulation


class ConditionalBlock(nn.Module):
    """A causal block whose two branches are shifted, scaled and gated by the condition.

    Each branch meets two norms in a row: one without weights that is modulated, and the branch's own.
    """

    def __init__(self, size: CausalSize, dropout_prob: float = 0.0) -> None:
        super().__init__()
        self.inner = CausalBlock(size, dropout_prob)
        self.modulation = nn.Linear(size.width, 6 * size.width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, cond: Tensor, visible: Tensor | None = None) -> Tensor:
        """[B, T, D] under the condition [B, T, D] of each token -> [B, T, D]."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.modulation(F.silu(cond)).chunk(6, -1)
        x = x + gate * self.inner.mix(modulate(x, shift, scale), visible)
        return x + mlp_gate * self.inner.feed(modulate(x, mlp_shift, mlp_scale))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """norm(x) * (1 + scale) + shift, all [..., D]; the norm has no weights."""
    return F.layer_norm(x, x.shape[-1:], eps=MODULATED_EPS) * (1 + scale) + shift


class ConditionalTrunk(nn.Module):
    """Conditional blocks and a final norm; linear maps in and out where the widths differ.

    Args:
        width: Features of input, condition and output.
        size: Size of the blocks.
        dropout_prob: Probability of dropout in the blocks.
    """

    def __init__(self, width: int, size: CausalSize, dropout_prob: float = 0.0) -> None:
        super().__init__()
        narrow = width == size.width
        self.embed = nn.Identity() if narrow else nn.Linear(width, size.width)
        self.embed_cond = nn.Identity() if narrow else nn.Linear(width, size.width)
        self.blocks = nn.ModuleList(ConditionalBlock(size, dropout_prob) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width)
        self.proj = nn.Identity() if narrow else nn.Linear(size.width, width)

    def forward(self, x: Tensor, cond: Tensor, visible: Tensor | None = None) -> Tensor:
        """[B, T, D] under the condition [B, T, D] -> [B, T, D]."""
        *_, last = (x, *self.states(x, cond, visible))
        out: Tensor = self.proj(self.norm(last))
        return out

    def states(self, x: Tensor, cond: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """The residual stream [B, T, Dp] after each block, not normed."""
        x, cond = self.embed(x), self.embed_cond(cond)
        states = []
        for block in self.blocks:
            x = block(x, cond, visible)
            states.append(x)
        return states


class ActionPredictor(nn.Module):
    """From latents and the actions taken there to the next latents, causal over time.

    Output t depends on latents and actions up to t, and stands for the latent at t + 1. Positions are learned, and
    count from the first frame that is given.

    Args:
        width: Features of a latent and of an embedded action D.
        size: Size of the blocks.
        num_frames: Most frames that can be given.
        head: Applied to each output [M, D] -> [M, D]; None leaves it as it is.
        dropout_prob: Probability of dropout in the blocks.
    """

    def __init__(
        self,
        width: int,
        size: CausalSize,
        num_frames: int,
        head: nn.Module | None = None,
        dropout_prob: float = 0.0,
    ) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.empty(1, num_frames, width))
        nn.init.normal_(self.position, std=0.02)
        self.trunk = ConditionalTrunk(width, size, dropout_prob)
        self.head = nn.Identity() if head is None else head

    def forward(self, latents: Tensor, cond: Tensor) -> Tensor:
        """Next latents [B, T, D] of latents [B, T, D] and embedded actions [B, T, D]."""
        hidden = self.hidden(latents, cond)
        out: Tensor = self.head(hidden.flatten(0, 1))  # batch norm wants its samples in one axis
        return out.unflatten(0, hidden.shape[:2])

    def hidden(self, latents: Tensor, cond: Tensor) -> Tensor:
        """The prediction before the head, [B, T, D]."""
        return self.trunk(*self.placed(latents, cond))

    def placed(self, latents: Tensor, cond: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents with positions [B, T, D], the condition, and the causal mask [T, T].

        Raises:
            ValueError: If there are more frames than positions, or not one action per frame.
        """
        num, most = latents.shape[1], self.position.shape[1]
        if num > most or cond.shape[:2] != latents.shape[:2]:
            raise ValueError(
                f"the predictor takes at most {most} frames and one action for each; "
                f"got latents {list(latents.shape)} and actions {list(cond.shape)}"
            )
        return latents + self.position[:, :num], cond, frame_causal(num, device=latents.device)
