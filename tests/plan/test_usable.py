"""The check before planning."""

import math
import time

import pytest
import torch

from craik.errors import UsageError
from craik.plan import Pairs, episode_pairs, usability
from craik.plan.ranks import ranks, spearman
from craik.plan.usable import chance_of_more
from tests.plan.worlds import generator


def test_ranks_with_ties() -> None:
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1, 3.5, 2]


def test_spearman_of_known_cases() -> None:
    x = torch.rand(50, generator=generator())
    assert spearman(x, x.exp()) == pytest.approx(1)
    assert spearman(x, -x) == pytest.approx(-1)
    a, b = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.tensor([2.0, 1.0, 4.0, 3.0, 5.0])
    assert spearman(a, b) == pytest.approx(1 - 6 * 4 / (5 * 24))  # 1 - 6 sum d^2 / n(n^2 - 1)
    assert math.isnan(spearman(x, torch.ones(50)))
    big = torch.rand(2, 5000, generator=generator())
    assert abs(spearman(big[0], big[1])) < 0.05


def test_chance_of_more() -> None:
    assert chance_of_more(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0])) == 1
    assert chance_of_more(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])) == 0.5


def pairs_of(curve: str) -> Pairs:
    steps = torch.randint(1, 101, (5000,), generator=generator())
    noise = 0.05 * torch.randn(5000, generator=generator(1))
    shape = {
        "rising": steps / 100,
        "saturated": (steps / 8).clamp(max=1),
        "inverted": torch.sin(steps / 100 * 3.1),
        "flat": torch.zeros(5000),
    }[curve]
    return Pairs(shape + noise, steps)


@pytest.mark.parametrize(
    ("curve", "reach", "words"),
    [
        ("rising", 100, "is usable: it rises with the steps to go up to 100"),
        ("saturated", 15, "usable up to 15 steps of 100"),
        ("inverted", 63, "usable up to 63 steps of 100"),
        ("flat", 1, "not usable"),
    ],
)
def test_verdicts(curve: str, reach: int, words: str) -> None:
    result = usability(pairs_of(curve))
    assert result.reach == reach, result.bands
    assert result.monotone == (curve == "rising")
    assert words in result.verdict


def test_bands_hold_what_they_say() -> None:
    pairs = pairs_of("rising")
    result = usability(pairs, edges=[1, 50, 101])
    assert [band.num for band in result.bands] == [int((pairs.steps < 50).sum()), int((pairs.steps >= 50).sum())]
    assert math.isnan(result.bands[0].rise)
    assert result.bands[1].rise > 0.95
    assert min(band.spearman for band in result.bands) > 0.9
    assert result.spearman > 0.95


def test_pairs_of_episodes_are_of_one_episode_and_cover_all_lags() -> None:
    episodes = [torch.arange(n, dtype=torch.float32)[:, None] + 1000 * i for i, n in enumerate((2, 50, 200))]
    pairs = episode_pairs(episodes, generator(), num=20_000)
    assert torch.equal(pairs.distance, pairs.steps.float().square())
    assert int(pairs.steps.min()) == 1
    assert int(pairs.steps.max()) > 190
    assert float((pairs.steps < 8).float().mean()) > 0.3, "small lags are not drowned by large ones"
    assert usability(pairs).monotone


def test_it_takes_about_a_second_at_most() -> None:
    episodes = torch.randn(100, 100, 128, generator=generator()).cumsum(1)
    began = time.process_time()
    usability(episode_pairs(episodes, generator()))
    assert time.process_time() - began < 2


def test_too_little_data() -> None:
    with pytest.raises(UsageError, match="longer episodes"):
        usability(Pairs(torch.rand(50), torch.ones(50)))
    with pytest.raises(UsageError, match="one frame"):
        episode_pairs([torch.zeros(1, 3)], generator())
