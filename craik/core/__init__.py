"""The idea, on torch alone: tokens, masks, the one flow, targets, energies, regularizers, collapse measures."""

from craik.core.batch import Batch as Batch
from craik.core.batch import Part as Part
from craik.core.jepa import JEPA as JEPA
from craik.core.jepa import Latents as Latents
from craik.core.jepa import Loss as Loss
from craik.core.jepa import Regularizer as Regularizer
from craik.core.mask import Mask as Mask
from craik.core.target import EMA as EMA
from craik.core.target import Frozen as Frozen
from craik.core.target import Shared as Shared
from craik.core.target import StopGrad as StopGrad
from craik.core.target import Target as Target
from craik.core.tokens import Grid as Grid
from craik.core.tokens import Tokens as Tokens
