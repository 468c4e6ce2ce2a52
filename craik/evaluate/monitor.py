"""A quick score without labels, for a run in progress."""

import torch

from craik.data.augment import resample
from craik.data.images import ImageData
from craik.evaluate.features import Featurizer, read
from craik.evaluate.knn import nearest_agreement


def crop_agreement(featurizer: Featurizer, images: ImageData, *, batch: int = 256) -> float:
    """How often an image's upper left crop finds its own lower right crop among those of all images, in [0, 1].

    The crops have three quarters of each side, so they share half of their content; chance is 1 / N.
    """
    features: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    side = images.side
    crop = 0.75 * side
    for _, x, _ in read(images, batch):
        for found, corner in zip(features, (0.0, side - crop), strict=True):
            box = torch.tensor([[corner, corner, crop, crop]], dtype=torch.float64).expand(len(x), -1)
            found.append(featurizer.embed(resample(x.to(featurizer.device), box, featurizer.image_size)))
    return nearest_agreement(torch.cat(features[0]), torch.cat(features[1]))
