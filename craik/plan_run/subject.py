"""The run that plans, the world that it plans in, and whether they go together."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from craik import api
from craik.collect.simulate import Attempt
from craik.collect.worlds import made, maker, open_env
from craik.envs.user import is_world
from craik.envs.world import Box, Discrete, World
from craik.errors import CraikError, UsageError
from craik.plan import Bounds, bounds
from craik.plan.costs import Critic
from craik.plan.settings import Planning
from craik.plan_run.asked import Asked
from craik.train.recipe import Window


@dataclass(frozen=True, slots=True)
class Subject:
    """A trained world model and how it is planned with."""

    run: Path
    model: api.Model
    planning: Planning
    window: Window

    @classmethod
    def open(cls, run: Path, asked: Asked) -> "Subject":
        """The model of a run.

        Raises:
            UsageError: If there is none, or it is no world model, or the numbers of planning do not go together.
        """
        model = api.load(run, device=asked.device)
        _ = model.world  # a model of images is refused here
        assert model.recipe.window is not None
        model.recipe.model.requires_grad_(False)
        return cls(run, model, asked.planning(model.recipe), model.recipe.window)

    @property
    def history(self) -> int:
        """Frames that are given to the model."""
        return min(self.planning.frames or self.window.history, self.window.history)

    @property
    def critic(self) -> Critic | None:
        """The critic that was trained with the model, where its recipe trains one."""
        found: Critic | None = getattr(self.model.recipe.model, "critic", None)
        return found

    @property
    def fingerprint(self) -> str:
        """The same for the same weights."""
        folder = api.own_folder(self.run)
        assert folder is not None
        return sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]


class WorldFailed(CraikError):
    """A user's world raised something of its own."""

    exit_code = 1


class Guarded:
    """A user's world; what it raises is told with its file and line."""

    def __init__(self, world: Any, env: str) -> None:
        self.inside, self.env, self.calls = world, env, 0

    def __getattr__(self, name: str) -> Any:
        """What the world has by that name; what can be called is guarded."""
        found = getattr(self.inside, name)
        return self._guard(found, name) if callable(found) else found

    def _guard(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls += name == "step"
            attempt = Attempt(passing=(CraikError,))
            with attempt:
                return function(*arguments)
            assert attempt.failure is not None
            raise WorldFailed(
                f"{self.env} raised {attempt.failure.error} ({attempt.failure.place}) in {name}, after "
                f"{max(0, self.calls - 1):,} steps. Mend the environment and ask again."
            )

        return call


def open_world(env: str, side: int) -> Any:
    """The world to plan in, drawn at the size that the model sees where it can be.

    Raises:
        UsageError: If there is none, or it is an environment whose states cannot be set.
    """
    world = made(maker(env, None), env)
    if not is_world(world):
        raise UsageError(
            f"{env} is a gymnasium environment: its states cannot be set and drawn, so there is no picture of a goal. "
            "Evaluate the model on recorded episodes instead, craik plan RUN --data EPISODES, or write the environment "
            "as a craik.envs.world.World"
        )
    if world.shape[:2] != (side, side):
        try:
            world = open_env(env, side)
        except UsageError:
            pass  # frames of one size only; the model's view resizes them
    return world


def guarded(world: Any, env: str) -> Any:
    """The world; one of the user is watched."""
    return world if type(world).__module__.startswith("craik.") else Guarded(world, env)


def check(subject: Subject, world: World[Any], env: str) -> tuple[str, ...]:
    """Whether a model can plan in a world; what is worth knowing about it.

    Raises:
        UsageError: If its actions are of another width, or its frames have no colors.
    """
    height, width, channels = world.shape
    size = world.action.num if isinstance(world.action, Discrete) else world.action.size
    if size != subject.window.action_size:
        raise UsageError(
            f"{subject.run} takes actions of {subject.window.action_size} numbers and {env} has actions of {size}: it "
            f"was trained on another world. Name that with --env, or train on this one: craik collect {env} -o DATA"
        )
    if channels not in (1, 3):
        raise UsageError(
            f"{env} draws frames of {channels} channels, and a model sees 3 (RGB) or 1: take a form of the world in "
            "color, such as two_rooms"
        )
    notes = []
    side = subject.model.recipe.view.size
    if (height, width) != (side, side):
        notes.append(f"{env} draws {height} x {width} px; the model sees {side} x {side}: frames are resized")
    return tuple(notes)


def as_bounds(action: Box | Discrete) -> Bounds:
    """The actions of a world as solvers know them."""
    if isinstance(action, Discrete):
        return bounds.Discrete(action.num)
    return bounds.Box.of(action.low, action.high, action.max_norm)
