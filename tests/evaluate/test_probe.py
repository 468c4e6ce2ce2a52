import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from craik.core.tokens import Tokens
from craik.data.images import ImageData
from craik.evaluate.attentive import AttentiveOptions
from craik.evaluate.features import Featurizer, Pool
from craik.evaluate.probe import ProbeOptions, attentive_heads, probe, raw_side

MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
SIDE = 8


def tinted(num: int, seed: int) -> ImageData:
    """Gray images with some noise in which a class is how bright the red of one quarter is."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 3
    pixels = rng.integers(90, 160, (num, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:, :4, :4, 0] = (80 * labels[:, None, None] + rng.integers(0, 60, (num, 4, 4))).astype(np.uint8)
    sizes = np.full((num, 2), SIDE, dtype=np.int32)
    paths: Sequence[str] = [str(i) for i in range(num)]
    names = ("dark", "mid", "bright")
    return ImageData(
        pixels=pixels, sizes=sizes, name=f"tint{seed}", paths=paths, labels=labels.astype(np.int64), class_names=names
    )


class Quarters(nn.Module):
    """Tokens that are the mean colors of the quarters; `informed` keeps the one that tells the class."""

    def __init__(self, informed: bool) -> None:
        super().__init__()
        self.informed = informed
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tokens:
        colors = nn.functional.avg_pool2d(x, 4).flatten(2).mT * self.weight  # [B, 4, 3]
        if not self.informed:
            colors = colors.clone()
            colors[:, 0, 0] = 0
        return Tokens(nn.functional.pad(colors, (0, 1)), torch.zeros(len(x), 4, 2))

    def layers(self, x: Tensor, num: int) -> list[Tensor]:
        return [self(x).x] * min(num, 2)


def featurizer(informed: bool, pool: Pool = Pool.MEAN) -> Featurizer:
    return Featurizer(Quarters(informed), SIDE, MEAN, STD, pool)


@pytest.fixture(scope="module")
def report():
    trained = {"target, mean": featurizer(True), "target, last4": featurizer(True, Pool.LAST_FOUR)}
    options = ProbeOptions(few_fractions=(0.1,), few_seeds=2, raw_size=SIDE)
    return probe(tinted(300, 0), tinted(150, 1), trained, featurizer(False), options)


def test_informed_features_beat_uninformed_ones(report) -> None:
    assert report.score("target, mean", "linear").accuracy.value > 0.9
    assert report.score("target, mean", "kNN").accuracy.value > 0.9
    assert report.score("random encoder", "linear").accuracy.value < 0.5
    gain = report.score("target, mean", "linear").over_random
    assert gain.low > 0.4
    assert gain.value == pytest.approx(
        report.score("target, mean", "linear").accuracy.value - report.score("random encoder", "linear").accuracy.value
    )


def test_baselines_are_always_there(report) -> None:
    methods = ("kNN", "linear", "linear, 10 % labels")
    rows = ("target, mean", "target, last4", "random encoder", "raw pixels", "majority class")
    assert [(s.features, s.method) for s in report.scores] == [(row, method) for row in rows for method in methods]
    assert report.score("majority class", "linear").accuracy.value == pytest.approx(1 / 3)
    assert report.score("raw pixels", "linear").accuracy.value > 0.9
    for score in report.scores:
        assert score.accuracy.low <= score.accuracy.value <= score.accuracy.high
        assert (score.over_random is not None) == (score.features.startswith("target"))


def test_few_labels_use_few_labels(report) -> None:
    score = report.score("target, mean", "linear, 10 % labels")
    assert score.num_labels == 30
    assert report.score("target, mean", "linear").num_labels == 300
    assert score.detail.count("l2") == 1 and "points" in score.detail
    assert 0.5 < score.accuracy.value <= 1


def test_report_goes_through_json(report) -> None:
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["num_train"] == 300 and plain["num_test"] == 150 and plain["num_classes"] == 3
    assert plain["scores"][0]["accuracy"]["value"] == report.scores[0].accuracy.value
    assert plain["options"]["k"] == 20


def test_table_and_sentences_show_the_figures(report) -> None:
    console = Console(width=160, record=True, quiet=False, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(report.table())
    text = captured.get()
    for score in report.scores:
        assert score.accuracy.percent() in text
    assert len(report.summary()) == 6
    assert "over the random encoder" in report.summary()[0] and "over raw pixels" in report.summary()[0]


def test_protocol_says_how_it_was_measured(report) -> None:
    text = "\n".join(report.protocol)
    for part in (
        "300 training and 150 test",
        "target, last4: Quarters at 8 px, means over",
        "k 20",
        "exp(cosine / 0.07)",
    ):
        assert part in text
    for part in ("L-BFGS", "1e-06", "bootstrap", "Seed 0", "raw pixels: 8 px", "mean of 2 subsets"):
        assert part in text
    assert "attentive" not in text


def test_attentive_is_there_when_asked_and_fits_memory() -> None:
    options = ProbeOptions(
        few_fractions=(),
        raw_size=4,
        attentive=AttentiveOptions(lrs=(1e-2,), epochs=60, batch=32),
        attentive_bytes=150 * 2 * 16,
    )
    trained = {"mean": featurizer(True)}
    trained["last4"] = Featurizer(trained["mean"].encoder, SIDE, MEAN, STD, Pool.LAST_FOUR)
    report = probe(tinted(300, 0), tinted(90, 1), trained, featurizer(False), options)
    score = report.score("mean", "attentive")
    assert score.accuracy.value > 0.7
    assert score.num_labels == 150
    assert report.score("random encoder", "attentive").accuracy.value < 0.55
    with pytest.raises(KeyError):  # the same encoder, hence the same tokens
        report.score("last4", "attentive")
    assert score.over_raw is None and score.over_random is not None
    assert any("attentive: one query" in line for line in report.protocol)


def test_programming_mistakes_are_refused() -> None:
    train, test = tinted(30, 0), tinted(30, 1)
    with pytest.raises(ValueError, match="names of their own"):
        probe(train, test, {"raw pixels": featurizer(True)}, featurizer(False))
    with pytest.raises(ValueError, match="pooled"):
        probe(train, test, {"x": featurizer(True, Pool.TOKENS)}, featurizer(False))


def test_raw_pixels_are_made_smaller_until_they_fit() -> None:
    assert raw_side(1000, ProbeOptions()) == 32
    assert raw_side(1_000_000, ProbeOptions()) == 8


@pytest.mark.parametrize(("width", "heads"), [(192, 3), (384, 6), (64, 1), (16, 1), (100, 1), (1408, 22)])
def test_attentive_heads_divide_the_width(width: int, heads: int) -> None:
    assert attentive_heads(width) == heads
