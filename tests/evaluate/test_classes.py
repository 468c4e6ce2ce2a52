import numpy as np
import pytest

from craik.data.images import ImageData
from craik.errors import UsageError
from craik.evaluate.classes import match_classes


def data(labels: list[int] | None, names: tuple[str, ...] | None, name: str = "x", fingerprint: str = "") -> ImageData:
    count = 3 if labels is None else len(labels)
    return ImageData(
        pixels=np.zeros((count, 4, 4, 3), dtype=np.uint8),
        sizes=np.full((count, 2), 4, dtype=np.int32),
        name=name,
        paths=[str(i) for i in range(count)],
        labels=None if labels is None else np.array(labels),
        class_names=names,
        fingerprint=fingerprint,
    )


def test_test_classes_get_the_numbers_of_training_by_name() -> None:
    train = data([0, 1, 2], ("ant", "bee", "cat"))
    found = match_classes(train, data([0, 1, 1], ("ant", "cat")))  # a test folder without bees
    assert found.test_y.tolist() == [0, 2, 2]
    assert found.train_y.tolist() == [0, 1, 2]
    assert found.names == ("ant", "bee", "cat")


def test_numbers_will_do_without_names() -> None:
    assert match_classes(data([0, 1, 2], None), data([2, 0], None)).test_y.tolist() == [2, 0]
    assert match_classes(data([0, 1], ("ant", "bee")), data([1, 0], None)).test_y.tolist() == [1, 0]


def test_images_without_a_label_are_dropped_and_told() -> None:
    found = match_classes(data([0, -1, 1], ("a", "b"), "photos"), data([1, -1], ("a", "b"), "more"))
    assert found.train_y.tolist() == [0, 1] and len(found.train) == 2
    assert found.test_y.tolist() == [1] and len(found.test) == 1
    assert found.notes == ("--train photos: 1 of 3 images have no label", "--test more: 1 of 2 images have no label")


@pytest.mark.parametrize("labels", [None, [-1, -1]])
def test_missing_labels_name_the_ways_out(labels: list[int] | None) -> None:
    good = data([0, 1], ("a", "b"))
    for train, test, option in ((data(labels, None), good, "--train"), (good, data(labels, None), "--test")):
        with pytest.raises(UsageError) as error:
            match_classes(train, test)
        for part in (option, "class sub-folders", "--labels FILE", "--path-column", "--unsupervised"):
            assert part in str(error.value)


def test_unknown_test_classes_are_named() -> None:
    train = data([0, 1], ("ant", "bee"), "insects")
    with pytest.raises(UsageError, match=r"1 of 2 classes that --train insects lacks: dog; --train has ant, bee"):
        match_classes(train, data([0, 1], ("ant", "dog"), "mixed"))
    with pytest.raises(UsageError, match="number 5"):
        match_classes(train, data([5], None))


def test_a_class_without_training_images_is_unknown_too() -> None:
    with pytest.raises(UsageError, match="cat"):
        match_classes(data([0, 1, 1], ("ant", "bee", "cat")), data([0, 2], ("ant", "bee", "cat")))


def test_a_single_class_is_no_task() -> None:
    with pytest.raises(UsageError, match="every labeled image is of class 'bee'"):
        match_classes(data([1, 1], ("ant", "bee")), data([1], ("ant", "bee")))


def test_the_same_data_twice_is_refused() -> None:
    train = data([0, 1], ("a", "b"), fingerprint="f00")
    with pytest.raises(UsageError, match="the same images"):
        match_classes(train, train)
