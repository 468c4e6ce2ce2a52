"""The ConvNet encoder: tokens, masks without leaks, and stages as layers."""

import pytest
import torch

from craik.nn.conv import ConvEncoder, begin_with_cosines


def encoder() -> ConvEncoder:
    torch.manual_seed(0)
    return ConvEncoder((8, 12, 16), stem_stride=2).eval()


def test_tokens_are_the_cells_of_the_last_map() -> None:
    net, x = encoder(), torch.randn(2, 3, 32, 32)
    tokens = net(x)
    assert net.grid((32, 32)).shape == (4, 4)
    assert tokens.x.shape == (2, 16, 16)
    assert tokens.at[0, 5].tolist() == [1.0, 1.0]
    assert torch.equal(tokens.x[:, 5], net.features(x)[-1][:, :, 1, 1])


def test_wanted_picks_tokens() -> None:
    net, x = encoder(), torch.randn(2, 3, 32, 32)
    wanted = torch.tensor([[3, 1], [0, 15]])
    assert torch.equal(net(x, wanted=wanted).x, net(x).take(wanted).x)


def test_hidden_cells_do_not_leak() -> None:
    net, x = encoder(), torch.randn(2, 3, 32, 32)
    keep = torch.tensor([[5, 6, 9, 10]]).expand(2, -1)
    other = torch.randn_like(x)
    other[:, :, 8:24, 8:24] = x[:, :, 8:24, 8:24]
    tokens = net(x, keep=keep)
    assert torch.equal(tokens.x, net(other, keep=keep).x)
    assert torch.equal(tokens.x, net(x[:, :, 8:24, 8:24]).x)
    assert tokens.at[1].tolist() == [[1.0, 1.0], [1.0, 2.0], [2.0, 1.0], [2.0, 2.0]]


@pytest.mark.parametrize("keep", [[[0, 1, 4], [0, 1, 4]], [[0, 1], [1, 2]], [[4, 0], [4, 0]], [[0, 5], [0, 5]]])
def test_only_one_rectangle_for_all_can_be_shown(keep: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="one rectangle"):
        encoder()(torch.randn(2, 3, 32, 32), keep=torch.tensor(keep))


def test_layers_are_stages() -> None:
    net, x = encoder(), torch.randn(2, 3, 32, 32)
    layers = net.layers(x, 4)
    assert [layer.shape for layer in layers] == [(2, 256, 8), (2, 64, 12), (2, 16, 16)]
    assert torch.equal(layers[-1], net(x).x)


def test_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple of the stride 8"):
        encoder().grid((30, 30))


@pytest.mark.parametrize(("num", "kernel"), [(64, 3), (32, 7), (8, 3)])
def test_stem_begins_as_orthogonal_waves_and_their_negatives(num: int, kernel: int) -> None:
    weight = torch.randn(num, 3, kernel, kernel)
    drawn = weight.clone()
    begin_with_cosines(weight)
    pairs = min(num // 2, 3 * kernel**2)
    waves, negatives = weight[:pairs].flatten(1), weight[pairs : 2 * pairs].flatten(1)
    length = drawn.flatten(1).norm(dim=1).mean()
    assert torch.allclose(waves @ waves.T, length**2 * torch.eye(pairs), atol=1e-4)
    assert torch.equal(negatives, -waves)
    assert torch.equal(weight[2 * pairs :], drawn[2 * pairs :])
    assert waves[0].std() < 1e-5 * length  # the first is the mean of the patch
    assert (waves[1:].sum(1).abs() < 1e-5 * length).all()
