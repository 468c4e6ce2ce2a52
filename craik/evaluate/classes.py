"""What a probe needs of two labeled data sets: the same classes under the same numbers, and samples of them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from craik.data.images import ImageData
from craik.errors import UsageError

NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Classes:
    """Training and test images that all have a label, numbered alike."""

    train: ImageData
    test: ImageData
    train_y: Tensor
    """int64 [N], classes 0 ... C - 1."""
    test_y: Tensor
    """int64 [M]."""
    names: tuple[str, ...]
    """One name per class."""
    notes: tuple[str, ...]
    """What was left out, for people."""


def match_classes(train: ImageData, test: ImageData) -> Classes:
    """Drop images without a label and number the test classes as the training ones, by name.

    Raises:
        UsageError: No labels; a test class that training lacks; a single class; the same data twice.
    """
    notes: list[str] = []
    train, test = _labeled(train, "--train", notes), _labeled(test, "--test", notes)
    if train.fingerprint and train.fingerprint == test.fingerprint:
        raise UsageError(
            f"--train and --test are the same images ({train.name}): the figures would show what was stored, not "
            "what was learned. Give --test a split that --train does not hold."
        )
    names = train.class_names or tuple(str(i) for i in range(int(_y(train).max()) + 1))
    present = np.bincount(_y(train), minlength=len(names)) > 0
    if present.sum() < 2:
        raise UsageError(
            f"--train {train.name}: every labeled image is of class {names[int(present.argmax())]!r}; a probe needs "
            "two classes or more. Sort the images into class sub-folders or give --labels FILE."
        )
    test_y = _renumber(test, train, names, present)
    return Classes(train, test, torch.from_numpy(_y(train)), torch.from_numpy(test_y), names, tuple(notes))


def missing_labels(name: str, option: str) -> UsageError:
    """The error for data without labels, with the label-free way out."""
    return UsageError(
        f"{option} {name}: a probe needs labels: class sub-folders, or --labels FILE (columns path,label; other names "
        "with --path-column and --label-column). Without labels: craik probe RUN --test PATH --unsupervised"
    )


def _labeled(images: ImageData, option: str, notes: list[str]) -> ImageData:
    if images.labels is None or not (images.labels >= 0).any():
        raise missing_labels(images.name, option)
    labeled = images.labeled()
    if without := len(images) - len(labeled):
        notes.append(f"{option} {images.name}: {without:,} of {len(images):,} images have no label")
    return labeled


def _y(images: ImageData) -> np.ndarray:
    assert images.labels is not None
    return np.array(images.labels, dtype=np.int64)


def _renumber(test: ImageData, train: ImageData, names: tuple[str, ...], present: np.ndarray) -> np.ndarray:
    labels = _y(test)
    own = test.class_names or tuple(str(i) for i in range(int(labels.max()) + 1))
    if test.class_names is None or train.class_names is None:
        own = names + tuple(f"number {i}" for i in range(len(names), len(own)))  # nothing but numbers to go by
    number = {name: i for i, name in enumerate(names) if present[i]}
    used = [own[i] for i in np.unique(labels)]
    unknown = [name for name in used if name not in number]
    if unknown:
        raise UsageError(
            f"--test {test.name} has {len(unknown)} of {len(used)} classes that --train {train.name} lacks: "
            f"{_some(unknown)}; --train has {_some(list(number))}. Give splits of one data set, or "
            "name the labels alike with --labels FILE."
        )
    table = np.array([number.get(name, -1) for name in own], dtype=np.int64)
    renumbered: np.ndarray = table[labels]
    return renumbered


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return shown + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")
