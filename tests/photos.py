"""Procedural photographs in class sub-folders, as a user would have them."""

from pathlib import Path

import numpy as np
from PIL import Image

from craik.data.toy import SHAPES, shapes


def write_photos(root: Path, per_class: int = 4, side: int = 48, seed: int = 0) -> Path:
    """root/circle/000.png, root/square/000.png, ...: `per_class` images of each shape, of varied size."""
    pixels, factors = shapes(8 * per_class * len(SHAPES), side, seed=seed)
    for label, shape in enumerate(SHAPES):
        name = "circle" if shape == "disk" else shape
        (root / name).mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(np.flatnonzero(factors["shape"] == label)[:per_class]):
            Image.fromarray(pixels[row, : side - number % 5]).save(root / name / f"{number:03d}.png")
    return root
