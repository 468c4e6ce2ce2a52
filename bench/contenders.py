"""The steps that race: the plain reference and ours, from the same weights, images and masks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench import reference
from bench.settings import Setting
from craik.core import EMA, JEPA, Batch, Mask, Part
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD, normalize, random_resized_crop
from craik.recipes.ijepa import build
from craik.train.optim import build_adamw
from craik.weights import ijepa
from craik.weights.keys import hand_over

MOMENTUM = 0.996
LR, WEIGHT_DECAY = 2e-4, 0.04


@dataclass(frozen=True, slots=True)
class Work:
    """What every contender gets: images float32 [B, 3, H, W], canvases uint8 [B, 3, S, S], and a mask."""

    images: Tensor
    canvases: Tensor
    mask: Mask

    def to(self, device: torch.device) -> "Work":
        """The same on a device."""
        return Work(self.images.to(device), self.canvases.to(device), self.mask.to(device))


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to make a training step, cut into the phases that are timed."""

    name: str
    model: nn.Module
    loss: Callable[[Work], Tensor]
    optimizer: torch.optim.Optimizer
    follow: Callable[[], None]
    """Moves the target encoder."""
    sample_masks: Callable[[torch.Generator], object]
    """Draws the masks of one batch; only its time counts, for masks that are fixed can be compared."""
    augment: Callable[[Tensor, torch.Generator], Tensor]
    """From canvases to images."""
    bf16: bool = False

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Precision of the forward pass."""
        return torch.autocast(device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def backward(self, work: Work) -> Tensor:
        """Loss and gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast(work.images.device):
            loss = self.loss(work)
        loss.backward()
        return loss.detach()

    def step(self, work: Work) -> Tensor:
        """Forward, backward, optimizer and EMA; the loss before the update."""
        loss = self.backward(work)
        self.optimizer.step()
        self.follow()
        return loss


def draw_work(setting: Setting, seed: int = 0) -> Work:
    """Random images and masks of a setting."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randn(setting.batch, 3, setting.image, setting.image, generator=rng)
    shape = (setting.batch, 3, setting.canvas, setting.canvas)
    canvases = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
    return Work(images, canvases, setting.mask(rng))


def new_model(setting: Setting, together: bool = False) -> JEPA:
    """Our model of a setting; the same weights at each call, with a target that has left its encoder."""
    torch.manual_seed(0)
    model = build(setting.config(together)).model
    assert isinstance(model, JEPA) and isinstance(model.target, EMA)
    with torch.no_grad():
        for parameter in model.target.encoder.parameters():
            parameter.mul_(1 + 0.01 * torch.randn_like(parameter))
    return model.train()


def our_step(
    setting: Setting,
    device: torch.device,
    *,
    bf16: bool = False,
    together: bool = False,
    compiled: bool = False,
) -> Contender:
    """The step as the library makes it."""
    model = new_model(setting, together).to(device)
    cfg = setting.config(together)
    forward = torch.compile(model) if compiled else model

    def augment(canvases: Tensor, rng: torch.Generator) -> Tensor:
        sizes = torch.full((len(canvases), 2), setting.canvas)
        crops = random_resized_crop(canvases, sizes, cfg.image, scale=cfg.crop_scale, rng=rng)
        return normalize(crops, IMAGENET_MEAN, IMAGENET_STD)

    kind = "together" if together else "ours"
    return Contender(
        name=f"{kind}{', compiled' if compiled else ''} {'bf16' if bf16 else 'float32'}",
        model=model,
        loss=lambda work: forward(Batch((Part(work.images, (work.mask,)),)), 0).total,
        optimizer=build_adamw(cfg.optim, [model.encoder, model.predictor]),
        follow=lambda: model.target.update(model.encoder, MOMENTUM),
        sample_masks=lambda rng: cfg.masks(setting.grid, setting.batch, rng)[0].to(device),
        augment=augment,
        bf16=bf16,
    )


def reference_step(setting: Setting, device: torch.device, *, bf16: bool = False) -> Contender:
    """The plain step."""
    model = reference.Model(setting)
    give_weights(new_model(setting), model, setting)
    model.to(device)

    def augment(canvases: Tensor, rng: torch.Generator) -> Tensor:
        return reference.augment(canvases, setting.image, rng).to(device)

    def masks(rng: torch.Generator) -> tuple[Tensor, list[Tensor]]:
        keep, targets = reference.sample_masks(setting, rng)
        return keep.to(device), [target.to(device) for target in targets]

    return Contender(
        name=f"reference {'bf16' if bf16 else 'float32'}",
        model=model,
        loss=lambda work: model(work.images, work.mask.context, list(work.mask.target.unbind(1))),
        optimizer=reference.adamw(model, LR, WEIGHT_DECAY),
        follow=lambda: model.follow(MOMENTUM),
        sample_masks=masks,
        augment=augment,
        bf16=bf16,
    )


def give_weights(ours: JEPA, theirs: reference.Model, setting: Setting) -> None:
    """Copy our weights into the plain model, under the published names."""
    target = ours.target
    assert isinstance(target, EMA)
    patch = (setting.patch, setting.patch)
    theirs.encoder.load_state_dict(hand_over(ours.encoder.state_dict(), ijepa.ENCODER, 3, patch))
    theirs.target_encoder.load_state_dict(hand_over(target.encoder.state_dict(), ijepa.ENCODER, 3, patch))
    theirs.predictor.load_state_dict(hand_over(ours.predictor.state_dict(), ijepa.PREDICTOR, 3, patch))
