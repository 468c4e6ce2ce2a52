"""Procedural images show what their factors say."""

import numpy as np
import pytest

from craik.data.source import open_source
from craik.data.toy import COLORS, PATTERNS, SHAPES, parse_toy, shapes
from craik.errors import UsageError


def test_factors_are_complete_and_balanced():
    images, factors = shapes(1200, 32, seed=3)
    assert images.shape == (1200, 32, 32, 3) and images.dtype == np.uint8
    for name, kinds in [("shape", SHAPES), ("color", COLORS), ("pattern", PATTERNS)]:
        counts = np.bincount(factors[name], minlength=len(kinds))
        assert factors[name].dtype == np.int64 and len(counts) == len(kinds) and counts.min() > 90
    for name in ("x", "y", "size", "rotation", "backdrop", "noise"):
        assert factors[name].dtype == np.float32 and factors[name].std() > 0.01


def test_same_seed_same_images_and_more_images_only_append():
    images, factors = shapes(300, 16, seed=1)
    again, more = shapes(600, 16, seed=1)
    np.testing.assert_array_equal(images, again[:300])
    np.testing.assert_array_equal(factors["x"], more["x"][:300])
    assert (shapes(300, 16, seed=2)[0] != images).any()


def test_splits_share_no_image():
    sets = [{image.tobytes() for image in shapes(200, 16, seed=0, stream=s)[0]} for s in range(3)]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]


def test_the_shape_is_where_and_as_large_and_of_the_color_that_the_factors_say():
    images, factors = shapes(400, 64, seed=0)
    saturation = images.max(3).astype(float) - images.min(3)  # shapes are colorful, backdrops are not
    quiet = np.flatnonzero((factors["noise"] < 0.03) & (factors["shape"] == SHAPES.index("disk")))
    assert len(quiet) > 8
    axis = (np.arange(64) + 0.5) / 64
    for row in quiet:
        inside = saturation[row] > 60
        assert abs((inside.sum(0) * axis).sum() / inside.sum() - factors["x"][row]) < 0.02
        assert abs((inside.sum(1) * axis).sum() / inside.sum() - factors["y"][row]) < 0.02
        area = np.pi * (0.9 * factors["size"][row]) ** 2
        assert abs(inside.mean() / area - 1) < 0.12
    red = factors["color"] == COLORS.index("red")
    blue = factors["color"] == COLORS.index("blue")
    center = images[np.arange(400), (factors["y"] * 64).astype(int), (factors["x"] * 64).astype(int)].astype(int)
    filled = factors["shape"] != SHAPES.index("ring")
    assert (center[red & filled, 0] > center[red & filled, 2]).all()
    assert (center[blue & filled, 2] > center[blue & filled, 0]).all()


def test_edges_are_anti_aliased():
    image, factors = shapes(200, 32, seed=0)
    plain = (factors["pattern"] == 0) & (factors["noise"] < 0.02) & (factors["shape"] == 0)
    row = int(np.flatnonzero(plain)[0])
    saturation = image[row].max(2).astype(int) - image[row].min(2)
    inner, outer = np.percentile(saturation, 98), np.percentile(saturation, 2)
    between = (saturation > outer + 0.25 * (inner - outer)) & (saturation < outer + 0.75 * (inner - outer))
    assert between.any()


def test_options_of_the_path():
    spec = parse_toy("toy:shapes?n=120&size=24&seed=5&split=test")
    assert (spec.n, spec.size, spec.seed, spec.split) == (120, 24, 5, "test")
    assert parse_toy("toy:shapes", "val").split == "val"
    source = open_source("toy:shapes?n=12&size=24")
    assert len(source) == 12 and source.raw(3).size == (24, 24) and source.class_names == SHAPES


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("toy:cubes", "toy:shapes"),
        ("toy:shapes?sise=3", "Did you mean size"),
        ("toy:shapes?n=many", "whole number"),
        ("toy:shapes?split=tset", "train, val, test"),
    ],
)
def test_mistakes_say_what_to_do(path, message):
    with pytest.raises(UsageError, match=message):
        parse_toy(path)
