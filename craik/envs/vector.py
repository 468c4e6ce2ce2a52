"""Worlds that remember: gymnasium's vector interface (reset, step with five values) without gymnasium."""

from typing import Generic, Protocol

import numpy as np

from craik.envs.world import Action, S, World, choose, count, take

Info = dict[str, np.ndarray]
Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Info]


class Envs(Protocol):
    """Several environments that step together: `Vector` here, `craik.envs.gym.Foreign` for those of others."""

    num_envs: int
    max_steps: int

    @property
    def action(self) -> Action:
        """Which actions each environment takes."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height [px], width [px] and channels of a frame."""
        ...

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, Info]:
        """Begins new episodes: frames uint8 [num, H, W, C], and what else is known."""
        ...

    def step(self, action: np.ndarray) -> Step:
        """Frames, rewards float64 [num], terminated and truncated bool [num], and what else is known."""
        ...


class Vector(Generic[S]):
    """Several worlds of one kind, each with a goal.

    The reward is -1 for each step that does not end at the goal. An episode terminates at its goal and is truncated
    after `max_steps`; the step after that ignores the action of this world and begins its next episode (autoreset in
    the next step, gymnasium's default). Infos hold `truth` [num, K], `success` [num] and `begun` [num]: whether the
    frame is the first of an episode. `state`, `goal` and `goal_frames` can be read at any time.
    """

    def __init__(self, world: World[S], num: int, seed: int = 0) -> None:
        self.world = world
        self.num_envs = num
        self.max_steps = world.max_steps
        self.reset(seed)

    @property
    def action(self) -> Action:
        """Which actions each world takes."""
        return self.world.action

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height [px], width [px] and channels of a frame."""
        return self.world.shape

    @property
    def goal_frames(self) -> np.ndarray:
        """What it looks like at the goals, uint8 [num, H, W, C]."""
        return self.world.render(self.goal)

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, Info]:
        """Begins new episodes everywhere; the same seed gives the same ones."""
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.state: S = self.world.reset(self.num_envs, self.rng)
        self.goal: S = self.world.goal(self.state, self.rng)
        self.taken = np.zeros(self.num_envs, dtype=np.int64)
        self.over = np.zeros(self.num_envs, dtype=bool)
        success = np.zeros(self.num_envs, dtype=bool)
        return self.world.render(self.state), self._info(success, np.ones(self.num_envs, dtype=bool))

    def step(self, action: np.ndarray) -> Step:
        """One step of every world.

        Raises:
            UsageError: actions of another shape, or not finite.
        """
        begun = self.over
        # A finished world steps like the others, and what comes of it is then replaced.
        state = self.world.step(self.state, action, self.rng)
        if begun.any():
            fresh = self._scattered(self.world.reset(int(begun.sum()), self.rng), begun)
            aims = self._scattered(self.world.goal(take(fresh, begun), self.rng), begun)
            state, self.goal = choose(begun, fresh, state), choose(begun, aims, self.goal)
        self.state = state
        self.taken = np.where(begun, 0, self.taken + 1)
        success = self.world.reached(state, self.goal) & ~begun
        truncated = (self.taken >= self.max_steps) & ~success
        self.over = success | truncated
        reward = np.where(success | begun, 0.0, -1.0)
        return self.world.render(state), reward, success, truncated, self._info(success, begun)

    def close(self) -> None:
        """Nothing is held."""

    def _info(self, success: np.ndarray, begun: np.ndarray) -> Info:
        return {"truth": self.world.truth(self.state), "success": success, "begun": begun}

    def _scattered(self, part: S, where: np.ndarray) -> S:
        """A state of all worlds from one of those in the mask; the others repeat its first row."""
        rows = np.zeros(len(where), dtype=np.int64)
        rows[where] = np.arange(count(part))
        return take(part, rows)
