"""The agent as one of the policies that an evaluation plays with, and what it did in each episode.

Letters: E episodes side by side, R of them that still go on, n actions of the environment in one step of the model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from craik.agent import Agent, TaskSpec
from craik.agent.report import Decision, Why
from craik.envs.world import World
from craik.evaluate.policies import goal_frames
from craik.evaluate.scenes import Scenes


@dataclass(frozen=True, slots=True, eq=False)
class Deeds:
    """What was decided in episodes until their goal was reached, each [E]."""

    reacted: np.ndarray
    """Decisions by the policy alone, int64."""
    followed: np.ndarray
    """Steps of a plan that was made before, int64."""
    planned: np.ndarray
    """Searches, int64."""
    surprised: np.ndarray
    """Searches because of a surprise, int64."""
    strayed: np.ndarray
    """Random moves where a step led elsewhere, int64."""
    evaluations: np.ndarray
    """Futures judged: all candidates of a search, 1 for a reaction, none for a random move, int64."""
    alarm: np.ndarray
    """Whether it said that it cannot reach the goal, bool."""

    @classmethod
    def none(cls, num: int) -> "Deeds":
        """Of episodes that begin."""
        return cls(*(np.zeros(num, dtype=np.int64) for _ in fields(cls)[:-1]), np.zeros(num, dtype=bool))

    @classmethod
    def join(cls, parts: "Sequence[Deeds]") -> "Deeds":
        """Those of all parts."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def note(self, decision: Decision) -> None:
        """One more decision of each episode."""
        why = np.array([str(reason) for reason in decision.reasons])
        reacts, follows, strays = why == Why.REACTS, why == Why.FOLLOWS, why == Why.STRAYS
        plans = ~(reacts | follows | strays | (why == Why.OVER))
        self.reacted[:] += reacts
        self.followed[:] += follows
        self.strayed[:] += strays
        self.planned[:] += plans
        self.surprised[:] += why == Why.SURPRISED
        self.evaluations[:] += reacts + decision.evaluations * plans

    @property
    def decisions(self) -> int:
        """Of all episodes."""
        return int((self.reacted + self.followed + self.planned + self.strayed).sum())

    @property
    def share_reacting(self) -> float:
        """Share of Mode-1 decisions; NaN without any."""
        return float(self.reacted.sum() / self.decisions) if self.decisions else float("nan")

    @property
    def share_straying(self) -> float:
        """Share of random moves; NaN without any decision."""
        return float(self.strayed.sum() / self.decisions) if self.decisions else float("nan")

    @property
    def evaluations_per_decision(self) -> float:
        """Futures judged; NaN without any decision."""
        return float(self.evaluations.sum() / self.decisions) if self.decisions else float("nan")


class Player:
    """An agent among the policies of `craik.evaluate.policies`.

    Args:
        agent: Acts.
        task: From goal frames uint8 [E, H, W, C] to a task.
        block: Actions of the environment in one step of its model.
        name: What to call it.
    """

    history = 1  # perception remembers the others

    def __init__(self, agent: Agent, task: Callable[[np.ndarray], TaskSpec], block: int, name: str) -> None:
        self.agent, self.task, self.block, self.name = agent, task, block, name
        self.groups: list[Deeds] = []

    def begin(self, world: World[Any], scenes: Scenes, seed: int) -> None:
        """Looks at the goals; what earlier episodes taught is distilled."""
        self.agent.actor.rng.manual_seed(seed)
        self.agent.begin(self.task(goal_frames(world, scenes)))
        self.goes_on = np.ones(len(scenes), dtype=bool)
        self.seen: np.ndarray | None = None
        self.groups.append(Deeds.none(len(scenes)))

    def see(self, frames: np.ndarray) -> None:
        """Remembers frames [R, H, W, C] until the next decision; episodes that are over keep their last."""
        if self.seen is None:
            self.seen = np.array(frames)
        else:
            self.seen[self.goes_on] = frames

    def act(self, state: Any) -> np.ndarray:
        """The actions [R, n, A] or [R, n] until the next step of the model; the true state is not looked at."""
        assert self.seen is not None
        first = self.agent.begins
        actions = np.stack([self.agent.act(self.seen) for _ in range(self.block)], 1)
        assert self.agent.last is not None
        self.groups[-1].note(self.agent.last)
        if first and self.agent.cannot_reach is not None:
            self.groups[-1].alarm[:] = self.agent.cannot_reach.cpu().numpy()
        return actions[self.goes_on]

    def keep(self, rows: np.ndarray) -> None:
        """Forgets the episodes that are over."""
        self.goes_on[self.goes_on] = rows
        self.agent.retire(~self.goes_on)

    def deeds(self, num: int) -> Deeds:
        """Of the first `num` episodes, groups that were played to their ends."""
        found = [self.groups[0]] if self.groups else [Deeds.none(0)]
        for group in self.groups[1:]:
            if sum(len(deeds.alarm) for deeds in found) >= num:
                break
            found.append(group)
        return Deeds.join(found)
