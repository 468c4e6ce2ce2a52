"""The latent variable, on worlds with a known number of futures: y = x + chance."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from craik.core import Batch, Part
from craik.core.latent import (
    Discrete,
    Gaussian,
    Latent,
    Optimized,
    another_row,
    divergence,
    head,
    in_ball,
    shuffle_gap,
    within,
)
from craik.core.latent_world import LatentWorld
from craik.core.world import WorldModel

WIDTH = 2
SPREAD = 2.0  # of x; that of chance is 1


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bimodal(num: int, seed: int) -> tuple[Tensor, Tensor]:
    """Left or right, each with probability 1/2: ln 2 nats. x and y are [B, 1, 1]."""
    rng = generator(1000 + seed)  # apart from the noise of z
    x = SPREAD * torch.randn(num, 1, 1, generator=rng)
    return x, x + 2.0 * torch.randint(0, 2, (num, 1, 1), generator=rng) - 1


def normal(num: int, seed: int) -> tuple[Tensor, Tensor]:
    """Chance is standard normal: with R nats known of it, its error is exp(-2 R) at least."""
    rng = generator(1000 + seed)
    x = SPREAD * torch.randn(num, 1, 1, generator=rng)
    return x, x + torch.randn(num, 1, 1, generator=rng)


class Toy(nn.Module):
    """x plus a curve of what z tells; without z, the best there is: x."""

    def __init__(self, latent: Latent, curve: bool = True) -> None:
        super().__init__()
        self.latent = latent
        self.curve = nn.Sequential(nn.Linear(WIDTH + 1, 16), nn.GELU(), nn.Linear(16, 1)) if curve else None

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        told = self.latent.tell(z, x)
        return x + (told[..., :1] if self.curve is None else self.curve(torch.cat([told, x], -1)))

    def judge(self, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda z: (self(x, z) - y).square().mean(-1)


def learn(toy: Toy, draw: Callable[[int, int], tuple[Tensor, Tensor]], steps: int, lr: float = 0.03) -> Toy:
    optimizer = torch.optim.Adam(toy.parameters(), lr=lr, foreach=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        x, y = draw(64, step)
        found = toy.latent.infer(x, y, toy.judge(x, y), generator(step))
        loss = toy.judge(x, y)(found.z).mean() + found.penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return toy.eval()


@torch.no_grad()
def measure(toy: Toy, draw: Callable[[int, int], tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Energies with own, shuffled z, and of wrong goals; nats; shares of prior samples near left, near right."""
    rng, (x, y) = generator(5), draw(1000, 10**6)
    found = toy.latent.infer(x, y, toy.judge(x, y), rng)
    wrong = another_row(y, rng)
    found_wrong = toy.latent.infer(x, wrong, toy.judge(x, wrong), rng)
    samples = toy(x, toy.latent.draw(1000, 1, rng)) - x
    return {
        "own": toy.judge(x, y)(found.z).mean().item(),
        "gap": shuffle_gap(toy.judge(x, y), found.z, rng).mean().item(),
        "wrong": toy.judge(x, wrong)(found_wrong.z).mean().item(),
        "nats": found.nats.item(),
        "left": ((samples + 1).abs() < 0.5).float().mean().item(),
        "right": ((samples - 1).abs() < 0.5).float().mean().item(),
    }


def gaussian(size: int = 1, context: int = 1, **settings) -> Gaussian:
    return Gaussian(size, WIDTH, head(context + 1, 16, 2 * size), **settings)


def test_without_z_the_best_prediction_is_the_mean_and_its_energy_the_variance() -> None:
    x, y = bimodal(2000, 0)
    best = (x - y).square().mean().item()
    assert best == pytest.approx(1.0, abs=1e-6)  # chance is -1 or 1, its mean 0
    for shift in (-1.0, -0.3, 0.3, 1.0):
        assert (x + shift - y).square().mean().item() > best + 0.05


def test_two_hypotheses_are_both_futures() -> None:
    torch.manual_seed(0)
    toy = learn(Toy(Discrete(2, WIDTH), curve=False), bimodal, 80, lr=0.1)
    found = measure(toy, bimodal)
    assert found["own"] < 1e-3
    assert sorted(toy.latent.embed.weight[:, 0].tolist()) == pytest.approx([-1, 1], abs=0.03)
    assert found["left"] == pytest.approx(0.5, abs=0.1) and found["right"] == pytest.approx(0.5, abs=0.1)
    assert found["nats"] == pytest.approx(math.log(2), abs=0.02) and found["nats"] <= toy.latent.budget
    assert found["gap"] == pytest.approx(2.0, abs=0.3)  # half of the rows get the other side, 2 away
    assert found["wrong"] > 2  # a goal elsewhere is not believed


def test_hypotheses_are_no_better_than_quantization_can_be() -> None:
    """Two points for a standard normal leave 1 - 2 / pi of its variance (Max 1960)."""
    torch.manual_seed(0)
    found = measure(learn(Toy(Discrete(2, WIDTH), curve=False), normal, 80, lr=0.1), normal)
    assert found["own"] == pytest.approx(1 - 2 / math.pi, abs=0.05)


def test_gaussian_covers_both_futures_within_its_budget() -> None:
    torch.manual_seed(0)
    toy = learn(Toy(gaussian(weight=0.2, budget=1.0)), bimodal, 300)
    found = measure(toy, bimodal)
    assert found["own"] < 0.25  # of a variance of 1
    assert found["left"] > 0.2 and found["right"] > 0.2  # a Gaussian prior leaves the rest between the two
    assert found["nats"] == pytest.approx(math.log(2), abs=0.25) and found["nats"] <= 1.0
    assert found["wrong"] > 2


def test_unlimited_z_makes_the_landscape_flatter_and_wrong_goals_show_it() -> None:
    torch.manual_seed(0)
    limited = measure(learn(Toy(Discrete(2, WIDTH), curve=False), bimodal, 80, lr=0.1), bimodal)
    torch.manual_seed(0)
    free = measure(learn(Toy(gaussian(size=2, weight=0.0)), bimodal, 300), bimodal)
    assert free["own"] < 0.05 and free["nats"] > 5 * math.log(2)
    assert free["wrong"] < 0.6 * limited["wrong"]  # wrong goals are believed more easily
    assert free["gap"] > 1  # z is used; how much more than left or right it tells, this control hardly shows
    assert min(free["left"], free["right"]) < limited["left"] - 0.1  # and its prior knows of no two sides


@pytest.mark.parametrize("kind", ["gaussian", "optimized"])
def test_no_training_gets_more_through_z_than_its_budget(kind: str) -> None:
    """Half a nat, no penalty, and everything to gain: Shannon's bound of the error holds."""
    torch.manual_seed(0)
    budget = 0.5
    latent = gaussian(weight=0.0, budget=budget)
    if kind == "optimized":
        latent = Optimized(1, WIDTH, weight=0.0, budget=budget, num_steps=3, num_starts=1)
    toy = learn(Toy(latent, curve=False), normal, 80)
    found = measure(toy, normal)
    assert 0.95 * math.exp(-2 * budget) < found["own"] < 0.75
    assert found["nats"] <= budget + 1e-5


def test_budget_holds_for_every_posterior() -> None:
    rng = generator()
    mean, log_std = 30 * torch.randn(500, 3, generator=rng), 2 * torch.randn(500, 3, generator=rng)
    for budget in (0.01, 0.7, 5.0):
        moved = divergence(*within(budget, mean, log_std)).sum(-1)
        assert moved.max() <= budget * 1.0001 and moved.median() > 0.3 * budget
    kept = within(1e6, mean, log_std)
    torch.testing.assert_close(kept, (mean, log_std))


def test_divergence_is_that_of_torch() -> None:
    mean, log_std = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([0.0, -1.0, 0.5])
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, log_std.exp()), torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    )
    torch.testing.assert_close(divergence(mean, log_std), expected)


def test_learned_prior() -> None:
    """Divergence of the posterior from it; tell undoes the coordinates of z; both nets are trained."""
    torch.manual_seed(0)
    latent = gaussian(2, prior=head(1, 16, 4), weight=1.0)
    x, y = bimodal(16, 0)
    found = latent.infer(x, y, lambda z: z.sum(-1), generator(3))
    mean, log_std = latent.posterior(torch.cat([x, y], -1)).chunk(2, -1)
    prior_mean, prior_log_std = latent.prior(x).chunk(2, -1)
    q = torch.distributions.Normal(mean, (5 * (log_std / 5).tanh()).exp())
    p = torch.distributions.Normal(prior_mean, (5 * (prior_log_std / 5).tanh()).exp())
    expected = torch.distributions.kl_divergence(q, p).sum(-1).mean()
    torch.testing.assert_close(found.penalty, expected)
    torch.testing.assert_close(found.nats, expected.detach())
    noise = torch.randn(q.mean.shape, generator=generator(3))
    torch.testing.assert_close(latent.tell(found.z, x), latent.embed(q.mean + q.stddev * noise))
    torch.testing.assert_close(latent.tell(torch.zeros_like(found.z), x), latent.embed(p.mean))
    found.penalty.backward()
    assert all(parameter.grad is not None for net in (latent.posterior, latent.prior) for parameter in net.parameters())


def test_free_bits_are_not_penalized() -> None:
    latent, (x, y) = gaussian(2, weight=1.0, free_nats=4.0), bimodal(16, 0)
    found = latent.infer(x, y, lambda z: z.sum(-1), None)
    assert found.nats < 4 and found.penalty.item() == pytest.approx(4.0)
    found.penalty.backward()
    assert all(not parameter.grad.any() for parameter in latent.posterior.parameters())


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_optimized_z_reaches_the_minimum(norm: str) -> None:
    """Quadratic energies: the answers are ridge regression and soft thresholds."""
    weight, size = 0.3, 3
    latent = Optimized(size, WIDTH, weight=weight, norm=norm, num_steps=80, num_starts=1)
    goal = in_ball(0.6 * torch.randn(20, 2, size, generator=generator()))  # the answer lies inside, too
    curvature = torch.tensor([0.2, 1.0, 5.0])
    z, value = latent.descend(torch.zeros_like(goal), lambda z: (curvature * (z - goal).square()).sum(-1) / 2)
    expected = curvature * goal / (curvature + weight)
    if norm == "l1":
        expected = goal.sign() * (goal.abs() - weight / curvature).clamp(min=0)
        assert (z == 0).any() and ((z == 0) == (expected == 0)).all()
    torch.testing.assert_close(z, expected, atol=2e-3, rtol=0)
    energy = (curvature * (z - goal).square()).sum(-1) / 2 + weight * latent.magnitude(z)
    torch.testing.assert_close(value, energy.sum(-1))


def test_more_starts_leave_a_local_minimum() -> None:
    """A dip near 0 beside a deeper one at 1."""

    def energy(z: Tensor) -> Tensor:
        return torch.minimum(20 * z.square() + 0.5, 5 * (z - 0.9).square()).squeeze(-1)

    x = torch.zeros(50, 1, 1)
    one = Optimized(1, WIDTH, weight=0.0, budget=math.inf, num_starts=1).infer(x, x, energy, generator())
    some = Optimized(1, WIDTH, weight=0.0, budget=math.inf, num_starts=6).infer(x, x, energy, generator())
    torch.testing.assert_close(one.z, torch.zeros_like(x))
    assert (some.z - 0.9).abs().median() < 0.01
    assert (energy(some.z) <= energy(one.z)).all()


def test_optimized_remembers_what_it_found() -> None:
    latent = Optimized(1, WIDTH, budget=4.0, memory=64, weight=0.0)
    x, y = bimodal(64, 0)
    latent.infer(x, y, lambda z: (z - (y - x)).square().sum(-1), generator())
    drawn = latent.draw(500, 1, generator())
    assert ((drawn.abs() - 1).abs() < 0.1).float().mean() > 0.9
    assert 0.3 < (drawn > 0).float().mean() < 0.7
    before = latent.memory.clone()
    latent.eval().infer(x, x, lambda z: z.square().sum(-1), generator())
    latent.train().infer(x, x, lambda z: z.square().sum(-1), None)
    assert torch.equal(latent.memory, before)
    assert in_ball(torch.tensor([[3.0, 4.0], [0.1, 0.0]])).tolist() == [
        pytest.approx([0.6 * 2**0.5, 0.8 * 2**0.5]),
        pytest.approx([0.1, 0.0]),
    ]


def test_dead_hypothesis_is_revived() -> None:
    """One code far away that never wins; without the cure it stays there."""
    for dead_share, alive in ((0.05, True), (0.0, False)):
        torch.manual_seed(0)
        toy = Toy(Discrete(2, WIDTH, dead_share=dead_share, momentum=0.8), curve=False)
        with torch.no_grad():
            toy.latent.embed.weight[:] = torch.tensor([[0.0, 0.0], [9.0, 9.0]])
        learn(toy, bimodal, 120, lr=0.3)
        assert (toy.latent.perplexity() > 1.9) == alive
        assert (measure(toy, bimodal)["own"] < 0.02) == alive


def test_a_rare_hypothesis_is_no_dead_one() -> None:
    latent = Discrete(4, WIDTH)
    latent.usage.copy_(torch.tensor([0.9, 0.05, 0.05, 0.0]))
    won, least = torch.zeros(16, dtype=torch.int64), torch.arange(16.0)
    assert latent.cure(won, least).tolist() == 14 * [0] + 2 * [3]  # the worst served


def test_codes_are_found_step_by_step() -> None:
    """The energy of a step depends on the code before: only the order in time finds the joint minimum."""
    latent = Discrete(3, WIDTH)
    truth = torch.randint(0, 3, (40, 4), generator=generator())
    shifted = (truth + nn.functional.pad(truth, (1, 0))[:, :-1]) % 3

    def energy(z: Tensor) -> Tensor:
        code = z.argmax(-1)
        return ((code + nn.functional.pad(code, (1, 0))[:, :-1]) % 3 != shifted).float()

    found = latent.infer(torch.zeros(40, 4, 1), torch.zeros(40, 4, 1), energy, None)
    assert torch.equal(found.z.argmax(-1), truth)


def test_prior_of_hypotheses_depends_on_the_state() -> None:
    """Where x is positive, code 1 comes true; draws know it, and a shuffled z still says which."""
    torch.manual_seed(0)
    latent = Discrete(2, WIDTH, prior=nn.Linear(1, 2), weight=1.0)
    optimizer = torch.optim.Adam(latent.parameters(), lr=0.3)
    for step in range(40):
        x = torch.randn(64, 1, 1, generator=generator(step))
        right = x[..., 0] > 0
        found = latent.infer(x, x, lambda z, right=right: (z.argmax(-1) != right).float(), generator(step))
        optimizer.zero_grad()
        found.penalty.backward()
        optimizer.step()
    assert found.nats < 0.2 < math.log(2)
    x = torch.tensor([-2.0, 2.0]).repeat(500).view(-1, 1, 1)
    for z in (latent.draw(1000, 1, generator()), torch.zeros(1000, 1, 2)):
        told = latent.tell(z, x)
        right = (told == latent.embed.weight[1]).all(-1)
        assert (right == (x[..., 0] > 0)).float().mean() > 0.95
    forced = latent.hypothesis(torch.ones(1000, 1, dtype=torch.int64))
    assert (latent.tell(forced, x) == latent.embed.weight[1]).all()


def test_a_price_lets_the_likely_code_win_where_the_others_are_hardly_better() -> None:
    """Code 1 is rare, and better by 0.01 in the first row, by 1 in the second."""
    latent = Discrete(2, WIDTH, price=0.1)
    latent.usage.copy_(torch.tensor([0.9, 0.1]))
    better = torch.tensor([[0.01], [1.0]])
    x = torch.zeros(2, 1, 1)

    def energy(z: Tensor) -> Tensor:
        return -better * (z.argmax(-1) == 1)

    found = latent.infer(x, x, energy, None)
    assert found.z.argmax(-1).flatten().tolist() == [0, 1]
    latent.price = 0.0
    assert latent.infer(x, x, energy, None).z.argmax(-1).flatten().tolist() == [1, 1]
    assert found.nats == pytest.approx(math.log(2))  # that of code 1, at most the budget, and of code 0
    assert latent.infer(x, x, energy, None).nats == pytest.approx(math.log(2))


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="free_nats <= budget"):
        gaussian(free_nats=2.0, budget=1.0)
    with pytest.raises(ValueError, match=r"norm l1 or l2; got 2\.0, 2, l3"):
        Optimized(1, WIDTH, norm="l3")
    with pytest.raises(ValueError, match="at least 1 hypothesis"):
        Discrete(0, WIDTH)
    with pytest.raises(ValueError, match="batch of one"):
        another_row(torch.zeros(1, 2), generator())


# In a world model


class Pixels(nn.Module):
    """The latent of a frame [1, 1, 1] is its pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()

    def forward(self, frames: Tensor) -> Tensor:
        return self.encoder(frames).flatten(1)


class Add(nn.Module):
    """Next latent = latent + condition, by way of a batch norm that is looked at and not used, and of dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.drop = nn.Dropout(0.0)

    def forward(self, latents: Tensor, cond: Tensor) -> Tensor:
        return self.drop(latents + cond) + 0 * self.norm(latents.flatten(0, 1)).view_as(latents)


def steps_of_chance(num: int = 200, num_frames: int = 5) -> Part:
    """Each step adds the action, and 1 or -1 at random."""
    rng = generator(77)
    actions = torch.randn(num, num_frames - 1, 1, generator=rng)
    sides = 2.0 * torch.randint(0, 2, actions.shape, generator=rng) - 1
    first = torch.randn(num, 1, 1, generator=rng)
    states = torch.cat([first, first + (actions + sides).cumsum(1)], 1)
    return Part(states[..., None, None], cond=actions)


def two_sided(history: int, num_steps: int = 1) -> LatentWorld:
    """A world that knows of both sides: no learning, no luck."""
    latent = Discrete(2, 1)
    with torch.no_grad():
        latent.embed.weight[:, 0] = torch.tensor([-1.0, 1.0])
    return LatentWorld(Pixels(), nn.Identity(), nn.Identity(), Add(), history, num_steps, latent=latent)


@pytest.mark.parametrize(("history", "num_steps"), [(1, 1), (2, 1), (1, 3), (3, 2)])
def test_world_model_with_z_has_no_energy_where_one_without_has_the_variance(history: int, num_steps: int) -> None:
    batch = Batch((steps_of_chance(),))
    loss = two_sided(history, num_steps)(batch, 3)
    assert loss.terms["energy"].item() == pytest.approx(0, abs=1e-9)
    assert loss.terms["nats"].item() == pytest.approx(math.log(2), abs=0.02)
    torch.testing.assert_close(loss.total, loss.terms["energy"] + loss.terms["latent"])
    alone = LatentWorld(Pixels(), nn.Identity(), nn.Identity(), Add(), history, num_steps)(batch, 3)
    assert "nats" not in alone.terms
    if num_steps == 1:
        assert alone.terms["energy"].item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("history", [1, 3])
def test_rollout_takes_z_from_draws_or_by_default(history: int) -> None:
    world, part = two_sided(history).eval(), steps_of_chance()
    latents, sides = world.encode(part.x), part.x.flatten(1).diff(dim=1) - part.cond[..., 0]
    true = world.latent.hypothesis((sides[:, 2:] > 0).long())
    model: WorldModel = world
    imagined = model.rollout(latents[:, :3], part.cond[:, :2], part.cond[:, 2:], true)
    torch.testing.assert_close(imagined, latents[:, 3:])
    drawn = model.rollout(latents[:, :3], part.cond[:, :2], part.cond[:, 2:], world.latent.draw(200, 2, generator()))
    first = (drawn - latents[:, 2:3])[:, 0, 0] - part.cond[:, 2, 0]
    assert (first.abs() - 1).abs().max() < 1e-5 and 0.35 < (first > 0).float().mean() < 0.65
    default = model.rollout(latents[:, :3], part.cond[:, :2], part.cond[:, 2:])
    zeros = model.rollout(latents[:, :3], part.cond[:, :2], part.cond[:, 2:], torch.zeros(200, 2, 2))
    torch.testing.assert_close(default, zeros)
    one = model.rollout(latents[:1, :3], part.cond[:1, :2], part.cond[:1, 2:], true[:1])
    torch.testing.assert_close(one, imagined[:1])
    with pytest.raises(ValueError, match=r"z is \[200, 1, 2\], expected \[200, 2, 2\]"):
        model.rollout(latents[:, :3], part.cond[:, :2], part.cond[:, 2:], true[:, :1])


def test_past_steps_are_told_what_happened_there() -> None:
    """A predictor that adds what it was told a step ago gets it right only if the past was looked at."""

    class Echo(Add):
        def forward(self, latents: Tensor, cond: Tensor) -> Tensor:
            return latents + cond + nn.functional.pad(cond, (0, 0, 1, 0))[:, :-1]

    part = steps_of_chance()
    cond = part.x.flatten(1).diff(dim=1).unsqueeze(-1)  # actions plus chance
    echoed = torch.stack([cond[:, 0], cond[:, 1] + cond[:, 0]], 1).cumsum(1)
    frames = torch.cat([part.x[:, :1], part.x[:, :1] + echoed[..., None, None]], 1)
    world = two_sided(2).eval()
    world.predictor = Echo()
    latents = world.encode(frames)
    z = world.latent.hypothesis((cond[:, 1:2, 0] > part.cond[:, 1:2, 0]).long())
    imagined = world.rollout(latents[:, :2], part.cond[:, :1], part.cond[:, 1:2], z)
    torch.testing.assert_close(imagined, latents[:, 2:])


def test_trials_leave_no_trace_in_batch_norm() -> None:
    world, batch = two_sided(2), Batch((steps_of_chance(),))
    world(batch)
    assert world.predictor.norm.num_batches_tracked == 1 and world.predictor.norm.training
    assert world.predictor.drop.training
    expected = 0.1 * torch.cat([batch.parts[0].x[:, t : t + 2] for t in range(3)]).mean()
    torch.testing.assert_close(world.predictor.norm.running_mean[0], expected)


def test_control_of_a_world_model() -> None:
    control = two_sided(2).eval().control(Batch((steps_of_chance(),)), generator())
    assert control.own.item() == pytest.approx(0, abs=1e-9)
    assert control.shuffled.item() == pytest.approx(2.0, abs=0.3)
    assert control.wrong.item() > 1


@pytest.mark.parametrize("kind", ["gaussian", "optimized"])
def test_every_kind_is_trained_in_a_world_model_of_patches(kind: str) -> None:
    class Patches(Pixels):
        def forward(self, frames: Tensor) -> Tensor:
            return self.encoder(frames).flatten(2).transpose(1, 2).expand(-1, 2, -1)

    class AddToAll(nn.Module):
        def forward(self, latents: Tensor, cond: Tensor) -> Tensor:
            return latents + cond.unsqueeze(2)

    torch.manual_seed(0)
    latent = Gaussian(2, 1, head(3, 8, 4), head(2, 8, 4)) if kind == "gaussian" else Optimized(2, 1, num_steps=2)
    world = LatentWorld(Patches(), nn.Identity(), nn.Identity(), AddToAll(), 2, 2, latent=latent)
    part = steps_of_chance(8)
    loss = world(Batch((part,)), 1)
    loss.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in world.latent.parameters())
    assert 0 < loss.terms["nats"] <= latent.budget
    torch.testing.assert_close(loss.total.detach(), world(Batch((part,)), 1).total.detach(), rtol=0.2, atol=0)
    latents = world.encode(part.x)
    z = world.latent.draw(8, 3, generator())
    assert world.rollout(latents[:, :2], part.cond[:, :1], part.cond[:, 1:], z).shape == (8, 3, 2, 1)
