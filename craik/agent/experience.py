"""Recorded episodes as a model sees them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from craik.core.world import WorldModel
from craik.errors import UsageError
from craik.plan import Situation


class Experience(NamedTuple):
    """One episode: latents [T, D] and the actions between them as the model takes them [T - 1, A]."""

    latents: Tensor
    actions: Tensor


class Foresight(NamedTuple):
    """What a model imagined inside an episode, beside what came."""

    imagined: Tensor
    """Latents [M, H, D] of times first, first + 1, ..."""
    first: Tensor
    """Time of the first imagined latent, int64 [M]."""


@torch.no_grad()
def foresee(
    model: WorldModel, experience: Experience, horizon: int, history: int, most: int | None = None, chunk: int = 1024
) -> Foresight:
    """Imagine `horizon` steps from many places of an episode, with the actions that were taken.

    Args:
        model: Imagines.
        experience: The episode, of `history + horizon` frames or more.
        horizon: Steps H.
        history: Frames seen before each imagination.
        most: Places at most, spread evenly; None takes all.
        chunk: Rows given to the model at once at most.
    """
    last = len(experience.latents) - horizon - history
    starts = torch.arange(last + 1) if most is None else torch.linspace(0, last, min(most, last + 1)).long()
    pieces = []
    for some in starts.split(chunk):
        situation, actions = _cut(experience, some.to(experience.latents.device), horizon, history)
        pieces.append(model.rollout(situation.latents, situation.past, actions))
    return Foresight(torch.cat(pieces), starts + history)


def checked(experiences: Sequence[Experience]) -> Sequence[Experience]:
    """The same episodes.

    Raises:
        UsageError: If one has fewer than 2 frames, or not one action between each two, or a number is not finite.
    """
    for index, (latents, actions) in enumerate(experiences):
        if len(latents) < 2 or actions.ndim != 2 or len(actions) != len(latents) - 1:
            raise UsageError(
                f"episode {index} has latents {list(latents.shape)} and actions {list(actions.shape)}; expected "
                "[T, D] with T >= 2, and [T - 1, A]: one action between each two frames"
            )
        if not bool(torch.isfinite(latents).all() and torch.isfinite(actions).all()):
            raise UsageError(
                f"episode {index} has numbers that are not finite; leave it out (craik inspect finds more)"
            )
    return experiences


def _cut(experience: Experience, starts: Tensor, horizon: int, history: int) -> tuple[Situation, Tensor]:
    """The situations that begin at `starts` [M], and the actions [M, H, A] that followed."""

    def run(x: Tensor, offset: int, num: int) -> Tensor:
        return x[starts[:, None] + offset + torch.arange(num, device=starts.device)]

    situation = Situation(run(experience.latents, 0, history), run(experience.actions, 0, history - 1))
    return situation, run(experience.actions, history - 1, horizon)


def lengths(experiences: Sequence[Experience]) -> Iterator[int]:
    """Frames of each episode."""
    return (len(experience.latents) for experience in experiences)
