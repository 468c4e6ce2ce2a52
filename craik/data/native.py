"""How large the images of a data set are, from a handful of them."""

import numpy as np

from craik.data.decode import UnreadableImage, decode
from craik.data.labels import LabelSpec
from craik.data.source import open_source
from craik.errors import UsageError


def native_side(path: str, *, labels: LabelSpec | None = None, split: str | None = None, num: int = 16) -> int:
    """Median short side [px] of `num` readable images spread over the data.

    Raises:
        UsageError: If there is no such data, or none of the images looked at can be read.
    """
    source = open_source(path, labels=labels, split=split)
    sides, reasons = [], []
    for i in np.linspace(0, len(source) - 1, min(num, len(source))).astype(int):
        try:
            sides.append(min(decode(source.read(int(i))).size))
        except UnreadableImage as error:
            reasons.append(f"{source.paths[i]} ({error})")
    if not sides:
        some = f"{len(reasons)} image files that were tried" if len(reasons) < len(source) else "its image files"
        raise UsageError(f"{path}: none of {some} can be read: {'; '.join(reasons[:3])}")
    return int(np.median(sides))
