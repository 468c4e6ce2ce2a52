import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from craik.core.tokens import Tokens
from craik.data.images import ImageData
from craik.errors import UsageError
from craik.evaluate.factors import factor_probe
from craik.evaluate.features import Featurizer


def bars(num: int, seed: int) -> ImageData:
    """A bright column at a place `x` of one of three colors, on a backdrop of a lightness that is nuisance."""
    rng = np.random.default_rng(seed)
    x, color = rng.uniform(0, 8, num).astype(np.float32), rng.integers(3, size=num)
    backdrop = rng.uniform(0, 100, num).astype(np.float32)
    pixels = np.repeat(backdrop[:, None, None, None], 8, 1).repeat(8, 2).repeat(3, 3).astype(np.uint8)
    pixels[np.arange(num), :, x.astype(int), color] = 255
    factors = {"x": x, "color": color, "backdrop": backdrop, "fixed": np.zeros(num, dtype=np.int64)}
    sizes = np.full((num, 2), 8, dtype=np.int32)
    return ImageData(pixels=pixels, sizes=sizes, name="bars", paths=[str(i) for i in range(num)], factors=factors)


class Columns(nn.Module):
    """Reads where the column is and of which color, and nothing of the backdrop; `blind` reads nothing."""

    def __init__(self, blind: bool) -> None:
        super().__init__()
        self.blind = blind

    def forward(self, x: Tensor) -> Tokens:
        lit = (x.mean(2) > 0.9).float()  # [B, 3, 8]
        z = torch.cat([lit.sum(1), lit.sum(2)], dim=1)
        z = torch.zeros_like(z) if self.blind else z
        return Tokens(z.unsqueeze(1), torch.zeros(len(x), 1, 2))


@pytest.fixture(scope="module")
def report():
    def featurizer(blind: bool) -> Featurizer:
        return Featurizer(Columns(blind), 8, (0.0,) * 3, (1.0,) * 3)

    return factor_probe(bars(600, 0), bars(300, 1), {"trained": featurizer(False)}, featurizer(True), raw_size=8)


def test_what_is_kept_and_what_is_dropped(report) -> None:
    assert report.score("x", "trained").score.value > 0.95
    assert report.score("color", "trained").score.value == 1
    assert report.score("backdrop", "trained").score.value < 0.05
    assert report.score("backdrop", "raw pixels").score.value > 0.95
    for factor in ("x", "backdrop"):
        assert abs(report.score(factor, "random encoder").score.value) < 0.05
        assert report.score(factor, "trained").trivial == 0
    guess = report.score("color", "random encoder")
    assert guess.categorical and guess.score.value == pytest.approx(guess.trivial)
    assert not report.score("x", "trained").categorical


def test_a_factor_that_never_changes_is_left_out(report) -> None:
    assert {score.factor for score in report.scores} == {"x", "color", "backdrop"}
    with pytest.raises(KeyError):
        report.score("fixed", "trained")


def test_report_can_be_read(report) -> None:
    assert json.loads(json.dumps(report.to_json()))["num_train"] == 600
    console = Console(width=140)
    with console.capture() as captured:
        console.print(report.table())
    for part in ("backdrop", "R^2", "accuracy", "guess", "100.0 (100.0-100.0)"):
        assert part in captured.get()


def test_data_without_factors_is_refused() -> None:
    featurizer = Featurizer(Columns(True), 8, (0.0,) * 3, (1.0,) * 3)
    train = bars(10, 0)
    with pytest.raises(UsageError, match="toy:shapes"):
        factor_probe(train, replace(bars(10, 1), factors={}), {"trained": featurizer}, featurizer)
