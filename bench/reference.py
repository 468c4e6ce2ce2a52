"""The yardstick: one I-JEPA training step as plainly as the published code works.

Both encoders embed all patches with a convolution and gather afterwards; attention is written out; the context is
tiled for one predictor pass per target block; targets are normalized at every token before they are gathered; the
EMA and the masks are Python loops; images are cropped one at a time by Pillow. Parameters carry the published names.
"""

import copy
import math

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from bench.settings import Setting
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD
from craik.nn.sizes import Size


class Attention(nn.Module):
    """Multi-head self-attention, every intermediate written to memory."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        batch, num, width = x.shape
        qkv = self.qkv(x).reshape(batch, num, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (q @ k.transpose(-2, -1)) * (width // self.heads) ** -0.5
        weights = weights.softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, num, width))


class MLP(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, eps=1e-6)
        self.attn = Attention(size.width, size.heads)
        self.norm2 = nn.LayerNorm(size.width, eps=1e-6)
        self.mlp = MLP(size.width, size.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """A convolution whose stride is its kernel."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, N, D]."""
        return self.proj(x).flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """Vision transformer; `keep` [B, K] drops tokens after all of them were embedded."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        size = setting.encoder
        self.patch_embed = PatchEmbed(setting.patch, size.width)
        self.pos_embed = nn.Parameter(torch.zeros(1, setting.grid.num_tokens, size.width), requires_grad=False)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, eps=1e-6)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] -> [B, N, D], or [B, K, D] with keep."""
        x = self.patch_embed(x) + self.pos_embed
        if keep is not None:
            x = gather(x, keep)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Predictor(nn.Module):
    """One pass for each target block: the context is tiled, blocks go along the batch axis."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        size, width = setting.predictor, setting.encoder.width
        self.predictor_embed = nn.Linear(width, size.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, size.width))
        table = torch.zeros(1, setting.grid.num_tokens, size.width)
        self.predictor_pos_embed = nn.Parameter(table, requires_grad=False)
        self.predictor_blocks = nn.ModuleList(Block(size) for _ in range(size.depth))
        self.predictor_norm = nn.LayerNorm(size.width, eps=1e-6)
        self.predictor_proj = nn.Linear(size.width, width)

    def forward(self, context: Tensor, keep: Tensor, targets: list[Tensor]) -> Tensor:
        """Context [B, Kc, D] seen at keep [B, Kc], and T targets [B, Kt] -> [T * B, Kt, D]."""
        table = self.predictor_pos_embed.repeat(len(context), 1, 1)
        x = self.predictor_embed(context) + gather(table, keep)
        where = torch.cat([gather(table, target) for target in targets])
        asked = self.mask_token.repeat(len(where), where.shape[1], 1) + where
        x = torch.cat([x.repeat(len(targets), 1, 1), asked], dim=1)
        for block in self.predictor_blocks:
            x = block(x)
        x = self.predictor_norm(x)
        return self.predictor_proj(x[:, context.shape[1] :])


class Model(nn.Module):
    """The three networks and their loss."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.encoder = Encoder(setting)
        self.predictor = Predictor(setting)
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)

    def forward(self, x: Tensor, keep: Tensor, targets: list[Tensor]) -> Tensor:
        """Smooth L1 between prediction and normalized target, scalar."""
        with torch.no_grad():
            h = self.target_encoder(x)
            h = F.layer_norm(h, (h.shape[-1],))
            goal = torch.cat([gather(h, target) for target in targets])
        pred = self.predictor(self.encoder(x, keep), keep, targets)
        return F.smooth_l1_loss(pred, goal)

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """The EMA, one tensor after the other."""
        for slow, fast in zip(self.target_encoder.parameters(), self.encoder.parameters(), strict=True):
            slow.mul_(momentum).add_((1.0 - momentum) * fast.detach())


def gather(x: Tensor, index: Tensor) -> Tensor:
    """Rows [B, K] of x [B, N, D]."""
    return torch.gather(x, 1, index.unsqueeze(-1).repeat(1, 1, x.shape[-1]))


def adamw(model: Model, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """The optimizer with torch's default implementation, in the four published groups."""
    groups: list[dict[str, object]] = []
    for network in (model.encoder, model.predictor):
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        plain = [p for n, p in named if "bias" in n or p.ndim == 1]
        decayed = [p for n, p in named if not ("bias" in n or p.ndim == 1)]
        groups += [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)


def sample_masks(setting: Setting, rng: torch.Generator) -> tuple[Tensor, list[Tensor]]:
    """Context [B, Kc] and T targets [B, Kt], image after image and block after block."""
    side = setting.side
    target_size = block_size(side, (0.15, 0.2), (0.75, 1.5), rng)
    context_size = block_size(side, (0.85, 1.0), (1.0, 1.0), rng)
    contexts, targets = [], []
    for _ in range(setting.batch):
        blocks = [block_mask(side, target_size, rng) for _ in range(setting.sets)]
        targets.append([block.flatten().nonzero().squeeze(1) for block in blocks])
        tries = 0
        while True:
            context = block_mask(side, context_size, rng)
            for block in blocks[: max(setting.sets - tries // 20, 0)]:
                context = context * (1 - block)
            index = context.flatten().nonzero().squeeze(1)
            tries += 1
            if len(index) > setting.min_keep:
                break
        contexts.append(index)
    num_context = min(len(index) for index in contexts)
    num_target = min(len(index) for row in targets for index in row)
    keep = torch.stack([index[:num_context] for index in contexts])
    return keep, [torch.stack([row[t][:num_target] for row in targets]) for t in range(setting.sets)]


def block_size(
    side: int, scale: tuple[float, float], aspect: tuple[float, float], rng: torch.Generator
) -> tuple[int, int]:
    """Height and width in tokens; one draw sets both area and aspect."""
    draw = torch.rand(1, generator=rng).item()
    area = int(side * side * (scale[0] + draw * (scale[1] - scale[0])))
    ratio = aspect[0] + draw * (aspect[1] - aspect[0])
    return min(round(math.sqrt(area * ratio)), side - 1), min(round(math.sqrt(area / ratio)), side - 1)


def block_mask(side: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
    """One block at a random place, int32 [side, side]."""
    top = int(torch.randint(0, side - size[0], (1,), generator=rng))
    left = int(torch.randint(0, side - size[1], (1,), generator=rng))
    mask = torch.zeros((side, side), dtype=torch.int32)
    mask[top : top + size[0], left : left + size[1]] = 1
    return mask


def augment(canvases: Tensor, out: int, rng: torch.Generator) -> Tensor:
    """Random resized crops of uint8 [B, 3, S, S], one after the other: float32 [B, 3, out, out], normalized."""
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    images = []
    for canvas in canvases.cpu():
        picture = Image.fromarray(canvas.permute(1, 2, 0).numpy())
        box = crop_box(picture.width, picture.height, rng)
        pixels = picture.resize((out, out), Image.Resampling.BILINEAR, box=box).tobytes()
        image = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(out, out, 3)
        images.append((image.permute(2, 0, 1).contiguous().float() / 255 - mean) / std)
    return torch.stack(images)


def crop_box(width: int, height: int, rng: torch.Generator) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a crop: 30 to 100 % of the area, aspect 3/4 to 4/3."""
    for _ in range(10):
        area = width * height * float(torch.empty(1).uniform_(0.3, 1.0, generator=rng))
        ratio = math.exp(float(torch.empty(1).uniform_(math.log(3 / 4), math.log(4 / 3), generator=rng)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(torch.randint(0, width - w + 1, (1,), generator=rng))
            top = int(torch.randint(0, height - h + 1, (1,), generator=rng))
            return left, top, left + w, top + h
    return 0, 0, width, height
