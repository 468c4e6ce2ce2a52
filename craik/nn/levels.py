"""Encoder and predictor of several levels, for clips and images: V-JEPA 2.1."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from craik.core.tokens import Grid, Tokens, take
from craik.nn.attention import Segments
from craik.nn.block import NORM_EPS, Trunk, init_linear
from craik.nn.position import Rotary
from craik.nn.predictor import Predictor
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify

MODALITY_STD = 1e-6  # of the modality tokens at the start


class LevelEncoder(nn.Module):
    """Vision transformer whose answer is the states after several blocks, each normed, side by side.

    Clips and images have stems and modality tokens of their own; an image is a clip of one frame. With one level and
    modality tokens of zero it is an `Encoder`.

    Args:
        tokenizer: Of clips, patches (t, p, p).
        stills: Of images, patches (1, p, p).
        size: Width, depth and heads.
        rotary: Positions of time, row and column.
        levels: Blocks, counted from 0 and ascending, after which the state is read; the last block is the last level.
        reach: Rows and columns of the lattice that positions are fitted to, so that an image of any size spans the
            same angles; None counts tokens.

    Source: V-JEPA 2.1 (arXiv 2603.14482).
    """

    def __init__(
        self,
        tokenizer: Patchify,
        stills: Patchify,
        size: Size,
        rotary: Rotary,
        levels: Sequence[int],
        reach: int | None = None,
    ) -> None:
        super().__init__()
        if list(levels) != sorted(set(levels)) or not levels or levels[0] < 0 or levels[-1] != size.depth - 1:
            raise ValueError(
                f"levels {tuple(levels)}: give ascending blocks that end with the last one, {size.depth - 1}"
            )
        self.tokenizer, self.stills = tokenizer, stills
        self.clip_token = nn.Parameter(torch.empty(1, 1, size.width))
        self.still_token = nn.Parameter(torch.empty(1, 1, size.width))
        for token in (self.clip_token, self.still_token):
            nn.init.normal_(token, std=MODALITY_STD)
        self.trunk = Trunk(size, rotary)
        self.norms = nn.ModuleList(nn.LayerNorm(size.width, eps=NORM_EPS) for _ in levels[:-1])
        self.levels = tuple(levels)
        self.reach = reach
        self.width = size.width * len(levels)

    def grid(self, sizes: tuple[int, ...]) -> Grid:
        """Token lattice of an input [B, C, T, H, W]: that of images where T is 1."""
        return (self.stills if sizes[0] == 1 else self.tokenizer).grid(sizes)

    def embed(self, x: Tensor, keep: Tensor | None = None) -> Tokens:
        """Tokens before the first block: all N, or those in keep [B, K]."""
        x = x.unsqueeze(2) if x.ndim == 4 else x
        still = x.shape[2] == 1
        tokens: Tokens = (self.stills if still else self.tokenizer)(x, keep)
        return Tokens(tokens.x + (self.still_token if still else self.clip_token), tokens.at)

    def forward(
        self,
        x: Tensor,
        keep: Tensor | None = None,
        wanted: Tensor | None = None,
        lengths: tuple[int, ...] | None = None,
    ) -> Tokens:
        """Encode x [B, C, T, H, W], or images [B, C, H, W]; arguments as of `Encoder`.

        Returns:
            Tokens [B, N, L * D], [B, K, L * D] with keep, [B, W, L * D] with wanted; the last D of the features are
            the last level.
        """
        x = x.unsqueeze(2) if x.ndim == 4 else x
        tokens = self.embed(x, keep)
        at = stretch(tokens.at, self.grid(tuple(x.shape[2:])), self.reach)
        rotation = None if self.trunk.rotary is None else self.trunk.rotary(at, tokens.x.dtype)
        segments = None if lengths is None else Segments(lengths, lengths)
        norms, state = [*self.norms, self.trunk.norm], tokens.x
        found: list[Tensor] = []
        for number, block in enumerate(self.trunk.blocks):
            state = block(state, rotation, segments=segments)
            if number in self.levels:
                read = state if wanted is None else take(state, wanted)  # gathered before it is normed
                found.append(norms[len(found)](read))
        return Tokens(torch.cat(found, -1), tokens.at if wanted is None else take(tokens.at, wanted))

    def last(self, x: Tensor) -> Tokens:
        """The last level alone [B, N, D]: what the paper evaluates."""
        tokens = self(x)
        return Tokens(tokens.x[..., -self.width // len(self.levels) :], tokens.at)


def stretch(at: Tensor, grid: Grid, reach: int | None) -> Tensor:
    """Coordinates [B, N, 3] of a lattice (t, h, w) with rows and columns fitted to `reach` of them; time stays."""
    if reach is None:
        return at
    scale = [1.0, *((reach - 1) / max(1, cells - 1) for cells in grid.shape[1:])]
    return at * at.new_tensor(scale)


class Dense(NamedTuple):
    """What is predicted where it was asked for, and at the context."""

    pred: Tensor
    """[B, T, K, O]."""
    context: Tensor
    """[B, Kc, O]."""


class DensePredictor(Predictor):
    """A predictor from several levels to several levels, that answers at its context too.

    Args:
        width: Features of a token of one level D.
        num_levels: Levels L; what comes in and what is predicted has L x D features.
        size: Width, depth and heads.
        grid: Lattice of the tokens of clips.
        rotary: Positions of time, row and column.
        num_kinds: Mask tokens.
        reach: As of `LevelEncoder`; fitted from `grid`, whatever the input.

    Source: V-JEPA 2.1 (arXiv 2603.14482).
    """

    def __init__(
        self,
        width: int,
        num_levels: int,
        size: Size,
        grid: Grid,
        rotary: Rotary,
        num_kinds: int = 1,
        reach: int | None = None,
    ) -> None:
        wide = num_levels * width
        super().__init__(wide, size, grid, rotary=rotary, num_kinds=num_kinds, token_std=0.0)
        self.reach = reach
        if num_levels > 1:
            first, second = nn.Linear(wide, width), nn.Linear(width, size.width)
            self.embed = nn.Sequential(first, nn.GELU(), second)
            for linear in (first, second):
                init_linear(linear)
        self.context_proj = nn.Linear(size.width, wide)
        init_linear(self.context_proj)
        self.clip_token = nn.Parameter(torch.empty(1, 1, size.width))
        self.still_token = nn.Parameter(torch.empty(1, 1, size.width))
        for token in (self.clip_token, self.still_token):
            nn.init.normal_(token, std=MODALITY_STD)

    def everywhere(self, contexts: Sequence[Tokens], places: Sequence[Tensor], still: bool = False) -> list[Dense]:
        """Answers of several tasks on the same samples, in one pass, with the first mask token.

        Args:
            contexts: Context of each task [B, Kc, L * D].
            places: Coordinates of its one target set [B, 1, K, 3].
            still: Whether the samples are images.
        """
        tasks = [self.task(seen, where, 0, None) for seen, where in zip(contexts, places, strict=True)]
        lengths = tuple(x.shape[1] for x, _ in tasks)
        x, at = (torch.cat(parts, 1) for parts in zip(*tasks, strict=True))
        x = x + (self.still_token if still else self.clip_token)
        out = self.trunk(x, stretch(at, self.grid, self.reach), segments=Segments(lengths, lengths))
        answers = []
        for task, seen, where in zip(out.split(lengths, 1), contexts, places, strict=True):
            known, asked = task.split((seen.x.shape[1], where.shape[2]), 1)
            answers.append(Dense(self.proj(asked).unsqueeze(1), self.context_proj(known)))
        return answers
