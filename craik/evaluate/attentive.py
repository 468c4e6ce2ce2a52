"""Attentive probe: one learned query looks at the frozen tokens of an image and a linear layer reads what it found.

Source: V-JEPA (Bardes et al. 2024, arXiv 2404.08471), section 4, and its published configuration: AdamW with cosine
decay to 0 and no warm-up, gradient clipping at 1. Several learning rates are trained at once on the same batches.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.evaluate.linear import VALIDATION_FRACTION, stratified_split
from craik.evaluate.progress import watch
from craik.nn.attention import attend
from craik.nn.block import MLP, init_linear

NORM_EPS = 1e-5  # of the published probe; its encoders have 1e-6
MAX_GRAD_NORM = 1.0


class AttentivePool(nn.Module):
    """Tokens [B, N, D] to one embedding [B, D] by cross-attention from one learned query, then an MLP.

    As in the published probe, the query is not normalized and no output projection follows the attention.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads = heads
        self.query = nn.Parameter(torch.zeros(1, 1, width))
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = MLP(width, round(width * mlp_ratio))
        nn.init.trunc_normal_(self.query, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init_linear(module)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, D]."""
        k, v = self.kv(self.norm1(x)).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query = self.query.expand(len(x), -1, -1)
        q = self.q(query).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        pooled = query + attend(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = (pooled + self.mlp(self.norm2(pooled))).squeeze(1)
        return out


class AttentiveProbe(nn.Module):
    """Attentive pooling and a linear classifier: tokens [B, N, D] -> logits [B, C]."""

    def __init__(self, width: int, heads: int, num_classes: int) -> None:
        super().__init__()
        self.pool = AttentivePool(width, heads)
        self.head = nn.Linear(width, num_classes)
        init_linear(self.head)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, C]."""
        logits: Tensor = self.head(self.pool(x))
        return logits


@dataclass(frozen=True, slots=True)
class AttentiveOptions:
    """How attentive probes are trained. Defaults: the published ones, but for a batch that fits small data."""

    lrs: tuple[float, ...] = (1e-3, 3e-4, 1e-4)
    """Peak learning rates; one probe each."""
    weight_decay: float = 0.01
    epochs: int = 20
    seconds: float | None = None
    """Wall-clock bound [s]; the schedule is shortened to end with it. None sets none."""
    batch: int = 256
    seed: int = 0


@dataclass(frozen=True, slots=True)
class FittedAttentive:
    """The probe that was best on validation samples."""

    probe: AttentiveProbe
    lr: float
    validation: float
    """Its accuracy on the validation split, in [0, 1]."""
    epochs: float
    """Passes over the training samples that were made."""

    def predict(self, tokens: Tensor, batch: int = 256) -> Tensor:
        """Most likely classes of tokens [N, T, D], int64 [N] on the CPU."""
        return _predict(self.probe, tokens, batch)


def fit_attentive(
    tokens: Tensor,
    y: Tensor,
    *,
    heads: int,
    options: AttentiveOptions | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> FittedAttentive:
    """Train one probe for each learning rate and keep the best on a stratified tenth of the samples.

    Args:
        tokens: Frozen features [N, T, D], of any float type; they stay where they are, batches go to `device`.
        y: Classes 0 ... C - 1, int64 [N].
        heads: Attention heads; the encoder's are usual.
        options: How to train.
        device: Where to train.
        progress: Show a bar when it takes long.
    """
    options = options or AttentiveOptions()
    fit, val = stratified_split(y, VALIDATION_FRACTION, options.seed)
    val = val if len(val) else fit
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        probes = [AttentiveProbe(tokens.shape[2], heads, int(y.max()) + 1).to(device) for _ in options.lrs]
    epochs = _train(probes, tokens, y, fit, options, progress)
    scores = [float((_predict(p, tokens[val], options.batch) == y[val].cpu()).float().mean()) for p in probes]
    best = max(range(len(probes)), key=lambda i: scores[i])
    return FittedAttentive(probes[best], options.lrs[best], scores[best], epochs)


def _train(
    probes: Sequence[AttentiveProbe],
    tokens: Tensor,
    y: Tensor,
    rows: Tensor,
    options: AttentiveOptions,
    progress: bool,
) -> float:
    """Train all probes on the same batches; gives the number of epochs made."""
    groups = [{"params": list(p.parameters()), "lr": lr} for p, lr in zip(probes, options.lrs, strict=True)]
    solver = torch.optim.AdamW(groups, weight_decay=options.weight_decay)
    device = next(probes[0].parameters()).device
    total = options.epochs * -(-len(rows) // options.batch)
    begin, seen, share = time.monotonic(), 0, 0.0
    for step, batch in enumerate(watch(_batches(rows, options), total, "attentive probe", enabled=progress)):
        if options.seconds is not None:
            share = (time.monotonic() - begin) / options.seconds
        share = max(share, step / total)
        if share >= 1:
            break
        for group, lr in zip(solver.param_groups, options.lrs, strict=True):
            group["lr"] = lr * (1 + math.cos(math.pi * share)) / 2
        x, goal = tokens[batch].to(device).float(), y[batch].to(device)
        solver.zero_grad()
        torch.stack([F.cross_entropy(probe(x), goal) for probe in probes]).sum().backward()
        for probe in probes:
            nn.utils.clip_grad_norm_(probe.parameters(), MAX_GRAD_NORM)
        solver.step()
        seen += len(batch)
    return seen / len(rows)


def _batches(rows: Tensor, options: AttentiveOptions) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(options.seed)
    for _ in range(options.epochs):
        yield from rows[torch.randperm(len(rows), generator=generator)].split(options.batch)


@torch.no_grad()
def _predict(probe: AttentiveProbe, tokens: Tensor, batch: int) -> Tensor:
    device = next(probe.parameters()).device
    probe.eval()
    return torch.cat([probe(part.to(device).float()).argmax(1).cpu() for part in tokens.split(batch)])
