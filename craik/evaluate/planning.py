"""Planning in a simulator, measured: many episodes side by side, the goal shown as a picture.

    scenes = draw(world, 50, seed=0)
    outcomes = Outcomes.join(list(play(world, scenes, Planner(...), Rules(budget=200), seed=0)))
    print(wilson(int(outcomes.reached.sum()), len(outcomes)))

An episode succeeds when its goal is reached at any step within the budget. It goes on for some steps after that, to
tell whether the agent stays. What the planner is compared with is in `policies`, the figures in `success`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from craik.envs.world import World, take
from craik.evaluate.policies import Policy, neutral
from craik.evaluate.recorder import Recorder
from craik.evaluate.scenes import Scenes
from craik.plan.recorded import Decision as Decision
from craik.plan.recorded import Recorded as Recorded

CHANCE = 7  # stream of what the world itself draws, apart from that of the scenes


@dataclass(frozen=True, slots=True)
class Rules:
    """When an episode ends."""

    budget: int
    """Steps of the environment in which the goal is to be reached."""
    stay: int = 20
    """Steps that an episode goes on after the goal was first reached, within the budget; then it is looked whether
    the agent is still there."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """How episodes ended, each [E]."""

    number: np.ndarray
    """Of the episode in the evaluation, int64."""
    reached: np.ndarray
    """Whether the goal was reached at any step, bool."""
    stayed: np.ndarray
    """Whether it was reached at the last step, bool."""
    steps: np.ndarray
    """Steps until it was first reached; the budget where it never was, int64."""
    distance: np.ndarray
    """From start to goal on the shortest path [units of the world], float64."""
    closest: np.ndarray
    """Least distance to the goal on the way [units of the world], float64."""
    seconds: np.ndarray
    """Of looking and deciding until the goal was reached, shared among the episodes side by side [s], float64."""
    decisions: np.ndarray
    """Until the goal was reached, int64."""

    def __len__(self) -> int:
        return len(self.number)

    @classmethod
    def join(cls, parts: "Sequence[Outcomes]") -> "Outcomes":
        """Those of all parts."""
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})


Advance = Callable[[int, int], None]
"""Told how many episodes have ended and how many steps were taken in all, whenever something was done."""


def play(
    world: World[Any],
    scenes: Scenes,
    policy: Policy,
    rules: Rules,
    seed: int,
    *,
    together: int = 10,
    advance: Advance | None = None,
    stop: Callable[[], bool] = lambda: False,
    record: Recorder | None = None,
) -> Iterator[Outcomes]:
    """Play episodes, `together` side by side, and give the outcomes of each such group.

    What the world draws is the same for every policy, so that outcomes of two can be compared in pairs. A group that
    was stopped is left out as a whole: the episodes that end early are those that succeed, and would flatter.

    Args:
        world: The simulator.
        scenes: Starts and goals.
        policy: Acts.
        rules: When an episode ends.
        seed: Decides what policy and world draw.
        together: Episodes side by side.
        advance: Told of the progress.
        stop: Asked before every decision whether to leave it at the groups that have ended.
        record: Keeps frames and plans of some episodes.
    """
    steps = 0
    for group, first in enumerate(range(0, len(scenes), together)):
        rows = np.arange(first, min(first + together, len(scenes)))
        progress = Progress(rows, scenes.distance[rows], rules)

        def tell(num: int, progress: Progress = progress, before: int = first) -> None:
            nonlocal steps
            steps += num
            if advance is not None:
                advance(before + int(progress.over.sum()), steps)

        play_group(world, scenes.some(rows), policy, progress, [seed, group], tell, stop, record)
        if progress.goes_on:
            return
        yield progress.outcomes()


def play_group(
    world: World[Any],
    scenes: Scenes,
    policy: Policy,
    progress: "Progress",
    seed: list[int],
    tell: Callable[[int], None],
    stop: Callable[[], bool],
    record: Recorder | None,
) -> None:
    """Play episodes that are all side by side, to their ends."""
    rng = np.random.default_rng([CHANCE, *seed])
    idle = np.broadcast_to(neutral(world), (len(scenes), *neutral(world).shape))
    policy.begin(world, scenes, int(np.random.default_rng(seed).integers(1 << 62)))
    state, active = scenes.start, np.arange(len(scenes))
    if record is not None:
        record.begin(world, scenes, progress.number, policy)
    look(world, state, active, policy, progress)
    while len(active) and not stop():
        began = time.perf_counter()
        actions = policy.act(take(state, active))
        progress.think(active, time.perf_counter() - began, decides=True)
        if record is not None:
            record.decision(active, policy, progress.step)
        for k in range(actions.shape[1]):
            taken = idle.astype(actions.dtype)  # those that have ended stand still
            taken[active] = actions[:, k]
            state = world.step(state, taken, rng)
            progress.note(active, world.reached(state, scenes.goal), world.distance(state, scenes.goal))
            if record is not None:
                record.step(active[~progress.late[active]], state, taken, progress)
            due = actions.shape[1] - 1 - k
            if (k + 1) % policy.block == 0 and due < policy.block * policy.history and (due or progress.goes_on):
                look(world, state, active, policy, progress)
        tell(len(active) * actions.shape[1])
        still = ~progress.over[active]
        policy.keep(still)
        active = active[still]


def look(world: World[Any], state: Any, active: np.ndarray, policy: Policy, progress: "Progress") -> None:
    """Show the frames of episodes that go on to a policy that wants them; drawing them is not its time."""
    if policy.history:
        frames = world.render(take(state, active))
        began = time.perf_counter()
        policy.see(frames)
        progress.think(active, time.perf_counter() - began)


class Progress:
    """What has become of episodes side by side so far.

    Args:
        number: Of the episodes in the evaluation, int64 [E].
        distance: From start to goal, [E].
        rules: When an episode ends.
    """

    def __init__(self, number: np.ndarray, distance: np.ndarray, rules: Rules) -> None:
        num = len(number)
        self.number, self.distance, self.rules = number, distance, rules
        self.step = 0
        self.steps = np.full(num, rules.budget)
        self.ends = np.full(num, rules.budget)
        self.reached, self.stayed = np.zeros(num, dtype=bool), np.zeros(num, dtype=bool)
        self.late = np.zeros(num, dtype=bool)
        self.closest = distance.copy()
        self.seconds, self.decisions = np.zeros(num), np.zeros(num, dtype=np.int64)

    @property
    def over(self) -> np.ndarray:
        """Episodes that have ended, bool [E]."""
        return self.step >= self.ends

    @property
    def goes_on(self) -> bool:
        """Whether one of them has not."""
        return not self.over.all()

    def think(self, active: np.ndarray, seconds: float, *, decides: bool = False) -> None:
        """Time is shared among all that go on, and counts until the goal is reached."""
        trying = active[~self.reached[active]]
        self.seconds[trying] += seconds / len(active)
        self.decisions[trying] += decides

    def note(self, active: np.ndarray, there: np.ndarray, distance: np.ndarray) -> None:
        """One more step of all; what comes after the end of an episode, in the rest of a plan, does not count."""
        self.late = self.over
        self.step += 1
        counts = np.zeros(len(there), dtype=bool)
        counts[active] = True
        counts &= ~self.late
        first = counts & there & ~self.reached
        self.steps[first] = self.step
        self.ends[first] = np.minimum(self.step + self.rules.stay, self.rules.budget)
        self.reached |= first
        self.closest = np.where(counts, np.fmin(self.closest, distance), self.closest)
        last = counts & (self.step == self.ends)
        self.stayed[last] = there[last]

    def outcomes(self) -> Outcomes:
        """What has become of them."""
        return Outcomes(**{field.name: getattr(self, field.name) for field in fields(Outcomes)})
