import numpy as np
import pytest
import torch
from torch import Tensor, nn

from craik.core.tokens import Grid, Tokens
from craik.data.images import ImageData
from craik.evaluate.features import Featurizer, Pool, extract, raw_pixels
from craik.nn.encoder import Encoder
from craik.nn.mode import evaluating
from craik.nn.position import Table
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def images(count: int = 10, side: int = 16) -> ImageData:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    sizes = np.full((count, 2), side, dtype=np.int32)
    return ImageData(pixels=pixels, sizes=sizes, name="noise", paths=[str(i) for i in range(count)])


def encoder(depth: int = 5) -> Encoder:
    torch.manual_seed(0)
    return Encoder(Patchify(3, (4, 4), 16, ("h", "w")), Size(16, depth, 2), Table(Grid(("h", "w"), (4, 4)), 16))


class Trunk(nn.Module):
    """A ConvNet with the methods a featurizer asks for, and modes that matter."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tokens:
        return Tokens(self.drop(self.norm(x)).flatten(2).mT, torch.zeros(len(x), x[0, 0].numel(), 2))

    def layers(self, x: Tensor, num: int) -> list[Tensor]:
        return [self(x).x]


def test_mean_pool_is_the_mean_of_the_normalized_encoding() -> None:
    data, model = images(), encoder()
    found = extract(Featurizer(model, 16, MEAN, STD), data, batch=4)
    x = torch.from_numpy(data.take(np.arange(10))).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(found, model(x).x.mean(1))
    assert not found.is_inference()


def test_last_four_ends_with_the_last_layer_and_follows_the_depth() -> None:
    data = images()
    mean = extract(Featurizer(encoder(), 16, MEAN, STD), data)
    four = extract(Featurizer(encoder(), 16, MEAN, STD, Pool.LAST_FOUR), data)
    assert four.shape == (10, 64)
    torch.testing.assert_close(four[:, -16:], mean)
    assert not torch.allclose(four[:, :16], mean)
    assert extract(Featurizer(encoder(2), 16, MEAN, STD, Pool.LAST_FOUR), data).shape == (10, 32)


def test_tokens_are_kept_in_half_precision_when_asked() -> None:
    found = extract(Featurizer(encoder(), 16, MEAN, STD, Pool.TOKENS), images(), dtype=torch.float16)
    assert found.shape == (10, 16, 16)
    assert found.dtype == torch.float16


def test_autocast_stays_close_to_float32() -> None:
    exact = extract(Featurizer(encoder(), 16, MEAN, STD), images())
    half = extract(Featurizer(encoder(), 16, MEAN, STD, autocast=torch.bfloat16), images())
    assert half.dtype == torch.float32
    assert 0 < float((half - exact).abs().max()) < 0.05


def test_other_encoders_run_in_evaluation_mode_whatever_the_batch() -> None:
    model = Trunk()
    model.train()
    model.norm.eval()  # a frozen part inside a model in training
    featurizer = Featurizer(model, 16, MEAN, STD)
    torch.testing.assert_close(extract(featurizer, images(), batch=3), extract(featurizer, images(), batch=10))
    assert model.training and model.drop.training and not model.norm.training


def test_modes_return_after_an_error() -> None:
    model = Trunk()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not model.drop.training
        raise ZeroDivisionError
    assert model.drop.training


def test_raw_pixels_are_the_pixels() -> None:
    data = images()
    expected = torch.from_numpy(data.take(np.arange(10))).permute(0, 3, 1, 2).flatten(1) / 255
    torch.testing.assert_close(raw_pixels(data, 16, batch=3), expected)
    assert raw_pixels(data, 8).shape == (10, 3 * 8 * 8)


def test_progress_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("craik.evaluate.progress.PATIENCE", 0.0)
    featurizer = Featurizer(encoder(), 16, MEAN, STD)
    shown, silent = extract(featurizer, images(), batch=3, progress=True), extract(featurizer, images(), batch=3)
    torch.testing.assert_close(shown, silent, rtol=0, atol=0)


def test_no_image_is_a_programming_mistake() -> None:
    with pytest.raises(ValueError, match="no images"):
        extract(Featurizer(encoder(), 16, MEAN, STD), images().subset(np.arange(0)))
