import json
import math

import numpy as np
import pytest
import torch

from craik.data.images import ImageData
from craik.evaluate.collapse import agreement, alignment, collapse_report, lidar, look, uniformity
from craik.evaluate.features import Featurizer
from craik.nn.encoder import Encoder
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify


def crops(num: int = 400, directions: int = 8, width: int = 16, noise: float = 0.02) -> torch.Tensor:
    """Images that differ along `directions` of `width`, four crops each that differ a little."""
    g = torch.Generator().manual_seed(0)
    means = torch.zeros(num, 1, width)
    means[:, 0, :directions] = torch.randn(num, directions, generator=g)
    return means + noise * torch.randn(num, 4, width, generator=g)


def test_lidar_counts_the_directions_that_tell_images_apart() -> None:
    assert lidar(crops(directions=8)) == pytest.approx(8, rel=0.1)
    assert lidar(crops(directions=2)) == pytest.approx(2, rel=0.1)


def test_lidar_equals_its_formula() -> None:
    z = crops(20, 3, 5, 0.3).double()
    n, q, width = z.shape
    means, center = z.mean(1), z.mean((0, 1))
    between = sum(torch.outer(m - center, m - center) for m in means) / (n - 1)
    within = sum(torch.outer(z[i, j] - means[i], z[i, j] - means[i]) for i in range(n) for j in range(q))
    within = within / (n * (q - 1)) + 1e-4 * torch.eye(width)
    spread = torch.linalg.eigvals(torch.linalg.solve(within, between)).real  # the same as those of the symmetric form
    p = spread / spread.sum() + 1e-8
    assert lidar(z) == pytest.approx(math.exp(-float((p * p.log()).sum())), rel=1e-6)


def test_lidar_is_blind_to_spread_that_crops_share() -> None:
    z = crops(directions=2)
    z[..., 8:] += 5 * torch.randn(400, 4, 8, generator=torch.Generator().manual_seed(1))  # crop noise, wide
    assert lidar(z) < 2.3
    assert collapse_report(z[:, 0]).spectrum.effective_rank > 8


def test_alignment_and_uniformity_at_known_places() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert alignment(a, 3 * a) == pytest.approx(0)
    assert alignment(a, -a) == pytest.approx(4)
    assert uniformity(a) == pytest.approx(-4)  # the only pair is at squared distance 2
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0)


def test_collapsed_and_healthy_features_differ() -> None:
    healthy, collapsed = agreement(crops()), agreement(torch.ones(400, 4, 16) + 1e-6 * crops())
    assert healthy.nearest_agreement > 0.95
    assert healthy.uniformity < -2 < collapsed.uniformity
    assert collapsed.uniformity == pytest.approx(0, abs=1e-3)
    assert healthy.num_images == 400 and healthy.num_crops == 4


def test_one_crop_is_not_enough() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        agreement(torch.zeros(5, 1, 3))


def test_look_at_an_encoder() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    sizes = np.full((40, 2), 16, dtype=np.int32)
    data = ImageData(pixels=pixels, sizes=sizes, name="noise", paths=[str(i) for i in range(40)])
    torch.manual_seed(0)
    encoder = Encoder(Patchify(3, (4, 4), 16, ("h", "w")), Size(16, 1, 2))
    featurizer = Featurizer(encoder, 16, (0.5,) * 3, (0.2,) * 3)
    report = look(featurizer, data, num_crops=3, max_images=20)
    assert report.num_images == 40 and report.width == 16
    assert report.agreement is not None
    assert (report.agreement.num_images, report.agreement.num_crops) == (20, 3)
    assert report == look(featurizer, data, num_crops=3, max_images=20)
    assert json.loads(json.dumps(report.to_json()))["spectrum"]["effective_rank"] > 1
    assert encoder.training
