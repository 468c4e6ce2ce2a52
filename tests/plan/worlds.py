"""Worlds whose latents are their true state, and whose optimal plans are known: no learning, no luck."""

from collections.abc import Callable

import torch
from torch import Tensor

from craik.plan import Box, Discrete, LatentDistance, Plan, Situation, evaluator
from craik.plan.solver import Evaluate

BOX = Box.of([-1, -1], [1, 1])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def alone(state: Tensor, size: int = 2) -> Situation:
    """One frame seen, [B, D]."""
    return Situation(state.unsqueeze(1), state.new_zeros(len(state), 0, size))


class Point:
    """Position moves by the action."""

    def encode(self, frames: Tensor) -> Tensor:
        return frames.flatten(2)

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        moved = latents[:, -1:] + actions.cumsum(1)
        return moved if z is None else moved + z


class Cart(Point):
    """Position and velocity, [x, y, u, v]; the action is a force: linear, so the best plan solves least squares."""

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        x, v = latents[:, -1].chunk(2, -1)
        states = []
        for force in actions.unbind(1):
            v = v + 0.2 * force
            x = x + v
            states.append(torch.cat([x, v], -1))
        return torch.stack(states, 1)


def cart_optimum(start: Tensor, goal: Tensor, horizon: int, effort: float) -> Tensor:
    """Actions [H, 2] that minimize |s_H - goal|^2 + effort x mean(a^2), from start and goal [4], in closed form."""
    basis = torch.eye(2 * horizon).view(2 * horizon, horizon, 2)
    zero = torch.zeros(2 * horizon, 1, 4)
    columns = Cart().rollout(zero, zero[:, :0], basis)[:, -1].T.double()  # [4, 2H]
    drift = Cart().rollout(start.view(1, 1, 4), start.new_zeros(1, 0, 2), torch.zeros(1, horizon, 2))[0, -1].double()
    ridge = effort / (2 * horizon) * torch.eye(2 * horizon, dtype=torch.float64)
    return torch.linalg.solve(columns.T @ columns + ridge, columns.T @ (goal.double() - drift)).view(horizon, 2).float()


class Cells:
    """Walks over a map of free cells, "." among "#"; real actions glide, discrete ones step to a neighbor."""

    MOVES = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])  # right, left, down, up

    def __init__(self, rows: list[str]) -> None:
        free = torch.tensor([[cell != "#" for cell in row] for row in rows])
        self.free = torch.nn.functional.pad(free, (1, 1, 1, 1), value=False)
        self.predictions = 0

    def step(self, at: Tensor, move: Tensor) -> Tensor:
        """Each axis on its own, so that a point slides along a wall; moves are no longer than a cell."""
        row, column = at.unbind(-1)
        down, right = move.unbind(-1)
        row = torch.where(self.is_free(row + down, column), row + down, row)
        column = torch.where(self.is_free(row, column + right), column + right, column)
        return torch.stack([row, column], -1)

    def is_free(self, row: Tensor, column: Tensor) -> Tensor:
        return self.free[(row + 1.5).long(), (column + 1.5).long()]

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        at, states = latents[:, -1], []
        for action in actions.unbind(1):
            at = self.step(at, action @ self.MOVES if action.shape[-1] == 4 else action)
            states.append(at)
        self.predictions += actions.shape[:2].numel()
        return torch.stack(states, 1)

    def encode(self, frames: Tensor) -> Tensor:
        return frames.flatten(2)


class SlowCells:
    """A macro-action is a direction kept for `stride` steps of the fast world."""

    def __init__(self, cells: Cells, stride: int) -> None:
        self.cells, self.stride, self.predictions = cells, stride, 0

    def rollout(self, latent: Tensor, macro: Tensor) -> Tensor:
        at, states = latent.unsqueeze(1).expand(-1, macro.shape[1], -1), []
        for move in macro.unbind(2):
            for _ in range(self.stride):
                at = self.cells.step(at, move)
            states.append(at)
        self.predictions += macro.shape[:3].numel()
        return torch.stack(states, 2)


def to_goal(world: Point | Cells, start: Tensor, goal: Tensor, size: int = 2) -> Evaluate:
    """Squared distance at the end of the plan."""
    return evaluator(world, alone(start, size), LatentDistance(goal))


def quadratic(optimum: Tensor) -> Callable[[Tensor], Tensor]:
    """Cost |a - optimum|^2, [B, S], of optimum [B, H, A]."""
    return lambda actions: (actions - optimum.unsqueeze(1)).square().sum((-2, -1))


def same(a: Plan, b: Plan) -> bool:
    return torch.equal(a.actions, b.actions) and torch.equal(a.trace, b.trace) and torch.equal(a.carry, b.carry)


GRID = Discrete(4)
