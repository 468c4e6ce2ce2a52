"""The flow of world models, on a world so small that every number can be checked by hand."""

import pytest
import torch
from torch import Tensor, nn

from craik.core import Batch, Part
from craik.core.latent_world import LatentWorld, Term, Trajectory, windows
from craik.core.world import WorldModel

DIM = 3


class Pixels(nn.Module):
    """The latent of a frame [C, 1, 1] is its pixels times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(DIM, DIM, bias=False)
        nn.init.eye_(self.encoder.weight)

    def forward(self, frames: Tensor) -> Tensor:
        return self.encoder(frames.flatten(1))


class Double(nn.Module):
    """Actions in other units."""

    def forward(self, actions: Tensor) -> Tensor:
        return 2 * actions


class Add(nn.Module):
    """Next latent = gain x (latent + action), plus a share of the oldest latent that it is shown."""

    def __init__(self, gain: float = 1.0, memory: float = 0.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.memory = memory
        self.most = 0

    def forward(self, latents: Tensor, cond: Tensor) -> Tensor:
        assert latents.shape == cond.shape
        self.most = max(self.most, latents.shape[1])
        return self.gain * (latents + cond) + self.memory * latents[:, :1]


def model(gain: float = 1.0, memory: float = 0.0, history: int = 2, **settings) -> LatentWorld:
    return LatentWorld(Pixels(), Double(), nn.Identity(), Add(gain, memory), history, **settings)


def part(num_frames: int = 5, num: int = 4, seed: int = 0) -> Part:
    """A world that moves by twice the action."""
    rng = torch.Generator().manual_seed(seed)
    actions = torch.randn(num, num_frames - 1, DIM, generator=rng)
    first = torch.randn(num, 1, DIM, generator=rng)
    states = torch.cat([first, first + 2 * actions.cumsum(1)], 1)
    return Part(states[..., None, None], cond=actions)


@pytest.mark.parametrize("num_steps", [1, 2, 4])
@pytest.mark.parametrize("history", [1, 3])
def test_the_true_dynamics_have_no_energy(num_steps: int, history: int) -> None:
    loss = model(history=history, num_steps=num_steps)(Batch((part(),)))
    assert loss.total.item() == pytest.approx(0, abs=1e-10)
    assert loss.terms["copy"].item() == pytest.approx((2 * part().cond).square().mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("num_steps", "history", "num_frames"), [(1, 2, 3), (1, 2, 5), (3, 2, 5), (2, 1, 6), (3, 4, 6)]
)
def test_energy_is_that_of_rollouts_from_every_place(num_steps: int, history: int, num_frames: int) -> None:
    """Each window of c + K frames: all c predictions one step ahead, then the rollout's later ones."""
    world, given = model(0.9, 0.2, history, num_steps=num_steps), part(num_frames)
    latents, context = world.encode(given.x), min(history, num_frames - num_steps)
    by_step: list[list[Tensor]] = [[] for _ in range(num_steps)]
    for start in range(num_frames - context - num_steps + 1):
        now = start + context
        for ahead in range(1, context + 1):  # the first step, from every length of context
            pred = world.predictor(latents[:, start:now], 2 * given.cond[:, start:now])[:, ahead - 1]
            by_step[0].append((pred - latents[:, start + ahead]).square().mean())
        imagined = world.rollout(
            latents[:, start:now], given.cond[:, start : now - 1], given.cond[:, now - 1 : now - 1 + num_steps]
        )
        for k in range(1, num_steps):
            by_step[k].append((imagined[:, k] - latents[:, now + k]).square().mean())
    expected = torch.stack([torch.stack(energies).mean() for energies in by_step])
    loss = world(Batch((given,)))
    torch.testing.assert_close(loss.terms["energy"], expected.mean())
    if num_steps > 1:
        torch.testing.assert_close(loss.terms[f"energy_{num_steps}"], expected[-1].detach())
    assert world.predictor.most <= history


def test_gradient_flows_through_both_sides() -> None:
    """Doubling all latents doubles the error: a detached goal would give another gradient."""
    world, given = model(0.5), part()
    loss = world(Batch((given,)))
    (grad,) = torch.autograd.grad(loss.total, world.perception.encoder.weight)
    moved, eps = [], 1e-3
    for sign in (1, -1):
        with torch.no_grad():
            world.perception.encoder.weight[0, 0] += sign * eps
            moved.append(world(Batch((given,))).total.item())
            world.perception.encoder.weight[0, 0] -= sign * eps
    assert grad[0, 0].item() == pytest.approx((moved[0] - moved[1]) / (2 * eps), rel=1e-2)


def test_truncation_changes_the_gradient_and_not_the_energy() -> None:
    given, found = part(), {}
    for truncate in (False, True):
        world = model(0.5, num_steps=3, truncate=truncate)
        loss = world(Batch((given,)))
        found[truncate] = loss.total.item(), torch.autograd.grad(loss.total, world.predictor.gain)[0].item()
    assert found[True][0] == found[False][0]
    assert found[True][1] != pytest.approx(found[False][1], rel=1e-2)


def test_rollout_uses_the_last_frames_and_their_actions() -> None:
    world, given = model(history=2), part(num_frames=6)
    latents = world.encode(given.x)
    imagined = world.rollout(latents[:, :3], given.cond[:, :2], given.cond[:, 2:])
    torch.testing.assert_close(imagined, latents[:, 3:])
    spoiled = torch.cat([torch.full_like(latents[:, :1], torch.nan), latents[:, 1:3]], 1)  # beyond the history
    past = torch.cat([torch.full_like(given.cond[:, :1], torch.nan), given.cond[:, 1:2]], 1)
    torch.testing.assert_close(world.rollout(spoiled, past, given.cond[:, 2:]), latents[:, 3:])
    assert world.predictor.most == 2


def test_rollout_from_one_frame_and_rows_apart() -> None:
    world: WorldModel = model(0.7, 0.1, history=3)
    given = part()
    latents, none = world.encode(given.x[:, :1]), given.cond[:, :0]
    together = world.rollout(latents, none, given.cond)
    for row in range(len(latents)):
        one = slice(row, row + 1)
        torch.testing.assert_close(world.rollout(latents[one], none[one], given.cond[one]), together[one])


def test_rollout_is_differentiable_in_the_actions() -> None:
    world, actions = model(0.5), torch.zeros(1, 3, DIM, requires_grad=True)
    world.rollout(torch.zeros(1, 1, DIM), torch.zeros(1, 0, DIM), actions)[:, -1].sum().backward()
    assert actions.grad is not None
    torch.testing.assert_close(actions.grad[0, :, 0], torch.tensor([2 * 0.5**3, 2 * 0.5**2, 2 * 0.5]))


def test_patch_tokens() -> None:
    """Latents [B, T, N, D] go the same way."""

    class Patches(Pixels):
        def forward(self, frames: Tensor) -> Tensor:
            return self.encoder(frames.flatten(2).transpose(1, 2))

    class AddToAll(nn.Module):
        def forward(self, latents: Tensor, cond: Tensor) -> Tensor:
            return latents + cond.unsqueeze(2)

    world = LatentWorld(Patches(), Double(), nn.Identity(), AddToAll(), history=2, num_steps=2)
    given = part()
    twice = Part(given.x.expand(-1, -1, -1, 2, -1), cond=given.cond)
    assert world(Batch((twice,))).total.item() == pytest.approx(0, abs=1e-10)
    latents = world.encode(twice.x)
    assert latents.shape == (4, 5, 2, DIM)
    torch.testing.assert_close(world.rollout(latents[:, :1], given.cond[:, :0], given.cond), latents[:, 1:])


class Bound(nn.Module):
    """A penalty with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.bound = nn.Parameter(torch.tensor(3.0))

    def forward(self, trajectory: Trajectory, step: int) -> Tensor:
        return (self.bound - trajectory.latents.mean()).square()


def test_terms_are_weighted_and_trained() -> None:
    terms = {
        "bound": Term(0.5, Bound()),
        "actions": Term(2.0, lambda seen, step: step * seen.actions.mean()),
    }
    world, given = model(0.9, terms=terms), part()
    loss = world(Batch((given,)), 7)
    assert loss.terms["actions"].item() == pytest.approx(7 * 2 * given.cond.mean().item(), rel=1e-5)
    expected = loss.terms["energy"] + 0.5 * loss.terms["bound"] + 2 * loss.terms["actions"]
    torch.testing.assert_close(loss.total, expected)
    assert "penalties.bound.bound" in dict(world.named_parameters())
    assert torch.autograd.grad(loss.total, terms["bound"].penalty.bound)[0] != 0


def test_parts_count_alike() -> None:
    """Windows of several lengths in one step."""
    world, parts = model(0.9), (part(3, 2), part(5, 6, seed=1))
    alone = [world(Batch((one,))).terms["energy"] for one in parts]
    torch.testing.assert_close(world(Batch(parts)).terms["energy"], torch.stack(alone).mean())


def test_a_last_action_that_leads_nowhere_is_left_out() -> None:
    given = part()
    nan = torch.full_like(given.cond[:, :1], torch.nan)
    loss = model(0.9)(Batch((Part(given.x, cond=torch.cat([given.cond, nan], 1)),)))
    torch.testing.assert_close(loss.total, model(0.9)(Batch((given,))).total)


def test_mistakes() -> None:
    world, given = model(num_steps=3), part()
    with pytest.raises(ValueError, match=r"actions none; expected \[B, 4, A\]"):
        world(Batch((Part(given.x),)))
    with pytest.raises(ValueError, match=r"actions \[4, 3, 3\]; expected \[B, 4, A\], actions\[t\] taken between"):
        world(Batch((Part(given.x, cond=given.cond[:, 1:]),)))
    with pytest.raises(ValueError, match="3 steps ahead want 4 frames or more, got 3"):
        world(Batch((part(3),)))
    latents = world.encode(given.x)
    with pytest.raises(ValueError, match="5 frames want 4 past actions, got 3"):
        world.rollout(latents, given.cond[:, 1:], given.cond)
    with pytest.raises(ValueError, match="no latent variable"):
        world.rollout(latents, given.cond, given.cond, z=torch.zeros(4, 4, 1))
    with pytest.raises(ValueError, match="at least 1"):
        model(history=0)


def test_windows() -> None:
    x = torch.arange(8).view(2, 4, 1)
    assert windows(x, 3)[..., 0].tolist() == [[0, 1, 2], [1, 2, 3], [4, 5, 6], [5, 6, 7]]
    assert windows(torch.zeros(2, 4, 5, 6), 2).shape == (6, 2, 5, 6)


@pytest.mark.parametrize(("history", "num_frames"), [(1, 4), (2, 4), (6, 4)])
def test_what_a_health_check_sees_are_predictions_one_step_ahead(history: int, num_frames: int) -> None:
    world, given = model(0.9, 0.2, history), part(num_frames)
    found, latents = world.latents(Batch((given,))), world.encode(given.x)
    context = min(history, num_frames - 1)
    (goal,), (seen,), (pred,) = found.goal, found.context, found.pred
    assert goal.x.shape == (4 * (num_frames - context), 1, DIM) and pred.shape == (len(goal.x), 1, 1, DIM)
    starts = range(num_frames - context)
    for start in starts:
        row = start  # windows of the first sample come first
        now = start + context
        torch.testing.assert_close(goal.x[row, 0], latents[0, now])
        torch.testing.assert_close(seen.x[row, 0], latents[0, now - 1])
        cond = given.cond[:1, start:now]
        imagined = world.rollout(latents[:1, start:now], cond[:, :-1], cond[:, -1:])
        torch.testing.assert_close(pred[row, 0, 0], imagined[0, 0])
    torch.testing.assert_close(world.tokens(given.x[:, 0]).x[:, 0], latents[:, 0])
