"""Sizes of published transformers. Source: reference configurations of I-JEPA, V-JEPA and V-JEPA 2."""

from dataclasses import dataclass

from craik.core.limits import at_least


@dataclass(frozen=True, slots=True)
class Size:
    """Width and depth of a transformer trunk."""

    width: int
    """Features per token D."""
    depth: int
    """Number of blocks."""
    heads: int
    """Attention heads H; must divide the width."""
    mlp_ratio: float = 4.0
    """Hidden width of the MLP over the width."""
    gated: bool = False
    """Whether the MLP is a SwiGLU, with three linear maps."""

    def __post_init__(self) -> None:
        at_least(1, width=self.width, depth=self.depth, heads=self.heads, hidden=self.hidden)
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")

    @property
    def hidden(self) -> int:
        """Hidden width of the MLP; rounded, for 1408 * 48 / 11 falls a hair short of 6144 in floating point."""
        return round(self.width * self.mlp_ratio)


TINY = Size(192, 12, 3)
SMALL = Size(384, 12, 6)
BASE = Size(768, 12, 12)
LARGE = Size(1024, 24, 16)
HUGE = Size(1280, 32, 16)
GIANT = Size(1408, 40, 16, 48 / 11)
"""I-JEPA and V-JEPA 1: 16 heads of 88 features."""
GIANT_22 = Size(1408, 40, 22, 48 / 11)
"""V-JEPA 2: the same trunk with 22 heads of 64 features."""
GIGANTIC = Size(1664, 48, 26, 64 / 13)
"""V-JEPA 2.1."""
