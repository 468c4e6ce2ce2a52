"""The loader: pure order, exact resume, ranks that together are one process."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from craik.data.images import load_images
from craik.data.loader import Loader, read_samples
from craik.errors import UsageError


@pytest.fixture(scope="module")
def images():
    return load_images("toy:shapes?n=103", size=8)


def take(loader: Loader, count: int) -> list:
    stream = iter(loader)
    batches = list(itertools.islice(stream, count))
    stream.close()
    return batches


def test_samples_are_the_images(images):
    samples = take(Loader(images, 10, seed=0), 1)[0]
    assert samples.x.shape == (10, 3, 8, 8) and samples.x.dtype == torch.uint8 and samples.x.is_contiguous()
    np.testing.assert_array_equal(samples.x.permute(0, 2, 3, 1).numpy(), images.take(samples.index.numpy()))
    np.testing.assert_array_equal(samples.label.numpy(), images.labels[samples.index])
    assert samples.sizes.dtype == torch.int32 and (samples.sizes == 8).all()
    moved = samples.to("cpu")
    assert torch.equal(moved.x, samples.x) and len(moved) == 10


def test_each_epoch_is_a_new_permutation_that_seed_and_epoch_decide(images):
    loader = Loader(images, 10, seed=4)
    assert len(loader) == 10
    orders = [loader.order(epoch) for epoch in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(103))
    assert (orders[0] != orders[1]).any() and (orders[1] != orders[2]).any()
    np.testing.assert_array_equal(Loader(images, 7, seed=4).order(1), orders[1])
    assert (Loader(images, 10, seed=5).order(0) != orders[0]).any()
    assert (Loader(images, 10, seed=5).order(0) != Loader(images, 10, seed=4).order(1)).any()


def test_resume_is_exact_to_the_sample_from_any_step(images):
    whole = [samples.index for samples in take(Loader(images, 16, seed=2), 15)]
    for stop in (0, 1, 5, 6, 7, 12):
        first = Loader(images, 16, seed=2)
        take(first, stop)
        second = Loader(images, 16, seed=2)
        second.prefetch = 3
        second.load_state_dict(first.state_dict())
        rest = [samples.index for samples in take(second, 15 - stop)]
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[stop:], strict=True))


def test_ranks_together_see_what_one_process_sees(images):
    one = take(Loader(images, 20, seed=1), 7)
    two = [take(Loader(images, 10, seed=1, rank=rank, world=2), 7) for rank in range(2)]
    for whole, left, right in zip(one, *two, strict=True):
        assert torch.equal(whole.index, torch.cat([left.index, right.index]))
        assert torch.equal(whole.x, torch.cat([left.x, right.x]))


def test_the_last_smaller_batch_of_an_epoch_is_left_out(images):
    loader = Loader(images, 25, seed=0)
    assert len(loader) == 4
    batches = take(loader, 5)
    assert [len(samples) for samples in batches] == [25] * 5
    assert len(torch.cat([samples.index for samples in batches[:4]]).unique()) == 100
    assert (loader.epoch, loader.step) == (1, 1)
    assert len(Loader(images, 25, seed=0, world=2, rank=1)) == 2


def test_without_labels(images):
    assert take(Loader(replace(images, labels=None), 5, seed=0), 1)[0].label is None


def test_waiting_is_measured_and_reading_ahead_hides_it(images):
    class Slow:
        sizes, labels, name = images.sizes, images.labels, "slow"

        def __len__(self):
            return len(images)

        def take(self, indices):
            time.sleep(0.03)
            return images.take(indices)

    hungry = Loader(Slow(), 10, seed=0)
    take(hungry, 6)
    assert hungry.wait_s > 0.12
    patient, stream = Loader(Slow(), 10, seed=0), None
    stream = iter(patient)
    next(stream)
    patient.wait_s = 0.0
    for _ in range(4):
        time.sleep(0.08)
        next(stream)
    stream.close()
    assert patient.wait_s < 0.06


def test_errors_while_reading_reach_the_consumer(images):
    class Broken:
        sizes, labels, name = images.sizes, images.labels, "broken"

        def __len__(self):
            return len(images)

        def take(self, indices):
            raise UsageError("the file went away")

    with pytest.raises(UsageError, match="went away"):
        next(iter(Loader(Broken(), 10, seed=0)))


def test_too_few_images_say_which_batch_fits(images):
    with pytest.raises(UsageError, match="--batch 103"):
        Loader(images, 200, seed=0)
    with pytest.raises(UsageError, match=r"2 processes.*--batch 51"):
        Loader(images, 60, seed=0, world=2)


def test_a_state_of_other_data_is_refused(images):
    state = Loader(images, 10, seed=0).state_dict()
    with pytest.raises(UsageError, match="seed 0"):
        Loader(images, 10, seed=1).load_state_dict(state)
    with pytest.raises(UsageError, match="images 103"):
        Loader(images.subset(np.arange(50)), 10, seed=0).load_state_dict(state)
    with pytest.raises(UsageError, match="batch size of the run"):
        Loader(images, 50, seed=0).load_state_dict({**state, "step": 9})


def test_read_samples_in_any_order(images):
    samples = read_samples(images, np.array([7, 3, 7]))
    assert samples.index.tolist() == [7, 3, 7] and torch.equal(samples.x[0], samples.x[2])
