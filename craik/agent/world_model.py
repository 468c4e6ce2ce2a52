"""The world model of the agent: it imagines, and it notices when the world does otherwise.

Source: LeCun 2022, section 3; calibration: split conformal prediction (Lei et al. 2018, arXiv 1604.04173).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from craik.agent.experience import Experience, checked, foresee
from craik.core import world
from craik.errors import UsageError
from craik.plan import Situation, latent_scale


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Which surprises are usual.

    Attributes:
        surprises: Of steps in which nothing was amiss, ascending, [N].
        false_alarm_rate: Share of such steps that may fall outside.
        scale: Squared latent distance that counts as 1: of two unrelated latents.
    """

    surprises: Tensor
    false_alarm_rate: float
    scale: float

    @property
    def edge(self) -> float:
        """Largest usual surprise: the ceil((N + 1) (1 - rate))-th smallest of the N."""
        return float(self.surprises[math.ceil((len(self.surprises) + 1) * (1 - self.false_alarm_rate) - 1e-9) - 1])

    def holds(self, surprise: Tensor) -> Tensor:
        """Whether surprises [B] are usual, bool [B]; NaN is not."""
        return surprise <= self.edge


@dataclass(slots=True)
class WorldModel:
    """Predicts, compares with what comes, and keeps the surprise of the last step.

    Attributes:
        model: Imagines.
        band: Which surprises are usual.
        surprise: Squared error of the last prediction over the band's scale, [B]: 1 where prediction and world have
            nothing to do with each other; None before the first step of an episode was seen.
    """

    model: world.WorldModel
    band: Band
    surprise: Tensor | None = None
    _expected: Tensor | None = field(default=None, init=False)

    @torch.no_grad()
    def expect(self, situation: Situation, actions: Tensor) -> Tensor:
        """Predict what follows the actions [B, A] that are about to be taken: latents [B, D]."""
        self._expected = self.model.rollout(situation.latents, situation.past, actions.unsqueeze(1))[:, 0]
        return self._expected

    def compare(self, situation: Situation) -> Tensor:
        """Whether what came was usual, bool [B]; true where nothing was expected."""
        if self._expected is None:
            return torch.ones(len(situation.now), dtype=torch.bool, device=situation.now.device)
        self.surprise = (situation.now - self._expected).flatten(1).square().sum(1) / self.band.scale
        return self.band.holds(self.surprise)

    def reset(self) -> None:
        """Expect nothing: new episodes begin."""
        self.surprise = self._expected = None


def calibrate_surprise(
    model: world.WorldModel, experiences: Sequence[Experience], false_alarm_rate: float = 0.01, history: int = 1
) -> Band:
    """Measure which surprises are usual, on episodes that the model was not trained on.

    Args:
        model: Predicts one step.
        experiences: Held-out episodes.
        false_alarm_rate: Share of usual steps that may raise surprise, in (0, 1).
        history: Frames the model sees before each prediction; the same as the agent's perception.

    Raises:
        UsageError: If there are too few steps for the rate, or the rate is not inside (0, 1).
    """
    if not 0 < false_alarm_rate < 1:
        raise UsageError(f"a false alarm rate lies between 0 and 1; got {false_alarm_rate}; 0.01 is usual")
    errors = []
    for experience in checked(experiences):
        if len(experience.latents) > history:
            ahead = foresee(model, experience, 1, history)
            came = experience.latents[history:]
            errors.append((came - ahead.imagined[:, 0]).flatten(1).square().sum(1))
    needed = math.ceil(1 / false_alarm_rate - 1e-9) - 1
    num = sum(len(error) for error in errors)
    if num < needed:
        raise UsageError(
            f"a false alarm rate of {false_alarm_rate} wants {needed} steps at least to calibrate on; got {num}: "
            "give more episodes, or allow a higher rate"
        )
    scale = latent_scale(torch.cat([experience.latents for experience in experiences]))
    return Band((torch.cat(errors) / scale).sort().values, false_alarm_rate, scale)
