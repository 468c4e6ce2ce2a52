"""The encoder sees what it may and answers where it is asked."""

import pytest
import torch

from craik.core import Grid
from craik.nn import sizes
from craik.nn.conv import ConvEncoder
from craik.nn.encoder import Encoder
from craik.nn.position import Rotary, Table
from craik.nn.projector import projector
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify

SIZE = Size(32, 3, 4)
X = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def build(kind: str) -> Encoder:
    torch.manual_seed(1)
    tokenizer = Patchify(3, (4, 4), SIZE.width, ("h", "w"))
    if kind == "table":
        encoder = Encoder(tokenizer, SIZE, position=Table(Grid(("h", "w"), (4, 6)), SIZE.width))
    else:
        encoder = Encoder(tokenizer, SIZE, rotary=Rotary(SIZE.width // SIZE.heads, 2))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return encoder.double()


def choose(num: int) -> torch.Tensor:
    return torch.stack([torch.randperm(24)[:num] for _ in range(2)])


@pytest.mark.parametrize("kind", ["table", "rotary"])
def test_shapes(kind: str) -> None:
    encoder, keep, wanted = build(kind), choose(9), choose(5)
    for tokens, num in (
        (encoder(X.double()), 24),
        (encoder(X.double(), keep), 9),
        (encoder(X.double(), wanted=wanted), 5),
    ):
        assert tokens.x.shape == (2, num, 32) and tokens.at.shape == (2, num, 2)


@pytest.mark.parametrize("kind", ["table", "rotary"])
def test_wanted_is_gathering_afterwards(kind: str) -> None:
    encoder, wanted = build(kind), choose(7)
    some, everything = encoder(X.double(), wanted=wanted), encoder(X.double()).take(wanted)
    assert torch.allclose(some.x, everything.x, atol=1e-12) and torch.equal(some.at, everything.at)


@pytest.mark.parametrize("kind", ["table", "rotary"])
def test_wanted_among_the_kept(kind: str) -> None:
    encoder, keep, wanted = build(kind), choose(12), torch.tensor([[3, 0, 11], [5, 5, 1]])
    some, kept = encoder(X.double(), keep, wanted), encoder(X.double(), keep)
    assert torch.allclose(some.x, kept.take(wanted).x, atol=1e-12)


@pytest.mark.parametrize("kind", ["table", "rotary"])
def test_hidden_pixels_have_no_influence(kind: str) -> None:
    encoder = build(kind)
    keep = torch.arange(12).repeat(2, 1)  # the upper two of four rows of patches
    disturbed = X.double().clone()
    disturbed[:, :, 8:] = 1e3
    assert torch.equal(encoder(disturbed, keep).x, encoder(X.double(), keep).x)
    assert not torch.allclose(encoder(disturbed).x, encoder(X.double()).x)


@pytest.mark.parametrize("kind", ["table", "rotary"])
def test_the_order_of_kept_tokens_is_only_an_order(kind: str) -> None:
    encoder, keep = build(kind), choose(9)
    shuffle = torch.randperm(9)
    assert torch.allclose(encoder(X.double(), keep[:, shuffle]).x, encoder(X.double(), keep).x[:, shuffle], atol=1e-12)


def test_gradient_through_wanted_is_that_of_gathering() -> None:
    encoder, wanted = build("table"), choose(4)
    mix = torch.randn(2, 4, 32, dtype=torch.float64)
    grads = []
    for tokens in (encoder(X.double(), wanted=wanted), encoder(X.double()).take(wanted)):
        encoder.zero_grad()
        (tokens.x * mix).sum().backward()
        grads.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*grads, strict=True))


def test_layers_end_with_the_features() -> None:
    encoder = build("table")
    layers = encoder.layers(X.double(), 2)
    assert len(layers) == 2 and torch.allclose(layers[-1], encoder(X.double()).x)
    assert not torch.allclose(layers[0], layers[1])


def test_other_image_sizes() -> None:
    encoder = build("table")
    assert encoder(torch.randn(1, 3, 32, 8, dtype=torch.float64)).x.shape == (1, 16, 32)


def test_autocast_keeps_coordinates() -> None:
    encoder = build("rotary").float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = encoder(X)
    assert tokens.at.dtype == torch.float32
    assert (tokens.x.float() - encoder(X).x).abs().max() < 0.2


@pytest.mark.parametrize(
    ("size", "patch", "millions"),
    [
        (sizes.TINY, (16, 16), 5.5),
        (sizes.SMALL, (16, 16), 21.6),
        (sizes.BASE, (16, 16), 85.6),
        (sizes.LARGE, (16, 16), 303.1),
        (sizes.HUGE, (16, 16), 630.7),
        (sizes.HUGE, (14, 14), 630.4),
        (sizes.GIANT, (16, 16), 1011.1),
        (sizes.GIANT_22, (2, 16, 16), 1012.2),
        (sizes.GIGANTIC, (2, 16, 16), 1843.9),
    ],
)
def test_published_sizes_have_their_parameter_counts(size: Size, patch: tuple[int, ...], millions: float) -> None:
    with torch.device("meta"):
        encoder = Encoder(Patchify(3, patch, size.width, ("t", "h", "w")[-len(patch) :]), size)
    count = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.06)


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 30 is not a multiple of heads 4"):
        Size(30, 1, 4)


def test_conv_encoder() -> None:
    encoder = ConvEncoder((8, 16, 24), blocks=2, stem_stride=2).eval()
    x = torch.randn(2, 3, 32, 48)
    tokens = encoder(x)
    assert tokens.x.shape == (2, 4 * 6, 24) and encoder.width == 24
    assert torch.equal(tokens.at[0], Grid(("h", "w"), (4, 6)).coords())
    wanted = torch.tensor([[5, 1], [0, 0]])
    assert torch.equal(encoder(x, wanted=wanted).x, tokens.take(wanted).x)
    assert [layer.shape for layer in encoder.layers(x, 2)] == [(2, 96, 16), (2, 24, 24)]


def test_projector() -> None:
    assert projector(32, 64, 5)(torch.randn(8, 32)).shape == (8, 5)
