"""A ViT with a class token."""

import pytest
import torch

from craik.core.tokens import Grid
from craik.nn.class_token import ClassEncoder
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify

SIZE = Size(24, 2, 3)


def encoder(seed: int = 0) -> ClassEncoder:
    tokenizer = Patchify(3, (4, 4), SIZE.width, ("h", "w"))
    model = ClassEncoder(tokenizer, Grid(("h", "w"), (3, 2)), SIZE)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=rng)
    return model.eval()


def test_answer_is_the_class_token_of_the_last_state() -> None:
    model, x = encoder(), torch.randn(2, 3, 12, 8)
    tokens = model(x)
    assert tokens.x.shape == (2, 1, 24) and tokens.at.tolist() == [[[1.0, 0.5]]] * 2
    hidden = model.hidden(x)
    assert hidden.shape == (2, 7, 24)
    torch.testing.assert_close(tokens.mean(), hidden[:, 0])
    torch.testing.assert_close(model.layers(x, 2)[-1], hidden[:, :1])
    assert len(model.layers(x, 2)) == 2


def test_every_patch_and_its_place_matter() -> None:
    model, x = encoder(), torch.randn(1, 3, 12, 8)
    base = model(x).x
    for h in range(3):
        for w in range(2):
            changed = x.clone()
            changed[:, :, 4 * h : 4 * h + 4, 4 * w : 4 * w + 4] += 1
            assert (model(changed).x - base).abs().max() > 1e-5
    assert (model(x.flip(-2)).x - base).abs().max() > 1e-4


def test_only_kept_patches_are_seen() -> None:
    model, x = encoder(), torch.randn(1, 3, 12, 8)
    everything = torch.arange(6)[None]
    torch.testing.assert_close(model(x, keep=everything).x, model(x).x)
    torch.testing.assert_close(model(x, keep=everything.flip(1)).x, model(x).x)
    hidden = x.clone()
    hidden[:, :, 8:] = 9  # patches 4 and 5
    keep = torch.tensor([[0, 3]])
    torch.testing.assert_close(model(hidden, keep=keep).x, model(x, keep=keep).x)


def test_other_image_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images are \(8, 12\) pixels, the learned positions are for \(12, 8\)"):
        encoder()(torch.zeros(1, 3, 8, 12))
