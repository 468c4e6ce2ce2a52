"""How much work the published algorithm is: matrix products of one training step, 2 m n k each.

Counted as published, whatever the implementation leaves out: both encoders embed all patches, the target encoder
runs all its blocks on all tokens, and the predictor runs once for each target block, with the context tiled.
"""

from bench.settings import Setting
from craik.nn.sizes import Size


def trunk(size: Size, tokens: int) -> int:
    """Forward pass of all blocks on one sequence [FLOP]."""
    linear = 2 * tokens * size.width * (4 * size.width + 2 * size.hidden)  # q, k, v, projection; the MLP's two
    attention = 2 * 2 * tokens * tokens * size.width  # q k^T, and weights times v
    return size.depth * (linear + attention)


def stem(setting: Setting) -> int:
    """Forward pass of the patch embedding of a whole image [FLOP]."""
    return 2 * setting.grid.num_tokens * 3 * setting.patch**2 * setting.encoder.width


def predictor(setting: Setting) -> int:
    """Forward pass of the predictor for one image, one pass per target block [FLOP]."""
    enter = 2 * setting.context * setting.encoder.width * setting.predictor.width
    leave = 2 * setting.target * setting.predictor.width * setting.encoder.width
    return enter + setting.sets * (trunk(setting.predictor, setting.context + setting.target) + leave)


def training_step(setting: Setting) -> int:
    """Forward and backward pass of one batch [FLOP].

    A product costs as much again for each of its two gradients. Images need none, so the stem has one.
    """
    target = stem(setting) + trunk(setting.encoder, setting.grid.num_tokens)
    context = 2 * stem(setting) + 3 * trunk(setting.encoder, setting.context)
    return setting.batch * (target + context + 3 * predictor(setting))
