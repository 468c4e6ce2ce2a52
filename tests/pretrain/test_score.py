"""The quick score of a run in progress: which one there is follows from the labels."""

from dataclasses import replace

import numpy as np

from craik.data.images import load_images
from craik.pretrain.score import FEWEST_LABELED, usable_labels


def test_labels_serve_where_there_are_enough_of_two_classes() -> None:
    images = load_images("toy:shapes?n=200", size=8)
    assert images.labels is not None and usable_labels(images)
    few = np.where(np.arange(200) < FEWEST_LABELED - 1, images.labels, -1)
    assert not usable_labels(replace(images, labels=few)), "most images have none"
    assert usable_labels(replace(images, labels=np.where(np.arange(200) < FEWEST_LABELED, images.labels, -1)))
    assert not usable_labels(replace(images, labels=np.zeros(200, dtype=np.int64))), "one class"
    assert not usable_labels(replace(images, labels=None))
