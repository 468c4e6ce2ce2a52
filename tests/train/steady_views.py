"""LeJEPA without chance: every image has the same two views on whatever rank it lands."""

from dataclasses import replace

import torch

from craik.core import Batch, Part
from craik.data.augment import IMAGENET_MEAN, IMAGENET_STD, normalize, resize_center_crop
from craik.recipes import lejepa
from craik.recipes.lejepa import Config
from craik.train.recipe import Recipe, Samples


def views() -> Config:
    """The tiny variant: a ConvNet and a projector, both with batch norm.

    AdamW moves a weight by the whole learning rate however small its gradient is, rounding included; with an eps
    above the gradients its moves follow their size, as the comparison wants.
    """
    config = lejepa.tiny()
    return replace(config, optim=replace(config.optim, eps=1e-1))


def build(config: Config) -> Recipe:
    """LeJEPA's parts; an image and its mirror image are the views."""

    def prepare(samples: Samples, rng: torch.Generator) -> Batch:
        x = resize_center_crop(samples.x, samples.sizes, config.global_views.image)
        x = normalize(x, IMAGENET_MEAN, IMAGENET_STD)
        return Batch((Part(torch.stack([x, x.flip(-1)], 1)),))

    return replace(lejepa.build(config), prepare=prepare)
