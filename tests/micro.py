"""A recipe file as a user would write it, small enough to train in a second."""

from craik.core import EMA, JEPA
from craik.masking.block import MultiBlock
from craik.nn.sizes import Size
from craik.recipes.ijepa import Config, build
from craik.train.optim import AdamW

__all__ = ["EMA", "JEPA", "Config", "build", "micro"]


def micro() -> Config:
    """16 px, 16 tokens, a few thousand parameters."""
    return Config(
        encoder=Size(24, 2, 2),
        predictor=Size(16, 1, 2),
        image=16,
        patch=4,
        masks=MultiBlock(min_keep=2),
        momentum=(0.9, 1.0),
        batch=16,
        epochs=2,
        optim=AdamW(lr=2e-3, start_lr=1e-4, warmup_fraction=0.1, weight_decay=0.05, final_weight_decay=0.05),
    )
