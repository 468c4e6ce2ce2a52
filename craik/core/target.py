"""Targets: where the representation that is to be predicted comes from. This choice decides the family.

    EMA       a slow copy of the encoder, no gradient     I-JEPA, V-JEPA, BYOL, data2vec
    StopGrad  the encoder itself, no gradient             SimSiam
    Shared    the encoder itself, with gradient           LeJEPA, VICReg, LeWorldModel (needs a regularizer)
    Frozen    a pretrained encoder                        DINO-WM, VL-JEPA

Each is called with the online encoder: `target(encoder, x, wanted)` gives Tokens at the numbered positions
`wanted` [B, W], or at all positions when `wanted` is None. The training loop calls `update` after each step.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.core.precision import full_precision
from craik.core.tokens import Tokens

Normalize = Callable[[Tensor], Tensor]


def layer_normalize(x: Tensor) -> Tensor:
    """Each token to mean 0 and variance 1 over its features, [..., D]. I-JEPA and V-JEPA do so to targets."""
    return F.layer_norm(full_precision(x), x.shape[-1:])  # eps 1e-5: the functional default, unlike the models' 1e-6


def identity(x: Tensor) -> Tensor:
    """No normalization."""
    return x


class Target(nn.Module, ABC):
    """What the core and the training loop ask of a target.

    An encoder, here and in the core, is any module called as `encoder(x, keep=None, wanted=None) -> Tokens`: it
    sees only the tokens `keep` [B, K] and answers only at `wanted` [B, W]; None stands for all.
    """

    normalize: Normalize = staticmethod(identity)
    """What becomes of tokens [..., D] before they are to be predicted."""

    @abstractmethod
    def forward(self, encoder: nn.Module, x: Tensor, wanted: Tensor | None = None) -> Tokens:
        """Tokens [B, W, D] to be predicted; W = N where wanted is None."""

    def update(self, encoder: nn.Module, momentum: float) -> None:
        """Follow the encoder after an optimizer step. Only EMA has something to do."""

    def representation(self, encoder: nn.Module) -> nn.Module:
        """The encoder whose features are to be used once training is over."""
        return encoder


class EMA(Target):
    """Exponential moving average of the online encoder: target <- momentum x target + (1 - momentum) x encoder.

    A run that forgets `update` would train against a frozen random network and look healthy, so it is refused.
    """

    patience = 1024
    """Training passes without an update after which `forward` raises; far above any gradient accumulation."""

    def __init__(self, encoder: nn.Module, normalize: Normalize = layer_normalize) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.normalize = normalize
        self._passes_since_update = 0

    @torch.no_grad()
    def forward(self, encoder: nn.Module, x: Tensor, wanted: Tensor | None = None) -> Tokens:
        """Tokens of the slow copy, normalized, without gradient."""
        if self.training:
            self._passes_since_update += 1
            if self._passes_since_update > self.patience:
                raise RuntimeError(
                    f"the EMA target was not updated for {self.patience} training passes; "
                    "call model.target.update(model.encoder, momentum) after each optimizer step"
                )
        tokens: Tokens = self.encoder(x, wanted=wanted)
        return Tokens(self.normalize(tokens.x), tokens.at, tokens.valid)

    @torch.no_grad()
    def update(self, encoder: nn.Module, momentum: float) -> None:
        """One fused pass over all parameters. Running statistics are the target's own: it sees whole inputs."""
        slow: list[Tensor] = list(self.encoder.parameters())
        fast: list[Tensor] = list(encoder.parameters())
        torch._foreach_lerp_(slow, fast, 1 - momentum)
        self._passes_since_update = 0

    @torch.no_grad()
    def distance(self, encoder: nn.Module) -> Tensor:
        """Relative distance of the slow copy from the encoder, |target - encoder| / |encoder|, scalar."""
        slow: list[Tensor] = list(self.encoder.parameters())
        fast: list[Tensor] = list(encoder.parameters())
        gap = torch.stack([(a - b).norm() for a, b in zip(slow, fast, strict=True)]).norm()
        return gap / torch.stack(torch._foreach_norm(fast)).norm()

    def representation(self, encoder: nn.Module) -> nn.Module:
        """The slow copy: I-JEPA evaluates the target encoder."""
        return self.encoder


class StopGrad(Target):
    """The online encoder itself, without gradient. Collapses unless predictor or regularizer prevent it."""

    def __init__(self, normalize: Normalize = identity) -> None:
        super().__init__()
        self.normalize = normalize

    @torch.no_grad()
    def forward(self, encoder: nn.Module, x: Tensor, wanted: Tensor | None = None) -> Tokens:
        """Tokens of the encoder, cut off from its gradient."""
        tokens: Tokens = encoder(x, wanted=wanted)
        return Tokens(self.normalize(tokens.x), tokens.at, tokens.valid)


class Shared(Target):
    """The online encoder itself, with gradient through both sides. Collapses without a regularizer."""

    def __init__(self, normalize: Normalize = identity) -> None:
        super().__init__()
        self.normalize = normalize

    def forward(self, encoder: nn.Module, x: Tensor, wanted: Tensor | None = None) -> Tokens:
        """Tokens of the encoder."""
        tokens: Tokens = encoder(x, wanted=wanted)
        return Tokens(self.normalize(tokens.x), tokens.at, tokens.valid)


class Frozen(Target):
    """A pretrained encoder that never changes; no collapse is possible, and no feature beyond its own."""

    def __init__(self, encoder: nn.Module, normalize: Normalize = layer_normalize) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.normalize = normalize

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in evaluation mode: dropout and running statistics belong to training."""
        super().train(mode)
        self.encoder.eval()
        return self

    @torch.no_grad()
    def forward(self, encoder: nn.Module, x: Tensor, wanted: Tensor | None = None) -> Tokens:
        """Tokens of the pretrained encoder, normalized."""
        tokens: Tokens = self.encoder(x, wanted=wanted)
        return Tokens(self.normalize(tokens.x), tokens.at, tokens.valid)
