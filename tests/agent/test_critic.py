"""Temporal distance: learned from episodes, around a wall, where latent distance misleads."""

import pytest
import torch

from craik.agent import (
    Actor,
    Agent,
    CostModule,
    CriticTraining,
    Experience,
    IntrinsicCost,
    Memory,
    Perception,
    TaskSpec,
    WorldModel,
    calibrate_surprise,
    fit_critic,
)
from craik.agent.critic import Lived, TrainedCritic
from craik.errors import UsageError
from craik.nn.critic import TemporalDistance
from craik.plan import ICEM, Box, latent_scale
from craik.plan.ranks import spearman
from tests.agent.worlds import END, Horseshoe, bent, generator, strolls, to_frames

TRAINING = CriticTraining(num_steps=800, batch=192, hidden=48, lr=5e-3, horizon=4)


@pytest.fixture(scope="module")
def episodes() -> list[Experience]:
    return strolls(40, 60, generator())


@pytest.fixture(scope="module")
def trained(episodes: list[Experience]) -> TrainedCritic:
    losses: list[tuple[int, float]] = []
    critic = fit_critic(episodes, Horseshoe(), generator(1), TRAINING, lambda *told: losses.append(told))
    assert [step for step, _ in losses] == list(range(1, 801))
    assert losses[-1][1] < 0.5 * losses[0][1]
    return critic


def test_it_knows_the_way_around_where_latent_distance_does_not(trained: TrainedCritic) -> None:
    angle = (torch.rand(2, 1000, generator=generator(2)) * 2 - 1) * END
    steps = (angle[0] - angle[1]).abs() / 0.15
    a, b = bent(angle[0]), bent(angle[1])
    with torch.no_grad():
        learned = trained.network(a, b)
    assert spearman(learned, steps) > 0.93
    far = steps > 20
    assert spearman(learned[far], steps[far]) > 0.5
    assert spearman((a - b).square().sum(1)[far], steps[far]) < -0.9, "farther on foot looks nearer"
    ends = trained.network(bent(torch.tensor([-END])), bent(torch.tensor([END])))
    assert float(ends) > 22, "the ends of the horseshoe lie side by side, and are 32 steps apart"
    assert float(trained.network(a[:50], a[:50]).mean()) < 3


def test_it_is_the_same_both_ways_and_broadcasts(trained: TrainedCritic) -> None:
    a, b = torch.randn(4, 3, 2, generator=generator()), torch.randn(4, 1, 2, generator=generator(1))
    assert torch.allclose(trained.network(a, b), trained.network(b, a))
    assert trained.network(a, b).shape == (4, 3)


def test_the_report_is_about_unseen_episodes_beside_baselines(trained: TrainedCritic) -> None:
    report = trained.report
    assert report.error < 0.8 * report.error_of_median
    assert report.error_imagined < 0.8 * report.error_of_median
    assert report.spearman > report.spearman_squared
    assert "unseen pairs" in str(report)


def test_pairs_have_the_lag_they_say(episodes: list[Experience]) -> None:
    """Each frame is its own episode and time, and so is each imagined state, since the model is exact."""
    marked = [
        Experience(torch.stack([torch.full((50,), 100.0 * i), torch.arange(50.0)], 1), torch.ones(49, 1))
        for i in range(5)
    ]

    class Clock(Horseshoe):
        def rollout(self, latents, past, actions, z=None):  # type: ignore[no-untyped-def]
            return latents[:, -1:] + torch.cat([0 * actions, actions], -1).cumsum(1)

    lived = Lived(marked, Clock(), CriticTraining(horizon=6, history=3))
    assert lived.imagined is not None
    for states in (lived.encoded, lived.imagined):
        pairs = lived.draw(states, 2000, generator())
        gap = pairs.latents - pairs.goals
        assert torch.equal(gap[:, 0], torch.zeros(2000))
        assert torch.equal(gap[:, 1].abs().long(), pairs.steps)
        assert int(pairs.steps.min()) == 0 and int(pairs.steps.max()) > 40


def test_an_agent_with_it_walks_around_and_one_without_stands_before_the_wall(
    trained: TrainedCritic, episodes: list[Experience]
) -> None:
    model, bounds = Horseshoe(), Box.of([-0.5], [0.5])
    latents = torch.cat([e.latents for e in episodes])
    left = {}
    for name, critic in (("with", trained.network), ("without", None)):
        agent = Agent(
            Perception(model, prepare=to_frames),
            WorldModel(model, calibrate_surprise(model, episodes)),
            CostModule(IntrinsicCost(), latent_scale(latents), critic),
            Memory(100),
            Actor(bounds, None, generator()),
        )
        angle, goal = torch.tensor([-2.2, 2.2]), torch.tensor([2.2, -2.2])
        agent.begin(TaskSpec(goal=bent(goal), horizon=5, planner=ICEM(num_samples=48, num_elites=6, spread=1.0)))
        for _ in range(16):
            angle = (angle + agent.act(bent(angle))[:, 0]).clamp(-END, END)
        left[name] = (angle - goal).abs()
    assert (left["with"] < 0.5).all(), left
    assert (left["without"] > 4).all(), left


def test_latents_may_be_patch_tokens() -> None:
    critic = TemporalDistance(torch.randn(20, 4, 3), generator())
    assert critic(torch.randn(2, 5, 4, 3), torch.randn(1, 1, 4, 3)).shape == (2, 5)
    again = TemporalDistance(critic.standard.mean.new_ones(2, 4, 3) * torch.arange(2.0)[:, None, None], generator())
    assert torch.equal(again.net[0].weight, critic.net[0].weight), "the generator decides the weights"
    with pytest.raises(ValueError, match=r"end in \[4, 3\]"):
        critic(torch.randn(2, 12), torch.randn(2, 12))


def test_episodes_that_teach_nothing() -> None:
    good = Experience(torch.randn(5, 2), torch.zeros(4, 1))
    with pytest.raises(UsageError, match="2 episodes at least"):
        fit_critic([good], Horseshoe(), generator())
    with pytest.raises(UsageError, match="one action between each two frames"):
        fit_critic([good, Experience(torch.randn(5, 2), torch.zeros(5, 1))], Horseshoe(), generator())
    with pytest.raises(UsageError, match="not finite"):
        fit_critic([good, good._replace(latents=good.latents * float("nan"))], Horseshoe(), generator())
    with pytest.raises(UsageError, match="expectile"):
        CriticTraining(expectile=1.0)
