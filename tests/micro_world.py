"""A world model as a user's recipe file, small enough to train in a second."""

from craik.nn.causal import CausalSize
from craik.nn.sizes import Size
from craik.recipes.leworldmodel import Body, Config, build, fit
from craik.train.optim import AdamW

__all__ = ["Config", "build", "fit", "micro"]


def micro() -> Config:
    """16 px, 16 patches, every second frame, two predictions in a row."""
    body = Body(
        image=16,
        patch=4,
        encoder=Size(16, 1, 2),
        embedding=8,
        hidden=16,
        predictor=CausalSize(width=8, depth=1, heads=2, head_width=4, hidden=16),
        dropout_prob=0.1,
        history=2,
        skip=2,
        num_steps=2,
    )
    optim = AdamW(lr=2e-3, start_lr=0, warmup_fraction=0.1, weight_decay=1e-3, final_weight_decay=1e-3, clip_norm=1.0)
    return Config(body=body, num_directions=16, batch=16, epochs=1, optim=optim)
