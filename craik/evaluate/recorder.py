"""Keeps some episodes of an evaluation whole: what was seen, done and imagined."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from craik.envs.world import World, take
from craik.evaluate.policies import Planner, Policy, goal_frames
from craik.evaluate.scenes import Scenes
from craik.plan import Situation, imagine
from craik.plan.recorded import Decision, Recorded

if TYPE_CHECKING:
    from craik.evaluate.planning import Progress


@dataclass(slots=True)
class Tape:
    """An episode as far as it has come."""

    goal_frame: np.ndarray
    goal_latent: Tensor
    goal_truth: np.ndarray
    frames: list[np.ndarray]
    truth: list[np.ndarray]
    actions: list[np.ndarray] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    reached: int | None = None


class Recorder:
    """Records episodes of a planner.

    Args:
        numbers: Which episodes.
    """

    def __init__(self, numbers: range) -> None:
        self.numbers = numbers
        self.tapes: dict[int, Tape] = {}
        self.block = 1

    def begin(self, world: World[Any], scenes: Scenes, number: np.ndarray, policy: Policy) -> None:
        """Episodes with these numbers begin."""
        assert isinstance(policy, Planner)
        self.world, self.number, self.block = world, number, policy.block
        self.rows = np.flatnonzero(np.isin(number, self.numbers))
        goals, frames = goal_frames(world, scenes), world.render(take(scenes.start, self.rows))
        truth, aims = world.truth(scenes.start), world.truth(scenes.goal)
        for row, frame in zip(self.rows, frames, strict=True):
            self.tapes[int(number[row])] = Tape(
                goals[row], policy.goal[row].detach().cpu(), aims[row], [frame], [truth[row]]
            )

    @torch.no_grad()
    def decision(self, active: np.ndarray, policy: Policy, step: int) -> None:
        """A plan was made for the episodes `active`."""
        assert isinstance(policy, Planner) and policy.situation is not None
        plan, now = policy.plan, policy.situation
        for row in np.intersect1d(active, self.rows):
            at = int(np.flatnonzero(active == row)[0])
            alone = Situation(now.latents[at : at + 1], now.past[at : at + 1])
            actions = plan.actions[at].detach()
            imagined = imagine(policy.model, alone, actions[None, None])[0, 0].detach()
            parts = (alone.latents[0], alone.past[0], actions, imagined, plan.trace[:, at])
            cost = float(plan.cost[at])
            self.tapes[int(self.number[row])].decisions.append(Decision(step, *(p.cpu() for p in parts), cost))

    def step(self, active: np.ndarray, state: Any, taken: np.ndarray, progress: "Progress") -> None:
        """The episodes `active` took a step."""
        rows = np.intersect1d(active, self.rows)
        if not len(rows):
            return
        frames, truth = self.world.render(take(state, rows)), self.world.truth(take(state, rows))
        for at, row in enumerate(rows):
            tape = self.tapes[int(self.number[row])]
            tape.frames.append(frames[at])
            tape.truth.append(truth[at])
            tape.actions.append(taken[row].copy())
            tape.reached = int(progress.steps[row]) if progress.reached[row] else None

    def episodes(self) -> tuple[Recorded, ...]:
        """What was recorded."""
        return tuple(
            Recorded(
                number,
                np.stack(tape.frames),
                tape.goal_frame,
                tape.goal_latent,
                np.stack(tape.actions) if tape.actions else np.zeros((0, 1)),
                np.stack(tape.truth),
                tape.goal_truth,
                tape.reached,
                self.block,
                tuple(tape.decisions),
            )
            for number, tape in sorted(self.tapes.items())
        )
