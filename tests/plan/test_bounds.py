"""Action spaces."""

import pytest
import torch

from craik.errors import UsageError
from craik.plan import Box, Discrete
from tests.plan.worlds import generator


def test_a_box_projects_onto_itself_and_knows_doing_nothing() -> None:
    box = Box.of([-2, 1], [2, 3])
    assert box.project(torch.tensor([[5.0, 0.0], [-1.0, 2.0]])).tolist() == [[2, 1], [-1, 2]]
    assert box.neutral().tolist() == [0, 1]
    assert box.center.tolist() == [0, 2]
    assert box.half.tolist() == [2, 1]
    drawn = box.uniform((10_000,), generator())
    assert torch.allclose(drawn.mean(0), box.center, atol=0.05)
    assert torch.allclose(drawn.std(0), box.half / 3**0.5, atol=0.05)


def test_a_norm_cap_holds_for_each_action_of_a_block() -> None:
    block = Box.of([-3, -3], [3, 3], max_norm=1.0).block(2)
    assert block.size == 4
    long = block.project(torch.tensor([3.0, 4.0, 0.3, 0.4]))
    assert torch.allclose(long, torch.tensor([0.7071, 0.7071, 0.3, 0.4]), atol=1e-4)
    assert torch.allclose(block.project(long), long)


def test_blocks_split_into_what_the_environment_takes() -> None:
    block = Box.of([-1, -1], [1, 1]).block(3)
    actions = torch.arange(12.0).view(1, 2, 6)
    assert block.split(actions).tolist() == [[[2 * i, 2 * i + 1] for i in range(6)]]
    choices = Discrete(4).block(2)
    one_hot = choices.one_hot(torch.tensor([[[3, 0], [1, 2]]]))
    assert one_hot.shape == (1, 2, 8)
    assert choices.split(one_hot).tolist() == [[3, 0, 1, 2]]


def test_discrete_means_are_probabilities() -> None:
    space = Discrete(3)
    assert space.project(torch.tensor([2.0, 1.0, 1.0])).tolist() == [0.5, 0.25, 0.25]
    assert torch.allclose(space.project(torch.zeros(3)), torch.full((3,), 1 / 3))
    assert space.nearest(torch.tensor([0.2, 0.5, 0.3])).tolist() == [0, 1, 0]
    assert torch.allclose(space.neutral(), torch.full((3,), 1 / 3))
    assert torch.allclose(space.uniform((30_000,), generator()).mean(0), torch.full((3,), 1 / 3), atol=0.01)


@pytest.mark.parametrize(
    ("low", "high"), [([1.0], [0.0]), ([0.0, 0.0], [1.0]), ([-float("inf")], [0.0]), ([float("nan")], [1.0])]
)
def test_a_box_that_is_none(low: list[float], high: list[float]) -> None:
    with pytest.raises(UsageError, match="Box wants"):
        Box.of(low, high)


def test_one_choice_is_no_choice() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        Discrete(1)
