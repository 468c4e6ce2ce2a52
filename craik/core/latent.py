"""The latent variable z: what decides between futures and cannot be known beforehand.

    E(x, y, z) = D(s_y, predictor(s_x, a, z))      F(x, y) = min over z of E(x, y, z) + a R(z)

A predictor without z gives the mean of all futures, which is none of them. A z that may carry everything makes every
y compatible with every x: the energy is flat, and nothing is learned (collapse of information through z). So each
part here limits what z carries, in nats per step, and tells how much it does:

    Discrete     best of K hypotheses                      at most ln K
    Gaussian     posterior q(z | s_x, s_y, a), KL          at most `budget`, for each step by itself
    Optimized    argmin over z by gradient, L1 or L2       at most `budget`, by a noisy channel of bounded power

They share one signature, `Latent`. z lives in coordinates in which its prior knows nothing of the state: standard
normal, Gumbel, or those lately inferred. What the state and the action make of it is the business of `tell`. So
draws can be made before a plan is known and shared by all candidates, and z = 0 is the default future.

Letters: B rows, T steps, Z size of z, C context (state and embedded action), D goal, W width of what the predictor
is told.

Source: LeCun 2022, "A Path Towards Autonomous Machine Intelligence", sections 4.3 to 4.5.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from craik.core.precision import full_precision
from craik.core.regularize import Reduce, alone

Judge = Callable[[Tensor], Tensor]
"""Energy [B, T] of predictions made with z [B, T, Z]. Causal: that at t depends on z up to t. Rows are apart."""

MOST_LOG_STD = 5.0  # deviations of posterior and prior stay within e^-5 to e^5
CERTAIN = 1e4  # a Gumbel draw that no prior outweighs


class Inferred(NamedTuple):
    """What was found out about z by looking at the goal."""

    z: Tensor
    """[B, T, Z]."""
    penalty: Tensor
    """To be added to the loss, already weighted, scalar."""
    nats: Tensor
    """Information that z carries per step [nats]: an upper bound, and never more than the budget. Not trained."""


class Latent(Protocol):
    """A latent variable; implementations are modules, trained with the world model that they are given to."""

    size: int
    """Z."""
    budget: float
    """Most information that z can carry per step [nats]."""

    def infer(self, context: Tensor, goal: Tensor, energy: Judge, rng: torch.Generator | None) -> Inferred:
        """Find z of steps from contexts [B, T, C] that ended in goals [B, T, D].

        For training, and for the past of a plan: None for `rng` draws nothing, and keeps no record of what was found.
        """

    def draw(self, num: int, horizon: int, rng: torch.Generator) -> Tensor:
        """Draws of z from its prior, [num, horizon, Z], on the CPU."""

    def tell(self, z: Tensor, context: Tensor) -> Tensor:
        """What the predictor is told, [B, T, W], of z [B, T, Z] in contexts [B, T, C]."""


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers with GELU: for posteriors and priors."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )


class Discrete(nn.Module):
    """Best of K hypotheses: each code is a future, and only the one that came true is trained.

    z [B, T, K] is what is added to the log-probabilities of the codes, of which the largest wins: Gumbel noise draws
    a code from the prior, zeros take the most likely one.

    A code that never wins is never trained, and stays dead. While its usage is below `dead_share` of a fair share,
    it is given the steps that all codes served worst, until it wins some for itself. A fair share is 1 / K, so that
    futures rarer than `dead_share` / K cannot keep a code alive.

    Args:
        num: K.
        width: W.
        prior: Contexts [..., C] to logits [..., K]; None takes the usage of the codes, whatever the state.
        weight: Of the cross-entropy [nats] that trains the prior.
        dead_share: In 0 to 1.
        momentum: Of the usage, per call.
        reduce: Sum over ranks, for the usage.
        price: a of E + a R, R = -log p(code) under the prior: what a nat costs in the choice of a code [energy per
            nat]. At 0 the least energy wins by however little, and z carries noise where all codes predict the same.

    Sources: Guzman-Rivera et al. 2012 (multiple choice learning); Gumbel 1954.
    """

    usage: Tensor

    def __init__(
        self,
        num: int,
        width: int,
        prior: nn.Module | None = None,
        weight: float = 0.1,
        dead_share: float = 0.01,
        momentum: float = 0.95,
        reduce: Reduce = alone,
        price: float = 0.0,
    ) -> None:
        super().__init__()
        if num < 1:
            raise ValueError(f"there is at least 1 hypothesis, got {num}")
        self.size, self.budget = num, math.log(num)
        self.embed = nn.Embedding(num, width)
        self.prior = prior
        self.weight, self.dead_share, self.momentum, self.reduce = weight, dead_share, momentum, reduce
        self.price = price
        self.register_buffer("usage", torch.full((num,), 1 / num))

    def infer(self, context: Tensor, goal: Tensor, energy: Judge, rng: torch.Generator | None) -> Inferred:
        """The code of least energy and price at each step, given those before it; K x T energies of the batch."""
        learning = self.training and rng is not None
        costs = -self.log_prob(context)
        won, given = self.search(self.price * costs.detach(), energy, learning)
        if learning:
            self.count(won)
        nats = costs.gather(-1, won.unsqueeze(-1)).mean()
        penalty = torch.zeros_like(nats) if self.prior is None else self.weight * nats
        return Inferred(self.hypothesis(given).to(context), penalty, nats.detach().clamp(max=self.budget))

    def draw(self, num: int, horizon: int, rng: torch.Generator) -> Tensor:
        """Gumbel noise, [num, horizon, K]."""
        uniform = torch.rand(num, horizon, self.size, generator=rng, dtype=torch.float64)
        return -(-uniform.clamp(min=1e-300).log()).log().float()

    def tell(self, z: Tensor, context: Tensor) -> Tensor:
        """The embedding of the winning code, [B, T, W]."""
        told: Tensor = self.embed((self.log_prob(context) + z).argmax(-1))
        return told

    def hypothesis(self, codes: Tensor) -> Tensor:
        """The z [..., K] that stands for codes int64 [...] in any context."""
        return CERTAIN * nn.functional.one_hot(codes, self.size).float()

    def log_prob(self, context: Tensor) -> Tensor:
        """Log-probability of each code under the prior, [..., K], of contexts [..., C]."""
        if self.prior is None:
            return self.usage.clamp(min=1e-6).log().expand(*context.shape[:-1], -1)
        return full_precision(self.prior(context)).log_softmax(-1)

    @torch.no_grad()
    def search(self, prices: Tensor, energy: Judge, learning: bool) -> tuple[Tensor, Tensor]:
        """Codes int64 [B, T] of least energy + price [B, T, K], and those to train with, which may be dead ones."""
        won = torch.zeros(prices.shape[:2], dtype=torch.int64, device=prices.device)
        given = won.clone()
        for t in range(prices.shape[1]):
            sums = []
            for code in range(self.size):
                given[:, t] = code
                sums.append(energy(self.hypothesis(given))[:, t] + prices[:, t, code])
            least, won[:, t] = torch.stack(sums).min(0)
            given[:, t] = self.cure(won[:, t], least) if learning else won[:, t]
        return won, given

    def cure(self, won: Tensor, least: Tensor) -> Tensor:
        """Codes [B] with the worst served rows, by their least energy + price [B], given to dead codes."""
        dead = (self.usage < self.dead_share / self.size).nonzero().flatten()
        share = max(1, len(won) // (2 * self.size))
        worst = least.argsort(descending=True)[: share * len(dead)]
        return won.index_put((worst,), dead.repeat_interleave(share)[: len(worst)])

    @torch.no_grad()
    def count(self, won: Tensor) -> None:
        """Let the usage follow codes [B, T]."""
        wins = self.reduce(torch.bincount(won.flatten(), minlength=self.size).to(self.usage))
        self.usage.lerp_(wins / wins.sum(), 1 - self.momentum)

    def perplexity(self) -> float:
        """How many codes are in use, 1 to K: exp of the entropy of the usage."""
        return float(torch.special.entr(self.usage / self.usage.sum()).sum().exp())


class Gaussian(nn.Module):
    """A vector with a learned posterior, whose divergence from the prior is penalized and bounded.

    z [B, T, Z] is in deviations of the prior from its mean; under the prior it is standard normal. The posterior of
    a step whose divergence exceeds the budget is moved towards the prior until it does not, whatever the weights:
    information that z carries about the goal is at most the mean divergence, hence at most the budget. A budget
    bounds single steps: an event of probability p that is to be told surely costs -ln p nats.

    Args:
        size: Z.
        width: W.
        posterior: Contexts and goals [..., C + D] to mean and log-deviation [..., 2 Z].
        prior: Contexts [..., C] to mean and log-deviation [..., 2 Z]; None is standard normal.
        weight: Of the divergence [nats], beta. Energies are means over features; this is not.
        free_nats: Divergence per step, shared equally by the dimensions, below which it is not penalized.
        budget: Most divergence of a step [nats]; infinite for no bound.

    Sources: Kingma and Welling 2014 (arXiv 1312.6114); free bits: Kingma et al. 2016 (arXiv 1606.04934), appendix C.8;
    default weight: the macro-actions of HWM (arXiv 2604.03208).
    """

    def __init__(
        self,
        size: int,
        width: int,
        posterior: nn.Module,
        prior: nn.Module | None = None,
        weight: float = 0.005,
        free_nats: float = 0.0,
        budget: float = math.inf,
    ) -> None:
        super().__init__()
        if not 0 <= free_nats <= budget or not budget > 0:
            raise ValueError(f"expected 0 <= free_nats <= budget and budget > 0 [nats], got {free_nats} and {budget}")
        self.size, self.budget = size, budget
        self.posterior, self.prior = posterior, prior
        self.embed = nn.Linear(size, width)
        self.weight, self.free_nats = weight, free_nats

    def infer(self, context: Tensor, goal: Tensor, energy: Judge, rng: torch.Generator | None) -> Inferred:
        """A draw from the posterior, its mean if there is nothing to draw with; the energy is not asked."""
        mean, log_std = moments(self.posterior(torch.cat([context, goal], -1)))
        prior_mean, prior_log_std = self.prior_moments(context)
        mean, log_std = (mean - prior_mean) * (-prior_log_std).exp(), log_std - prior_log_std
        mean, log_std = within(self.budget, mean, log_std)
        nats = divergence(mean, log_std)
        penalty = self.weight * nats.mean((0, 1)).clamp(min=self.free_nats / self.size).sum()
        z = mean if rng is None else mean + log_std.exp() * torch.randn(mean.shape, generator=rng).to(mean)
        return Inferred(z, penalty, nats.detach().sum(-1).mean())

    def draw(self, num: int, horizon: int, rng: torch.Generator) -> Tensor:
        """Standard normal, [num, horizon, Z]."""
        return torch.randn(num, horizon, self.size, generator=rng)

    def tell(self, z: Tensor, context: Tensor) -> Tensor:
        """A linear map of mean + deviation x z of the prior, [B, T, W]."""
        mean, log_std = self.prior_moments(context)
        told: Tensor = self.embed(mean + log_std.exp() * z)
        return told

    def prior_moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-deviation of the prior, [..., Z], in contexts [..., C]."""
        if self.prior is None:
            zeros = full_precision(context).new_zeros(*context.shape[:-1], self.size)
            return zeros, zeros
        return moments(self.prior(context))


def moments(out: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-deviation [..., Z], the latter bounded, from [..., 2 Z]."""
    mean, log_std = full_precision(out).chunk(2, -1)
    return mean, MOST_LOG_STD * (log_std / MOST_LOG_STD).tanh()


def divergence(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL of a normal distribution from the standard one [nats], in each dimension, [..., Z]."""
    return (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std) / 2


def within(budget: float, mean: Tensor, log_std: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-deviation [..., Z], nearer to the standard normal where their divergence exceeds the budget.

    The squared mean and the log-deviation are multiplied by budget / divergence. The divergence is convex in that
    factor and 0 at 0, so that what is left of it is at most budget / divergence of what it was.
    """
    if math.isinf(budget):
        return mean, log_std
    factor = budget / divergence(mean, log_std).sum(-1, keepdim=True).clamp(min=budget)
    return mean * factor.sqrt(), log_std * factor


class Optimized(nn.Module):
    """argmin over z of E(x, y, z) + weight x R(z), by gradient; there is no network that infers.

    z [B, T, Z] lies in a ball of radius sqrt(Z), and is sent through noise: `budget` is the capacity of this channel,
    Z / 2 ln(1 + 1 / variance). Without noise, a budget of infinity, a single number could carry everything. The
    prior are those z that were lately inferred in training, whatever the state; z = 0 has the least R.

    Steps are proximal: R by its shrinkage, the energy by its gradient. A step that does not lower the sum of a row is
    taken back and tried shorter, so that z never ends worse than it began. The energy is asked
    `num_starts` x (`num_steps` + 1) times, with its gradient.

    Args:
        size: Z.
        width: W.
        weight: Of R.
        norm: R is the sum over z of squares / 2, or of absolute values, which makes z sparse.
        budget: Capacity [nats per step].
        num_steps: Gradient steps.
        num_starts: Descents, of which the best counts; the first begins at 0, the others at random.
        rate: First length of a step.
        memory: How many inferred z are remembered.

    Sources: Beck and Teboulle 2009 (proximal steps); Shannon 1949, the capacity of a channel with bounded power.
    """

    memory: Tensor

    def __init__(
        self,
        size: int,
        width: int,
        weight: float = 0.01,
        norm: Literal["l1", "l2"] = "l2",
        budget: float = 2.0,
        num_steps: int = 10,
        num_starts: int = 2,
        rate: float = 1.0,
        memory: int = 1024,
    ) -> None:
        super().__init__()
        if not budget > 0 or num_starts < 1 or norm not in ("l1", "l2"):
            raise ValueError(f"expected budget > 0, num_starts >= 1, norm l1 or l2; got {budget}, {num_starts}, {norm}")
        self.size, self.budget = size, budget
        self.embed = nn.Linear(size, width)
        self.weight, self.norm, self.num_steps, self.num_starts, self.rate = weight, norm, num_steps, num_starts, rate
        remaining = math.exp(-2 * budget / size)
        self.noise_variance = remaining / (1 - remaining)
        self.register_buffer("memory", in_ball(torch.randn(memory, size, generator=torch.Generator().manual_seed(0))))

    def infer(self, context: Tensor, goal: Tensor, energy: Judge, rng: torch.Generator | None) -> Inferred:
        """The best z that was found, with noise; one descent without noise if there is nothing to draw with."""
        z = full_precision(context).new_zeros(*context.shape[:2], self.size)
        z, value = self.descend(z, energy)
        for _ in range(0 if rng is None else self.num_starts - 1):
            start = in_ball(torch.randn(z.shape, generator=rng).to(z))
            found, other = self.descend(start, energy)
            better = other < value
            z, value = torch.where(better[:, None, None], found, z), torch.where(better, other, value)
        power = z.square().mean() / self.noise_variance if self.noise_variance else z.new_full((), math.inf)
        nats = self.size / 2 * power.log1p()
        penalty = self.weight * self.magnitude(z).mean()
        if rng is not None:
            if self.training:
                self.remember(z)
            z = z + self.noise_variance**0.5 * torch.randn(z.shape, generator=rng).to(z)
        return Inferred(z, penalty, nats)

    def draw(self, num: int, horizon: int, rng: torch.Generator) -> Tensor:
        """Remembered z with noise, [num, horizon, Z]."""
        rows = torch.randint(len(self.memory), (num, horizon), generator=rng)
        noise = torch.randn(num, horizon, self.size, generator=rng)
        return self.memory.cpu()[rows] + self.noise_variance**0.5 * noise

    def tell(self, z: Tensor, context: Tensor) -> Tensor:
        """A linear map of z, [B, T, W]; the context does not matter."""
        told: Tensor = self.embed(z)
        return told

    def descend(self, z: Tensor, energy: Judge) -> tuple[Tensor, Tensor]:
        """A minimum near z [B, T, Z], and the sum over steps of energy + weight x R there, [B]."""
        rate = z.new_full((len(z), 1, 1), self.rate)
        value, slope = self.value(z, energy)
        for _ in range(self.num_steps):
            tried = in_ball(self.shrink(z - rate * slope, rate * self.weight))
            next_value, next_slope = self.value(tried, energy)
            lower = next_value <= value
            rows = lower[:, None, None]
            z, slope, value = (
                torch.where(rows, tried, z),
                torch.where(rows, next_slope, slope),
                torch.where(lower, next_value, value),
            )
            rate = torch.where(rows, 1.5 * rate, 0.3 * rate)
        return z, value

    def value(self, z: Tensor, energy: Judge) -> tuple[Tensor, Tensor]:
        """Sum over steps of energy + weight x R, [B], and the gradient of the energy [B, T, Z]."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            energies = energy(z).sum(-1)
            (slope,) = torch.autograd.grad(energies.sum(), z)
        z = z.detach()
        return energies.detach() + self.weight * self.magnitude(z).sum(-1), slope

    def magnitude(self, z: Tensor) -> Tensor:
        """R [B, T] of z [B, T, Z]."""
        return z.abs().sum(-1) if self.norm == "l1" else z.square().sum(-1) / 2

    def shrink(self, z: Tensor, amount: Tensor) -> Tensor:
        """The proximal map of amount x R."""
        return z.sign() * (z.abs() - amount).clamp(min=0) if self.norm == "l1" else z / (1 + amount)

    @torch.no_grad()
    def remember(self, z: Tensor) -> None:
        """Put z [B, T, Z] before what is remembered, and forget the oldest."""
        self.memory.copy_(torch.cat([z.flatten(0, 1), self.memory])[: len(self.memory)])


def in_ball(z: Tensor) -> Tensor:
    """Vectors z [..., Z], those longer than sqrt(Z) cut to this length."""
    return z * (z.shape[-1] ** 0.5 / z.norm(dim=-1, keepdim=True).clamp(min=z.shape[-1] ** 0.5))


def shuffle_gap(energy: Judge, z: Tensor, rng: torch.Generator) -> Tensor:
    """Energy with the z of another row minus energy with its own z [B, T, Z], [B, T].

    0: z is not used. The larger, the more of the goal is told by z, and the less by the state.
    """
    return energy(another_row(z, rng)) - energy(z)


def another_row(x: Tensor, rng: torch.Generator) -> Tensor:
    """Rows of x [B, ...] in another order, in which none keeps its place.

    Raises:
        ValueError: If there is no other row.
    """
    if len(x) < 2:
        raise ValueError("there is nothing to shuffle in a batch of one")
    return x.roll(int(torch.randint(1, len(x), (), generator=rng)), 0)
