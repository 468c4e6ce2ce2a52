"""Several tasks on the same samples in one pass of encoder and predictor."""

import torch
from torch import Tensor, nn

from craik.core.batch import Part
from craik.core.jepa import Solved
from craik.core.tokens import Tokens
from craik.nn.encoder import Encoder
from craik.nn.predictor import Predictor


def packed(encoder: nn.Module, predictor: nn.Module, part: Part, places: list[Tensor]) -> list[Solved]:
    """A `Solve` for `JEPA`: what `one_by_one` gives, with the tasks side by side on the token axis.

    Patches are cut and embedded once for all tasks, and every linear map, norm and MLP runs once over all of them;
    only attention is apart. The mask tokens are those of `Mask.kind`.

    Raises:
        TypeError: If the networks are not an `Encoder` and a `Predictor`.
    """
    if not isinstance(encoder, Encoder) or not isinstance(predictor, Predictor):
        raise TypeError(
            f"tasks can be packed for Encoder and Predictor, not for {type(encoder).__name__} and "
            f"{type(predictor).__name__}: leave out solve"
        )
    keeps = [mask.context for mask in part.masks]
    lengths = tuple(keep.shape[1] for keep in keeps)
    seen: Tokens = encoder(part.x, keep=torch.cat(keeps, 1), lengths=lengths)
    contexts = [Tokens(x, at) for x, at in zip(seen.x.split(lengths, 1), seen.at.split(lengths, 1), strict=True)]
    preds = predictor.each(contexts, places, [mask.kind for mask in part.masks], part.cond)
    return [Solved(context, pred) for context, pred in zip(contexts, preds, strict=True)]
