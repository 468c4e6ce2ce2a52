"""A recipe without chance: every sample is prepared the same on whatever rank it lands."""

from dataclasses import replace

import torch

from craik.core import Batch, Mask, Part
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD, normalize, resize_center_crop
from craik.recipes import ijepa
from craik.recipes.ijepa import Config
from craik.train.recipe import Recipe, Samples
from tests.micro import micro


def steady() -> Config:
    """The left half of an image tells the right one."""
    return micro()


def regularized() -> Config:
    """The same with statistics over the batch: SIGReg of pooled contexts."""
    return replace(micro(), sigreg=1.0)


def build(config: Config) -> Recipe:
    """I-JEPA's parts with fixed crops and masks."""
    cells = torch.arange((config.image // config.patch) ** 2).view(config.image // config.patch, -1)
    left, right = cells.chunk(2, 1)

    def prepare(samples: Samples, rng: torch.Generator) -> Batch:
        x = normalize(resize_center_crop(samples.x, samples.sizes, config.image), IMAGENET_MEAN, IMAGENET_STD)
        mask = Mask(left.flatten().expand(len(x), -1), right.flatten().expand(len(x), 1, -1))
        return Batch((Part(x, (mask,)),))

    return replace(ijepa.build(config), prepare=prepare)
