"""On latents that stand still: a predictor learns to roll out, and a metric the length of the shortest way."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from craik.agent.dynamics import DynamicsTraining, fit_dynamics
from craik.agent.encoded import Encoded
from craik.agent.metric import MetricTraining, fit_metric
from craik.core.latent_world import LatentWorld
from craik.data.episode import Episodes
from craik.data.episode_writer import Writer
from craik.data.trajectory import Trajectory
from craik.errors import UsageError
from craik.nn.action import ActionScale
from craik.nn.metric import LatentMetric
from craik.nn.residual import ResidualPredictor
from craik.plan.ranks import spearman
from tests.agent.worlds import DOOR, STEP, Room, generator, places, walks

SIDE = 8
FAR = 30.0
THICK = 0.4


class Walled(Room):
    """A room with a wall as thick as four steps, of whose latents only the position is seen."""

    def step(self, at: Tensor, action: Tensor) -> Tensor:
        to = (at + action).clamp(-1, 1)
        x, y = to.unbind(-1)
        stopped = (x.abs() < THICK / 2) & (y < DOOR)
        x = torch.where(stopped & (at[..., 1] < DOOR), THICK / 2 * at[..., 0].sign(), x)
        return torch.stack([x, torch.where(stopped & (at[..., 1] >= DOOR), torch.full_like(y, DOOR), y)], -1)

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        return super().rollout(latents, past, actions)[..., :2]


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> Episodes:
    """200 walks in a room with a wall; a frame's first pixel tells the position."""
    folder = tmp_path_factory.mktemp("walks") / "room"
    with Writer(folder) as writer:
        for walk in walks(Walled(), 200, 40, generator()):
            frames = np.zeros((len(walk.latents), SIDE, SIDE, 3), np.uint8)
            frames[:, 0, 0, :2] = (127.5 * (walk.latents[:, :2].numpy() + 1)).round()
            writer.add(Trajectory(frames=frames, actions=walk.actions.numpy()))
    return Episodes.open(folder)


def encode(frames: Tensor) -> Tensor:
    """The position, as the first pixel tells it."""
    return frames[:, :2, 0, 0].float() / 127.5 - 1


@pytest.fixture(scope="module")
def encoded(episodes: Episodes) -> Encoded:
    return Encoded.of(episodes, encode)


def test_every_latent_is_that_of_its_frame(episodes: Episodes, encoded: Encoded) -> None:
    windows = encoded.windows(3, 2)
    span = encoded.draw(windows, 50, generator(3))
    assert list(span.latents.shape) == [50, 3, 2] and list(span.actions.shape) == [50, 2, 4]
    clips = windows.read(torch.randint(len(windows), (50,), generator=generator(3)).numpy())
    assert clips.actions is not None
    torch.testing.assert_close(span.latents, encode(clips.frames.flatten(0, 1)).unflatten(0, (50, 3)))
    torch.testing.assert_close(span.actions, clips.actions)


def test_no_more_frames_than_wanted(episodes: Episodes) -> None:
    told: list[tuple[str, int, int]] = []
    some = Encoded.of(episodes, encode, 400, lambda what, step, total, _: told.append((what, step, total)))
    assert len(some.episodes) == 10 and len(some.latents) == 400
    assert told == [("encoding", 400, 400)]
    first = encode(torch.from_numpy(some.episodes.frames.read(some.episodes.every_row).transpose(0, 3, 1, 2).copy()))
    torch.testing.assert_close(some.latents, first)


def test_latents_that_are_not_finite_are_refused(episodes: Episodes) -> None:
    with pytest.raises(UsageError, match="not finite"):
        Encoded.of(episodes, lambda frames: torch.full((len(frames), 2), float("nan")))


def test_predictor_learns_to_roll_out(encoded: Encoded) -> None:
    torch.manual_seed(0)
    scale = ActionScale(2)
    scale.set(torch.zeros(2), torch.full((2,), STEP / 2))
    predictor = ResidualPredictor(2, 2, hidden=64, depth=2)
    world = LatentWorld(nn.Identity(), scale, nn.Identity(), predictor, history=1)
    losses: list[float] = []
    training = DynamicsTraining(num_steps=300, batch=128, ahead=2)
    fit_dynamics(world, encoded, 1, training, generator(), lambda *told: losses.append(told[3]))
    assert len(losses) == 300
    at = places(500, generator(5), side=1) + torch.tensor([THICK / 2, 0])
    heading = 6.3 * torch.rand(500, 3, generator=generator(6))
    actions = STEP * torch.stack([heading.cos(), heading.sin()], -1)
    with torch.no_grad():
        imagined = world.rollout(at[:, None], at.new_zeros(500, 0, 2), actions)[:, -1]
    true = Walled().rollout(at[:, None], at.new_zeros(500, 0, 2), actions)[:, -1]
    wrong, moved = ((x - true).square().sum(1).mean() for x in (imagined, at))
    assert float(wrong) < 0.25 * float(moved)


def test_metric_is_the_shortest_way_around_the_wall(encoded: Encoded) -> None:
    torch.manual_seed(0)
    metric = LatentMetric(2, hidden=64, unit=1.0)
    metric.scale.set(encoded.latents)
    training = MetricTraining(num_steps=1000, batch=128, far=FAR)
    fit_metric(metric, Walled(), encoded, 1, lambda _, others: others, training, generator())
    a, b = (places(1000, generator(7 + side), side) + torch.tensor([side * THICK / 2, 0.0]) for side in (-1, 1))
    way = Room(wall=True).shortest(a, b)
    with torch.no_grad():
        learned = metric(a, b)
    straight = (a - b).norm(dim=1)
    assert spearman(learned, way) > 0.93 > spearman(straight, way) + 0.1
    near = a + torch.tensor([0.0, STEP])
    with torch.no_grad():
        assert 0.7 < float(metric(a, near).mean()) < 2, "a step is about one step"


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"num_steps": -1}])
def test_training_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="wants num_steps"):
        DynamicsTraining(**wrong)
    with pytest.raises(UsageError, match="wants num_steps"):
        MetricTraining(**wrong)
