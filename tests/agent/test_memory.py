"""The ring, nearest neighbors, and what the critic replays."""

import pytest
import torch

from craik.agent import Memory
from craik.agent.memory import Moment
from craik.errors import UsageError
from tests.agent.worlds import generator


def moments(first: int, num: int, episode: int = 0) -> Moment:
    time = torch.arange(first, first + num)
    state = time[:, None].float() * torch.tensor([1.0, -1.0])
    return Moment(time, state, time[:, None] * 0.5, time * 10.0, torch.full((num,), episode))


def test_the_oldest_are_overwritten_and_the_rest_stay_in_order() -> None:
    memory = Memory(5)
    for first, num in ((0, 3), (3, 1), (4, 3)):
        memory.write(moments(first, num))
    assert len(memory) == 5 and memory.written == 7
    rows = memory.rows()
    assert rows.time.tolist() == [2, 3, 4, 5, 6]
    assert rows.cost.tolist() == [20, 30, 40, 50, 60]
    assert rows.state[:, 1].tolist() == [-2, -3, -4, -5, -6]
    memory.write(moments(7, 12))  # more at once than there is room for
    assert memory.rows().time.tolist() == [14, 15, 16, 17, 18]


def test_the_nearest_are_those_a_search_through_everything_finds() -> None:
    memory, rng = Memory(40), generator()
    state = torch.randn(60, 3, generator=rng)
    memory.write(Moment(torch.arange(60), state, torch.zeros(60, 1), torch.arange(60.0), torch.zeros(60).long()))
    query = torch.randn(7, 3, generator=rng)
    recall = memory.read(query, k=4)
    for q in range(7):
        distance = (state[20:] - query[q]).square().sum(1)
        order = distance.argsort()[:4] + 20
        assert recall.moments.time[q].tolist() == order.tolist()
        assert recall.moments.cost[q].tolist() == order.tolist()
        assert torch.allclose(recall.distance[q], distance[order - 20], atol=1e-4)
    assert memory.read(query, k=99).distance.shape == (7, 40)


def test_episodes_that_were_lived_side_by_side_are_told_apart() -> None:
    memory = Memory(11)
    for step in range(6):
        memory.write(Moment(*(torch.cat(pair) for pair in zip(moments(step, 1, 4), moments(step, 1, 9), strict=True))))
    first, second = memory.experiences()
    assert first.latents[:, 0].tolist() == [1, 2, 3, 4, 5], "its first moment was overwritten"
    assert second.latents[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert second.actions[:, 0].tolist() == [0, 0.5, 1, 1.5, 2]


def test_what_cannot_be_remembered() -> None:
    with pytest.raises(UsageError, match="1 row"):
        Memory(0)
    memory = Memory(3)
    with pytest.raises(UsageError, match="empty"):
        memory.read(torch.zeros(1, 2), 1)
    memory.write(moments(0, 1))
    with pytest.raises(ValueError, match="memory holds"):
        memory.write(moments(0, 1)._replace(state=torch.zeros(1, 5)))
