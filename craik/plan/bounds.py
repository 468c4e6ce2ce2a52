"""Action spaces: what a solver may propose.

Both kinds speak of actions as float tensors [..., A], so that solvers, costs and models see one form: real numbers for
`Box`, one-hot groups for `Discrete`, whose means are probabilities. Where one model step spans several steps of the
environment, `block` gives the space of the concatenated actions and `split` cuts them apart again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from craik.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """Real actions between `low` [A] and `high` [A], both finite; optionally no longer than `max_norm`."""

    low: Tensor
    high: Tensor
    max_norm: float | None = None
    """Largest Euclidean length of one action [units of the action]; of each action inside a block."""
    num_inside: int = 1
    """Actions of the environment that one action here concatenates."""

    def __post_init__(self) -> None:
        if self.low.ndim != 1 or self.low.shape != self.high.shape:
            raise UsageError(f"Box wants low [A] and high [A]; got {list(self.low.shape)} and {list(self.high.shape)}")
        if not bool((torch.isfinite(self.low) & torch.isfinite(self.high) & (self.low < self.high)).all()):
            raise UsageError(
                f"Box wants finite low < high in every dimension; got {self.low.tolist()} and {self.high.tolist()}: "
                "give the range that the data covers, for a model knows nothing beyond it"
            )

    @classmethod
    def of(cls, low: Sequence[float], high: Sequence[float], max_norm: float | None = None) -> "Box":
        """Box of plain numbers: `Box.of([-1, -1], [1, 1])`."""
        return cls(torch.as_tensor(low, dtype=torch.float32), torch.as_tensor(high, dtype=torch.float32), max_norm)

    @property
    def size(self) -> int:
        """Width of an action A."""
        return len(self.low)

    @property
    def center(self) -> Tensor:
        """Middle of the range, [A]."""
        return (self.low + self.high) / 2

    @property
    def half(self) -> Tensor:
        """Half of the range, [A]: the natural unit of noise and of learning rates."""
        return (self.high - self.low) / 2

    def to(self, like: Tensor) -> "Box":
        """The same box with the device and dtype of another tensor."""
        return replace(self, low=self.low.to(like), high=self.high.to(like))

    def neutral(self) -> Tensor:
        """The action nearest to doing nothing, [A]: zero, or the bound next to it."""
        return torch.zeros_like(self.low).clamp(self.low, self.high)

    def project(self, actions: Tensor) -> Tensor:
        """The nearest allowed actions, [..., A]."""
        actions = actions.clamp(self.low, self.high)
        if self.max_norm is None:
            return actions
        single = actions.unflatten(-1, (self.num_inside, -1))
        length = single.norm(dim=-1, keepdim=True).clamp(min=self.max_norm)
        return (single * (self.max_norm / length)).flatten(-2)

    def nearest(self, actions: Tensor) -> Tensor:
        """The actions that an agent can take nearest to these, [..., A]."""
        return self.project(actions)

    def uniform(self, shape: Sequence[int], rng: torch.Generator) -> Tensor:
        """Actions [*shape, A] drawn uniformly from the range, then projected."""
        unit = torch.rand(*shape, self.size, generator=rng, device=rng.device, dtype=self.low.dtype)
        return self.project(self.low + (self.high - self.low) * unit.to(self.low.device))

    def block(self, num: int) -> "Box":
        """Space of `num` actions in a row, concatenated, [num * A]."""
        return Box(self.low.repeat(num), self.high.repeat(num), self.max_norm, self.num_inside * num)

    def split(self, actions: Tensor) -> Tensor:
        """Blocks [B, H, num * A] as the actions of the environment inside, [B, H * num, A]."""
        return actions.unflatten(-1, (self.num_inside, -1)).flatten(1, 2)


@dataclass(frozen=True, slots=True)
class Discrete:
    """One of `num` choices, written one-hot: A = num, or a one-hot group for each action inside a block."""

    num: int
    num_inside: int = 1
    """Actions of the environment that one action here concatenates."""

    def __post_init__(self) -> None:
        if self.num < 2:
            raise UsageError(f"Discrete wants at least 2 choices to plan with; got {self.num}")

    @property
    def size(self) -> int:
        """Width of an action A."""
        return self.num * self.num_inside

    def to(self, like: Tensor) -> "Discrete":
        """Itself: it holds no tensor."""
        return self

    def neutral(self) -> Tensor:
        """All choices alike, [A]."""
        return torch.full((self.size,), 1 / self.num)

    def project(self, actions: Tensor) -> Tensor:
        """Probabilities from anything not negative, [..., A]; a group without any mass becomes uniform."""
        mass = self.groups(actions.clamp(min=0))
        total = mass.sum(-1, keepdim=True)
        return torch.where(total > 0, mass / total.clamp(min=1e-12), 1 / self.num).flatten(-2)

    def uniform(self, shape: Sequence[int], rng: torch.Generator) -> Tensor:
        """One-hot actions [*shape, A], every choice equally likely."""
        return self.one_hot(torch.randint(self.num, (*shape, self.num_inside), generator=rng, device=rng.device))

    def nearest(self, actions: Tensor) -> Tensor:
        """The largest entry of each group, one-hot, [..., A]: the choices an agent can take, or the mode of a mean."""
        return self.one_hot(self.groups(actions).argmax(-1)).to(actions)

    def one_hot(self, choice: Tensor) -> Tensor:
        """Choices int64 [..., num_inside] as actions [..., A], float32."""
        return F.one_hot(choice, self.num).float().flatten(-2)

    def groups(self, actions: Tensor) -> Tensor:
        """Actions [..., A] as [..., num_inside, num]."""
        return actions.unflatten(-1, (self.num_inside, self.num))

    def block(self, num: int) -> "Discrete":
        """Space of `num` choices in a row."""
        return Discrete(self.num, self.num_inside * num)

    def split(self, actions: Tensor) -> Tensor:
        """Blocks [B, H, num_inside * num] as the choices inside, int64 [B, H * num_inside], for the environment."""
        return self.groups(actions).argmax(-1).flatten(1)


Bounds = Box | Discrete


def continuous(bounds: Bounds, solver: str) -> Box:
    """The bounds, if a solver for real actions can work with them.

    Raises:
        UsageError: If the actions are discrete.
    """
    if isinstance(bounds, Discrete):
        raise UsageError(
            f"{solver} plans with real actions, and here are {bounds.num} discrete choices: "
            "use CategoricalCEM or RandomShooting"
        )
    return bounds
