"""Held actions, and detours where the world does not follow the plan."""

import pytest
import torch
from torch import Tensor

from craik.plan import Box, Detour, Discrete, Held

BOUNDS = Box.of([-1.0, -2.0], [1.0, 2.0], 2.0)


class Adds:
    """Latents are places, a block is added up."""

    def encode(self, frames: Tensor) -> Tensor:
        return frames

    def rollout(self, latents: Tensor, past: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        return latents[:, -1:] + actions.unflatten(-1, (-1, 2)).sum(-2).cumsum(1)


def test_a_held_action_is_taken_in_each_step_of_the_block() -> None:
    actions = torch.tensor([[[1.0, 0.5], [0.0, -1.0]]])
    future = Held(Adds(), 3).rollout(torch.zeros(1, 1, 2), torch.zeros(1, 0, 6), actions)
    assert torch.equal(future, torch.tensor([[[3.0, 1.5], [3.0, -1.5]]]))


def make(steps: int = 2) -> Detour:
    return Detour(BOUNDS, 3, torch.Generator().manual_seed(0), steps=steps)


def test_plans_that_come_true_are_followed() -> None:
    detour, planned = make(), torch.ones(4, 1, 6)
    now = torch.zeros(4, 2)
    for _ in range(3):
        assert torch.equal(detour(now, planned), planned)
        detour.expect(now, now + 1)
        now = now + 0.8
    assert detour.taken == 0


def test_who_is_kept_in_place_moves_at_random_for_two_steps() -> None:
    detour, planned = make(), torch.ones(4, 1, 6)
    now = torch.zeros(4, 2)
    detour(now, planned)
    detour.expect(now, now + 1)
    stuck = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.1]])
    moves = [detour(stuck, planned)]
    assert detour.taken == 2
    assert torch.equal(moves[0][[0, 2]], planned[[0, 2]])
    single = moves[0][1, 0].view(3, 2)
    assert torch.equal(single[0], single[1]) and torch.equal(single[0], single[2])
    assert (single[0].abs() / BOUNDS.half).max() > 0.99 or single[0].norm() > 1.99, "as far as an action goes"
    for _ in range(2):
        detour.expect(stuck, stuck + 1)  # still stuck: the random move goes on first
        moves.append(detour(stuck, planned))
    assert torch.equal(moves[1][1], moves[0][1])
    assert not torch.equal(moves[2][1], moves[0][1]), "then another one"


def test_who_is_away_is_known_before_anything_is_planned() -> None:
    asked, called = make(), make()
    now = torch.zeros(4, 2)
    stuck, planned = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.1]]), torch.ones(4, 1, 6)
    with pytest.raises(ValueError, match="ask away"):
        asked.instead(planned)
    for latents in (now, stuck, stuck):
        away = asked.away(latents)
        actions = asked.instead(planned)
        assert torch.equal(actions, called(latents, planned))
        assert torch.equal(away, (actions != planned).flatten(1).any(1))
        for detour in (asked, called):
            detour.expect(latents, latents + 1)
    assert away.tolist() == [True, True, True, True], "the second and fourth go on, the others stood still"


def test_episodes_that_are_over_are_forgotten() -> None:
    detour, planned = make(), torch.ones(3, 1, 6)
    detour(torch.zeros(3, 2), planned)
    detour.expect(torch.zeros(3, 2), torch.ones(3, 2))
    detour.keep(torch.tensor([True, False, True]))
    assert detour(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), planned[:2]).shape == (2, 1, 6)
    assert detour.taken == 1
    detour.reset()
    assert torch.equal(detour(torch.zeros(5, 2), torch.ones(5, 1, 6)), torch.ones(5, 1, 6))


def test_discrete_choices() -> None:
    detour = Detour(Discrete(4), 2, torch.Generator().manual_seed(0))
    planned = torch.zeros(2, 1, 8)
    planned[..., [0, 4]] = 1
    detour(torch.zeros(2, 1), planned)
    detour.expect(torch.zeros(2, 1), torch.ones(2, 1))
    move = detour(torch.zeros(2, 1), planned)
    assert torch.equal(move.sum(-1), torch.full((2, 1), 2.0))
    assert torch.equal(move[..., :4], move[..., 4:])
