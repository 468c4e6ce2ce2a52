"""Patchify is a convolution whose kernel is its stride, on the patches that are kept."""

import pytest
import torch
import torch.nn.functional as F

from craik.core.tokens import take
from craik.nn.tokenizer import Patchify

CASES = {
    1: ((4,), (20,), ("t",), F.conv1d),
    2: ((4, 6), (12, 18), ("h", "w"), F.conv2d),
    3: ((2, 4, 5), (6, 8, 10), ("t", "h", "w"), F.conv3d),
}


@pytest.mark.parametrize("rank", CASES)
def test_equals_a_convolution(rank: int) -> None:
    patch, sizes, axes, convolve = CASES[rank]
    tokenizer = Patchify(3, patch, 8, axes).double()
    torch.nn.init.normal_(tokenizer.proj.bias)
    x = torch.randn(2, 3, *sizes, dtype=torch.float64)
    kernel = tokenizer.proj.weight.view(8, 3, *patch)
    expected = convolve(x, kernel, tokenizer.proj.bias, stride=patch).flatten(2).transpose(1, 2)
    tokens = tokenizer(x)
    assert torch.allclose(tokens.x, expected)
    assert torch.equal(tokens.at[1], tokenizer.grid(sizes).coords())


@pytest.mark.parametrize("rank", CASES)
def test_keeping_is_gathering_afterwards(rank: int) -> None:
    patch, sizes, axes, _ = CASES[rank]
    tokenizer = Patchify(3, patch, 8, axes).double()
    x = torch.randn(2, 3, *sizes, dtype=torch.float64)
    keep = torch.stack([torch.randperm(tokenizer.grid(sizes).num_tokens)[:4] for _ in range(2)])
    kept, everything = tokenizer(x, keep), tokenizer(x)
    assert torch.allclose(kept.x, take(everything.x, keep)) and torch.equal(kept.at, take(everything.at, keep))


def test_sizes_are_checked() -> None:
    tokenizer = Patchify(3, (8, 8), 4, ("h", "w"))
    with pytest.raises(ValueError, match="size 20 is not a multiple of patch 8: use 16 or 24"):
        tokenizer(torch.zeros(1, 3, 16, 20))
    with pytest.raises(ValueError, match="use 8 or 16"):
        tokenizer(torch.zeros(1, 3, 5, 8))
    for wrong in (torch.zeros(1, 1, 16, 16), torch.zeros(3, 16, 16)):
        with pytest.raises(ValueError, match=r"tokenizer expects input \[B, 3, h, w\], got"):
            tokenizer(wrong)


def test_an_image_stands_still_for_one_patch_of_time() -> None:
    tokenizer = Patchify(3, (2, 4, 4), 8, ("t", "h", "w"))
    image = torch.randn(2, 3, 8, 8)
    clip = torch.stack([image, image], 2)
    for still in (image, image.unsqueeze(2)):
        assert torch.equal(tokenizer(still).x, tokenizer(clip).x)
    keep = torch.tensor([[3, 1], [0, 2]])
    assert torch.equal(tokenizer(image, keep).x, tokenizer(clip, keep).x)
    with pytest.raises(ValueError, match="size 3 is not a multiple of patch 2"):
        tokenizer(torch.zeros(1, 3, 3, 8, 8))
