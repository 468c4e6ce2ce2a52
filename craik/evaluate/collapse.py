"""What features of a data set tell without labels: are they spread out, and do crops of one image agree?

Spread alone is not quality (noise is spread perfectly), agreement alone is not either (a constant agrees
perfectly): read them together, and beside those of a random encoder.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from craik.core.collapse import Spectrum, spectrum
from craik.data.augment import random_resized_crop
from craik.data.images import ImageData
from craik.evaluate.features import Featurizer, extract, read
from craik.evaluate.knn import nearest_agreement
from craik.nn.mode import evaluating

MAX_PAIRED = 4096  # samples whose pairs uniformity looks at


@dataclass(frozen=True, slots=True)
class Agreement:
    """Measures of the features of several crops of the same images."""

    alignment: float
    """Mean squared distance of two crops of an image on the unit sphere; 0 agrees, 2 is unrelated."""
    uniformity: float
    """log mean exp(-2 squared distance) of crops of different images; lower is more even, 0 is collapsed."""
    lidar: float
    """Number of directions that tell images apart beyond what crops change, 1 to min(F, n - 1)."""
    nearest_agreement: float
    """Share of images whose crop has the other crop as nearest neighbor; chance is 1 / n."""
    num_images: int
    num_crops: int


@dataclass(frozen=True, slots=True)
class CollapseReport:
    """Label-free account of one encoder on one data set."""

    spectrum: Spectrum
    agreement: Agreement | None
    num_images: int
    width: int
    """Number of features F; ranks can reach it and not more."""

    def to_json(self) -> dict[str, object]:
        """Plain values for `json.dump`."""
        return asdict(self)


def collapse_report(features: Tensor, crops: Tensor | None = None) -> CollapseReport:
    """Look at features [N, F] of a data set, and at those of two or more crops [n, q, F] of some of its images."""
    found = None if crops is None else agreement(crops)
    return CollapseReport(spectrum(features), found, len(features), features.shape[1])


def agreement(crops: Tensor) -> Agreement:
    """Measures of features [n, q, F] of q >= 2 crops of n >= 2 images."""
    if crops.ndim != 3 or crops.shape[0] < 2 or crops.shape[1] < 2:
        raise ValueError(f"agreement wants features [n, q, F] with n and q of at least 2, got {list(crops.shape)}")
    a, b = crops[:, 0], crops[:, 1]
    return Agreement(
        alignment=alignment(a, b),
        uniformity=uniformity(a),
        lidar=lidar(crops),
        nearest_agreement=nearest_agreement(a, b),
        num_images=crops.shape[0],
        num_crops=crops.shape[1],
    )


def alignment(a: Tensor, b: Tensor) -> float:
    """Mean squared distance of unit vectors a[i] and b[i], both [N, F]. Wang and Isola 2020 (arXiv 2005.10242)."""
    return float((F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)).square().sum(1).mean())


def uniformity(z: Tensor, t: float = 2.0) -> float:
    """Log mean of exp(-t |z_i - z_j|^2) over pairs of unit vectors of [N, F]. Wang and Isola 2020, equation 2."""
    z = F.normalize(z[:MAX_PAIRED].float(), dim=1)
    return float(torch.pdist(z).square().mul(-t).exp().mean().log())


def lidar(crops: Tensor, delta: float = 1e-4, eps: float = 1e-8) -> float:
    """Effective rank of the linear discriminants that tell images from one another.

    Args:
        crops: Features [n, q, F] of q augmentations of n images; the paper has n about 1000 and q about 50.
        delta: Ridge on the covariance within images.
        eps: Keeps the logarithm finite.

    Source: Thilak et al. 2024 (arXiv 2312.04000), equations 1 to 4.
    """
    z = crops.double()
    num_images, num_crops, width = z.shape
    means = z.mean(1)
    between = means - means.mean(0)
    within = (z - means.unsqueeze(1)).flatten(0, 1)
    s_between = between.T @ between / (num_images - 1)
    s_within = within.T @ within / (num_images * (num_crops - 1))
    s_within = s_within + delta * torch.eye(width, dtype=z.dtype, device=z.device)
    values, vectors = torch.linalg.eigh(s_within)
    white = vectors / values.sqrt()  # S_w^-1/2 up to a rotation, which eigenvalues do not see
    spread = torch.linalg.eigvalsh(white.T @ s_between @ white).clamp(min=0)
    p = spread / spread.sum().clamp(min=1e-300) + eps
    return float(torch.exp(-(p * p.log()).sum()))


def look(
    featurizer: Featurizer,
    images: ImageData,
    *,
    num_crops: int = 10,
    max_images: int = 1000,
    scale: tuple[float, float] = (0.3, 1.0),
    seed: int = 0,
    progress: bool = False,
) -> CollapseReport:
    """The label-free report of an encoder on a data set.

    Args:
        featurizer: Pooled features.
        images: What to look at; all of them for the spectrum.
        num_crops: Random crops q of each image.
        max_images: Images n that crops are taken of, spread over the data.
        scale: Range of the area of a crop as a fraction of the image's; crops are mirrored half of the time.
        seed: Draws the crops.
        progress: Show a bar when it takes long.
    """
    features = extract(featurizer, images, progress=progress)
    rows = np.unique(np.linspace(0, len(images) - 1, min(max_images, len(images))).round().astype(np.int64))
    chosen, rng = images.subset(rows), torch.Generator().manual_seed(seed)
    crops = torch.empty(len(rows), num_crops, features.shape[1])
    with evaluating(featurizer.encoder), torch.inference_mode():
        for start, x, sizes in read(chosen, featurizer.batch):
            x = x.to(featurizer.device)
            for crop in range(num_crops):
                view = random_resized_crop(x, sizes, featurizer.image_size, scale=scale, rng=rng, flip_prob=0.5)
                crops[start : start + len(x), crop].copy_(featurizer.embed(view))
    return collapse_report(features, crops)
