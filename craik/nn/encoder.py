"""Encoder: tokenize what is kept, add positions, run the trunk."""

from torch import Tensor, nn

from craik.core.tokens import Grid, Tokens, take
from craik.nn.attention import Segments
from craik.nn.block import Trunk
from craik.nn.position import Rotary, Table
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify


class Encoder(nn.Module):
    """Vision transformer over the tokens of any modality.

    Features are the last hidden states after the final norm; there is no class token.

    Args:
        tokenizer: Turns input into Tokens [B, N, D].
        size: Width, depth and heads; the width must be the tokenizer's.
        position: Codes added to tokens; None where the trunk is rotary.
        rotary: Rotary positions for attention; None where codes are added.
    """

    def __init__(
        self, tokenizer: Patchify, size: Size, position: Table | None = None, rotary: Rotary | None = None
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.position = position
        self.trunk = Trunk(size, rotary)
        self.width = size.width

    def grid(self, sizes: tuple[int, ...]) -> Grid:
        """Token lattice of an input [B, C, *sizes]."""
        return self.tokenizer.grid(sizes)

    def embed(self, x: Tensor, keep: Tensor | None = None) -> Tokens:
        """Tokens with positions, before the first block: all N, or those in keep [B, K]."""
        x = self.tokenizer.whole(x)
        tokens: Tokens = self.tokenizer(x, keep)
        if self.position is None:
            return tokens
        return Tokens(tokens.x + self.position(tokens.at, self.grid(tuple(x.shape[2:]))), tokens.at, tokens.valid)

    def forward(
        self,
        x: Tensor,
        keep: Tensor | None = None,
        wanted: Tensor | None = None,
        lengths: tuple[int, ...] | None = None,
    ) -> Tokens:
        """Encode x [B, C, *sizes].

        Args:
            x: The input.
            keep: Numbers of the tokens that may be seen, int64 [B, K]; None shows all.
            wanted: Which of the seen tokens to answer for, int64 [B, W]; None answers for all. Saves the last
                block's work on the others, and changes nothing else.
            lengths: Lengths of several contexts that lie one after another in keep, each encoded for itself; not
                together with wanted.

        Returns:
            Tokens [B, N, D], [B, K, D] with keep, [B, W, D] with wanted.
        """
        tokens = self.embed(x, keep)
        if wanted is None or wanted.shape[1] >= tokens.x.shape[1]:  # several masks may ask for a token twice
            segments = None if lengths is None else Segments(lengths, lengths)
            out = self.trunk(tokens.x, tokens.at, tokens.valid, segments=segments)
            seen = Tokens(out, tokens.at, tokens.valid)
            return seen if wanted is None else seen.take(wanted)
        out = self.trunk(tokens.x, tokens.at, tokens.valid, lambda t: take(t, wanted))
        return Tokens(out, take(tokens.at, wanted))

    def layers(self, x: Tensor, num: int) -> list[Tensor]:
        """The last `num` blocks' states [B, N, D], each passed through the final norm, last block last."""
        tokens = self.embed(x)
        states = self.trunk.states(tokens.x, tokens.at, tokens.valid)[-num:]
        return [self.trunk.norm(state) for state in states]
