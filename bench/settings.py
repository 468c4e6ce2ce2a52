"""What is measured: two sizes of I-JEPA, with the numbers of tokens held fixed so that work can be counted."""

from dataclasses import dataclass

import torch

from craik.core import Grid, Mask
from craik.masking.block import BlockSize, MultiBlock, cells
from craik.nn import sizes
from craik.nn.sizes import Size
from craik.recipes.ijepa import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One training step of I-JEPA."""

    name: str
    image: int
    """Side of an image [pixels]."""
    patch: int
    """Side of a patch [pixels]."""
    encoder: Size
    predictor: Size
    batch: int
    """Images per step."""
    context: int
    """Tokens the context encoder sees."""
    block: BlockSize
    """Target block in tokens."""
    sets: int = 4
    """Target blocks per image T."""
    min_keep: int = 10
    """What the mask sampler asks of a context; small grids cannot give more than this."""

    @property
    def side(self) -> int:
        """Tokens along one side of the image."""
        return self.image // self.patch

    @property
    def grid(self) -> Grid:
        """Token lattice of an image."""
        return Grid(("h", "w"), (self.side, self.side))

    @property
    def target(self) -> int:
        """Tokens in one target block."""
        return self.block.height * self.block.width

    @property
    def canvas(self) -> int:
        """Side of a stored image, from which crops are made [pixels]."""
        return self.image if self.image < 64 else self.image * 8 // 7

    def config(self, together: bool = False) -> Config:
        """The recipe of this step."""
        return Config(
            encoder=self.encoder,
            predictor=self.predictor,
            image=self.image,
            patch=self.patch,
            masks=self.sampler(as_published=False),
            batch=self.batch,
            together=together,
        )

    def sampler(self, as_published: bool) -> MultiBlock:
        """The sampler whose time is measured."""
        return MultiBlock(num_targets=self.sets, min_keep=self.min_keep, as_published=as_published)

    def mask(self, rng: torch.Generator) -> Mask:
        """Masks with exactly the numbers of tokens of this setting; contexts are drawn from what is left over."""
        shape = (self.batch, self.sets)
        top = torch.randint(self.side - self.block.height + 1, shape, generator=rng)
        left = torch.randint(self.side - self.block.width + 1, shape, generator=rng)
        target = cells(top, left, self.block, self.side)
        hidden = torch.zeros(self.batch, self.grid.num_tokens).scatter_(1, target.flatten(1), 1.0)
        order = torch.rand(hidden.shape, generator=rng) + hidden  # hidden tokens come last
        return Mask(order.argsort(1)[:, : self.context].sort(1).values, target)


TINY_224 = Setting(
    name="ViT-Tiny/16, 224 px",
    image=224,
    patch=16,
    encoder=sizes.TINY,
    predictor=Size(192, 6, 3),
    batch=32,
    context=43,
    block=BlockSize(6, 6),
)
SMALL_32 = Setting(
    name="6 x 192 /4, 32 px",
    image=32,
    patch=4,
    encoder=Size(192, 6, 3),
    predictor=Size(96, 3, 3),
    batch=128,
    context=9,
    block=BlockSize(3, 4),
    min_keep=4,
)
SETTINGS = {"tiny224": TINY_224, "small32": SMALL_32}
