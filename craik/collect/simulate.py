"""Some episodes of an environment, simulated together: one job of a worker."""

import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from craik.data.trajectory import Trajectory
from craik.envs.policy import Uniform, find_policy
from craik.envs.user import is_world
from craik.envs.vector import Envs
from craik.envs.world import World
from craik.errors import UsageError

Simulator = World[Any] | Envs
"""A world, or an environment of others."""

HOLD_PROB = 0.8  # that a random action is taken again in an environment of others; as in worlds


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to simulate; the same job always gives the same episodes."""

    policy: str
    """As `craik.envs.policy.find_policy` knows it."""
    num: int
    """Episodes, all at once; one where the environment is no world."""
    steps: int
    """Actions in each of them, at most."""
    seed: int
    stream: int
    """Number of the stream of random numbers."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What an environment raised."""

    error: str
    """Type and message."""
    place: str
    """File and line."""
    step: int
    """Actions taken before."""


@dataclass(frozen=True, slots=True)
class Done:
    """A job that is done, as well as it could be."""

    job: Job
    episodes: tuple[Trajectory, ...]
    failure: Failure | None = None


def simulate(simulator: Simulator, job: Job) -> Done:
    """Simulates the episodes of a job; what the environment raises is told in `failure`."""
    attempt = Attempt()
    with attempt:
        if is_world(simulator):
            return Done(job, in_world(simulator, job, attempt))  # type: ignore[arg-type]
        return Done(job, (in_other(simulator, job, attempt),))  # type: ignore[arg-type]
    return Done(job, (), attempt.failure)


def in_world(world: World[Any], job: Job, attempt: "Attempt") -> tuple[Trajectory, ...]:
    """Episodes of `job.steps` actions each, whatever goals are reached on the way."""
    rng = np.random.default_rng([job.seed, job.stream])
    policy = find_policy(job.policy, world)
    state = world.reset(job.num, rng)
    memory = policy.begin(state, rng)
    frames = np.empty((job.num, job.steps + 1, *world.shape), dtype=np.uint8)
    states = np.empty((job.num, job.steps + 1, len(world.truth_names)), dtype=np.float32)
    actions = []
    for attempt.step in range(job.steps + 1):
        frames[:, attempt.step] = drawn(world, state, job.num)
        states[:, attempt.step] = world.truth(state)
        if attempt.step < job.steps:
            action, memory = policy.act(state, memory, rng)
            actions.append(world.action.fit(action, job.num))  # as it is carried out
            state = world.step(state, actions[-1], rng)
    taken = np.stack(actions, axis=1)
    return tuple(Trajectory(frames[row], taken[row], states[row]) for row in range(job.num))


def drawn(world: World[Any], state: Any, num: int) -> np.ndarray:
    """The frames uint8 [num, H, W, C] of a state.

    Raises:
        UsageError: They are of another shape, or no bytes; those would be cut off without a word, NaN to anything.
    """
    frames = np.asarray(world.render(state))
    if frames.shape != (num, *world.shape) or frames.dtype != np.uint8:
        real = frames.dtype.kind == "f" and not np.isfinite(frames).all()
        raise UsageError(
            f"render gave {frames.dtype} {list(frames.shape)}{' with NaN or infinity' if real else ''}; expected uint8 "
            f"{[num, *world.shape]}"
        )
    return frames


def in_other(envs: Envs, job: Job, attempt: "Attempt") -> Trajectory:
    """One episode of an environment of others, to its own end or for `job.steps` actions."""
    rng = np.random.default_rng([job.seed, job.stream])
    policy = Uniform(envs, HOLD_PROB)  # type: ignore[arg-type]  # it asks for the actions alone
    frame, info = envs.reset(int(rng.integers(1 << 31)))
    memory = policy.begin(frame, rng)
    frames, truths, actions, rewards, ends = [frame[0]], [info.get("truth")], [], [], []
    for attempt.step in range(job.steps):
        action, memory = policy.act(frame, memory, rng)
        frame, reward, terminated, truncated, info = envs.step(action)
        frames.append(frame[0])
        truths.append(info.get("truth"))
        actions.append(action[0])
        rewards.append(float(reward[0]))
        ends.append(bool(terminated[0]))
        if terminated[0] or truncated[0]:
            break
    known = [truth[0] for truth in truths if truth is not None]
    states = np.stack(known) if len(known) == len(truths) else None
    return Trajectory(np.stack(frames), np.stack(actions), states, np.array(rewards), np.array(ends))


class Attempt:
    """A stretch of other people's code: an environment may raise anything, and none of it ends the collection.

    Attributes:
        step: Actions taken so far.
        failure: What was raised; None when nothing was.
    """

    def __init__(self, passing: tuple[type[Exception], ...] = ()) -> None:
        """Lets through exceptions of the types in `passing`."""
        self.passing = passing
        self.step = 0
        self.failure: Failure | None = None

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # What is neither is nothing, or an interruption, which is for the whole program.
        if not isinstance(error, Exception | SystemExit) or isinstance(error, self.passing):
            return False
        last = traceback.extract_tb(trace)[-1]
        text = str(error).strip().split("\n")[0]
        where = f"{Path(last.filename).name}:{last.lineno}"
        self.failure = Failure(f"{type(error).__name__}: {text}" if text else type(error).__name__, where, self.step)
        return True
