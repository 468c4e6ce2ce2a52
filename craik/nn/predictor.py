"""Predictor: from context tokens and the coordinates asked for to the latents there."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from craik.core.tokens import Grid, Tokens
from craik.nn.attention import Segments
from craik.nn.block import Trunk, init_linear
from craik.nn.position import Rotary, SinCos, Table
from craik.nn.sizes import Size


class Predictor(nn.Module):
    """A narrow transformer over [context | mask tokens], read out at the mask tokens.

    Each of the T target sets is predicted alone: its mask tokens see the context and one another, never those of
    another set.

    Args:
        width: Features of the context D.
        size: Width, depth and heads.
        grid: Lattice of the tokens.
        position: Codes added to tokens; None where the trunk is rotary.
        rotary: Rotary positions for attention; None where codes are added.
        together: All sets of a sample see one another in a single pass, which is several times cheaper where sets are
            small, and another method.
        out: Width of what is predicted, where it is not the encoder's.
        num_kinds: Kinds of questions (`Mask.kind`), each with a mask token of its own.
        token_std: Deviation of the mask tokens at the start; V-JEPA begins at 0.

    Source: Assran et al. 2023 (arXiv 2301.08243), section 3; kinds: Bardes et al. 2024 (arXiv 2404.08471).
    """

    def __init__(
        self,
        width: int,
        size: Size,
        grid: Grid,
        position: Table | SinCos | None = None,
        rotary: Rotary | None = None,
        together: bool = False,
        out: int | None = None,
        num_kinds: int = 1,
        token_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.together = together
        embed = nn.Linear(width, size.width)
        self.embed: nn.Module = embed
        self.mask_token = nn.Parameter(torch.empty(1, 1, size.width))
        self.other_tokens = nn.ParameterList(torch.empty(1, 1, size.width) for _ in range(num_kinds - 1))
        self.position = position
        self.trunk = Trunk(size, rotary)
        self.proj = nn.Linear(size.width, out or width)
        for token in (self.mask_token, *self.other_tokens):
            nn.init.normal_(token, std=token_std)
        init_linear(embed)
        init_linear(self.proj)

    def forward(self, context: Tokens, where: Tensor, cond: Tensor | None = None, kind: int | None = None) -> Tensor:
        """Latents at coordinates where [B, T, K, A], given context [B, Kc, D] and tokens cond [B, C, D]: [B, T, K, D].

        Condition tokens, when given, are read like context without a position. `kind` is that of the mask; it may be
        left out where there is but one.
        """
        return self.each([context], [where], [kind], cond)[0]

    def each(
        self,
        contexts: Sequence[Tokens],
        places: Sequence[Tensor],
        kinds: Sequence[int | None],
        cond: Tensor | None = None,
    ) -> list[Tensor]:
        """As `forward` for several tasks on the same samples: one pass, where they have equally many sets."""
        tasks = [self.task(*task, cond) for task in zip(contexts, places, kinds, strict=True)]
        if len({len(x) for x, _ in tasks}) > 1:
            return [self.each([c], [w], [k], cond)[0] for c, w, k in zip(contexts, places, kinds, strict=True)]
        sizes = [where.shape[1] * where.shape[2] if self.together else where.shape[2] for where in places]
        lengths = [x.shape[1] for x, _ in tasks]

        def asked(t: Tensor) -> Tensor:
            ends = zip(t.split(lengths, 1), sizes, strict=True)
            return torch.cat([part[:, part.shape[1] - size :] for part, size in ends], 1)

        x, at = (torch.cat(parts, 1) for parts in zip(*tasks, strict=True))
        segments = None if len(tasks) == 1 else Segments(tuple(sizes), tuple(lengths))
        pred: Tensor = self.proj(self.trunk(x, at, pick=asked, segments=segments))
        pieces = zip(pred.split(sizes, 1), places, strict=True)
        return [piece.reshape(*where.shape[:3], -1) for piece, where in pieces]

    def task(self, context: Tokens, where: Tensor, kind: int | None, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens [B * T, Kc + K, Dp] of one task, mask tokens last, and their coordinates."""
        if self.together:
            where = where.flatten(1, 2).unsqueeze(1)
        seen, at = self.embed(context.x), context.at
        if self.position is not None:
            seen = seen + self.position(at, self.grid)
        if cond is not None:
            seen = torch.cat([seen, self.embed(cond)], 1)
            at = torch.cat([at, at.new_zeros(len(at), cond.shape[1], at.shape[-1])], 1)
        asked = self.questions(where, seen.dtype, kind)  # [B, T, K, Dp]
        x = torch.cat([tile(seen, where.shape[1]), asked.flatten(0, 1)], 1)  # [B * T, Kc + K, Dp]
        return x, torch.cat([tile(at, where.shape[1]), where.flatten(0, 1)], 1)

    def questions(self, where: Tensor, dtype: torch.dtype, kind: int | None = None) -> Tensor:
        """The mask token with the position of each coordinate [B, T, K, A], [B, T, K, Dp]."""
        token = self.token(kind).to(dtype)
        if self.position is None:
            return token.expand(*where.shape[:3], -1)
        return token + self.position(where, self.grid)

    def token(self, kind: int | None) -> Tensor:
        """The mask token [1, 1, Dp] of a kind of question.

        Raises:
            ValueError: If there is none, or several and no kind is given.
        """
        num_kinds = 1 + len(self.other_tokens)
        if kind is None and num_kinds > 1:
            raise ValueError(f"the predictor tells {num_kinds} kinds of questions apart: say which one is asked")
        if not 0 <= (kind or 0) < num_kinds:
            raise ValueError(
                f"no kind {kind}: the predictor tells {num_kinds} kinds of questions apart, counted from 0"
            )
        return self.other_tokens[kind - 1] if kind else self.mask_token


def tile(x: Tensor, sets: int) -> Tensor:
    """Repeat each sample for its target sets, [B, ...] -> [B * T, ...]."""
    return x if sets == 1 else x.unsqueeze(1).expand(-1, sets, *x.shape[1:]).flatten(0, 1)
