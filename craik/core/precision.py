"""Half precision is for matrices; sums over many numbers are made in float32 or wider."""

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
