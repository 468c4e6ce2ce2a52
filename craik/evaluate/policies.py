"""Who acts in an evaluation of planning: the planner that is measured, and those without which its number says nothing.

    planner   a world model and a search; sees frames, and the goal as a picture
    random    actions at random
    no-op     nothing, or the action that changes least
    straight  straight at the goal, from true positions; stops at the first wall between
    oracle    the shortest path, from the true state: the world's own expert

Letters: R episodes that still go on, n actions until the next decision.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from craik.core.world import WorldModel
from craik.envs.world import Box, Discrete, World, count, shorten, take
from craik.errors import UsageError
from craik.evaluate.scenes import Scenes
from craik.plan import Controller, Detour, Plan, Situation, imagine
from craik.plan.objective import Cost


class Policy(Protocol):
    """Acts in several episodes side by side. A call of `begin` starts new ones."""

    name: str
    history: int
    """Latest frames it wants before a decision; 0 for one that sees the true state."""
    block: int
    """Steps of the environment from one of these frames to the next."""

    def begin(self, world: World[Any], scenes: Scenes, seed: int) -> None:
        """New episodes; all randomness follows from the seed."""
        ...

    def see(self, frames: np.ndarray) -> None:
        """The next frames, uint8 [R, H, W, C]."""
        ...

    def act(self, state: Any) -> np.ndarray:
        """What to do next: actions [R, n, A], or whole numbers [R, n]. `state` is the true one."""
        ...

    def keep(self, rows: np.ndarray) -> None:
        """Go on with some of the R episodes, bool [R]."""
        ...


class Planner:
    """Plans with a world model towards the picture of the goal.

    Args:
        model: Encodes raw frames, uint8 [R, T, C, H, W], as `craik.load` gives it, and imagines; in evaluation mode.
        controller: Searches, H model steps ahead.
        objective: From goal latents [R, D] to what is wanted.
        history: Frames given to the model.
        seconds: Wall-clock budget of one decision for one episode [s]; R side by side have R times as much.
        detour: What to do where the world does not follow the plan.
        hold: Steps of the environment that each planned action is held for; then the model is a `Held` one.
    """

    name = "planner"

    def __init__(
        self,
        model: WorldModel,
        controller: Controller,
        objective: Callable[[Tensor], Cost],
        history: int = 1,
        seconds: float | None = None,
        detour: Detour | None = None,
        hold: int = 1,
    ) -> None:
        self.detour, self.hold = detour, hold
        self.model, self.controller, self.objective = model, controller, objective
        self.history, self.block, self.seconds = history, hold * controller.block, seconds

    def begin(self, world: World[Any], scenes: Scenes, seed: int) -> None:
        """Looks at the pictures of the goals."""
        self.controller.reset()
        self.controller.rng.manual_seed(seed)
        if self.detour is not None:
            self.detour.reset()
            self.detour.rng.manual_seed(seed)
        self.latents: list[Tensor] = []
        self.blocks: list[Tensor] = []
        self.situation: Situation | None = None
        self.goal = self.encode(goal_frames(world, scenes))

    @torch.no_grad()
    def encode(self, frames: np.ndarray) -> Tensor:
        """Latents [R, D] of frames [R, H, W, C].

        Raises:
            UsageError: If a latent is not finite.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).unsqueeze(1)
        latents = self.model.encode(pixels)[:, 0]
        if not bool(torch.isfinite(latents).all()):
            raise UsageError(
                "the model gives latents that are not finite, so nothing can be planned: its training met NaN. "
                "Look at: craik report RUN"
            )
        return latents

    def see(self, frames: np.ndarray) -> None:
        """Encodes and remembers frames."""
        self.latents = [*self.latents, self.encode(frames)][-self.history :]

    def act(self, state: Any) -> np.ndarray:
        """Plans; the true state is not looked at."""
        latents = torch.stack(self.latents, 1)
        num_past = latents.shape[1] - 1
        past = (
            torch.stack(self.blocks[-num_past:], 1)
            if num_past
            else latents.new_zeros(len(latents), 0, self.controller.bounds.block(self.block).size)
        )
        self.situation = Situation(latents, past)
        self.controller.seconds = None if self.seconds is None else self.seconds * len(latents)
        self.controller.act(latents, past, self.objective(self.goal))
        done = self.plan.actions[:, : self.controller.execute]
        if self.detour is not None:
            done = self.detour(latents[:, -1], done)
            imagined = imagine(self.model, self.situation, done.unsqueeze(1))[:, 0, -1]
            self.detour.expect(latents[:, -1], imagined, self.goal)
        done = done.repeat(1, 1, self.hold)
        self.blocks = [*self.blocks, *done.unbind(1)][-max(1, self.history - 1) :]
        actions = self.controller.bounds.block(self.block).split(done)
        return actions.detach().cpu().numpy()

    def keep(self, rows: np.ndarray) -> None:
        """Forgets the episodes that are over."""
        kept = torch.from_numpy(rows).to(self.goal.device)
        self.controller.keep(kept)
        if self.detour is not None:
            self.detour.keep(kept)
        self.goal = self.goal[kept]
        self.latents, self.blocks = ([x[kept] for x in some] for some in (self.latents, self.blocks))

    @property
    def plan(self) -> Plan:
        """The last plan."""
        if self.controller.plan is None:
            raise ValueError("nothing was planned yet")
        return self.controller.plan


class Blind:
    """What policies share that look at no frames."""

    history = 0
    block = 1

    def begin(self, world: World[Any], scenes: Scenes, seed: int) -> None:
        """Remembers world, goals and the stream of random numbers."""
        self.world, self.goal = world, scenes.goal
        self.rng = np.random.default_rng([seed, 1])

    def see(self, frames: np.ndarray) -> None:
        """Looks away."""

    def keep(self, rows: np.ndarray) -> None:
        """Forgets the episodes that are over."""
        self.goal = take(self.goal, rows)


class Random(Blind):
    """Uniform among the actions, each anew."""

    name = "random"

    def act(self, state: Any) -> np.ndarray:
        """One action."""
        return self.world.action.sample(count(state), self.rng)[:, None]


class NoOp(Blind):
    """Nothing; where actions are discrete, the one that changes the true state least, found by trying each once."""

    name = "no-op"

    def begin(self, world: World[Any], scenes: Scenes, seed: int) -> None:
        """Finds out which action does nothing."""
        super().begin(world, scenes, seed)
        self.nothing = neutral(world)
        if isinstance(world.action, Discrete):
            before = world.truth(scenes.start)
            moved = [
                np.abs(world.truth(world.step(scenes.start, np.full(len(scenes), a), self.rng)) - before).mean()
                for a in range(world.action.num)
            ]
            self.nothing = np.array(int(np.argmin(moved)))

    def act(self, state: Any) -> np.ndarray:
        """One action."""
        return np.broadcast_to(self.nothing, (count(state), 1, *self.nothing.shape)).copy()


class Straight(Blind):
    """Straight at the goal: the longest move in its direction, or the choice that ends nearest to it."""

    name = "straight"

    def act(self, state: Any) -> np.ndarray:
        """One action."""
        columns = list(place_columns(self.world) or ())
        aim = self.world.truth(self.goal)[:, columns]
        if isinstance(self.world.action, Box):
            way = aim - self.world.truth(state)[:, columns]
            reach = self.world.action.max_norm or float(np.max(self.world.action.high))
            return self.world.action.fit(shorten(way, reach), len(way))[:, None]
        tried = [
            self.world.truth(self.world.step(state, np.full(count(state), a), self.rng))[:, columns]
            for a in range(self.world.action.num)
        ]
        return np.argmin(np.linalg.norm(np.stack(tried) - aim, axis=-1), axis=0)[:, None]


class Oracle(Blind):
    """The world's expert, on the shortest path."""

    name = "oracle"

    def act(self, state: Any) -> np.ndarray:
        """One action."""
        return self.world.expert(state, self.goal, self.rng)[:, None]


def baselines(world: World[Any]) -> tuple[Policy, ...]:
    """Those that are possible in a world: going straight wants a place, the oracle an expert."""
    found: list[Policy] = [Random(), NoOp()]
    if place_columns(world) is not None:
        found.append(Straight())
    if hasattr(world, "expert"):
        found.append(Oracle())
    return tuple(found)


def place_columns(world: World[Any]) -> tuple[int, int] | None:
    """The columns of `truth` that say where the agent is, where its actions move it in these very directions."""
    names = world.truth_names
    if isinstance(world.action, Discrete):
        return (names.index("row"), names.index("col")) if {"row", "col"} <= set(names) else None
    fits = world.action.size == 2 and {"x", "y"} <= set(names)
    return (names.index("x"), names.index("y")) if fits else None


def neutral(world: World[Any]) -> np.ndarray:
    """An action that does nothing, [A], or the first choice, []."""
    if isinstance(world.action, Discrete):
        return np.array(0)
    return np.clip(np.zeros(world.action.size), world.action.low, world.action.high)


def goal_frames(world: World[Any], scenes: Scenes) -> np.ndarray:
    """What it looks like at the goals, uint8 [E, H, W, C].

    Raises:
        UsageError: If these are no frames of the shape that the world promises.
    """
    frames = np.asarray(world.render(scenes.goal))
    if frames.shape != (len(scenes), *world.shape) or frames.dtype != np.uint8:
        raise UsageError(
            f"the goal of {world.name} is drawn as {frames.dtype} {list(frames.shape)}; expected uint8 "
            f"{[len(scenes), *world.shape]}, frames like those of the episodes: look at its render and goal"
        )
    return frames
