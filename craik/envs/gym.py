"""gymnasium in both directions; the one file that imports it.

`as_gymnasium` gives a world to other people's agents. `from_gymnasium` takes other people's environments, seen through
their rgb_array frames: they can be collected from and planned in, but have no exact distances and no expert.
"""

import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from craik.envs.vector import Info, Step
from craik.envs.world import Action, Box, Discrete, World
from craik.errors import UsageError

try:
    import gymnasium
except ModuleNotFoundError:
    raise UsageError("gymnasium is not installed. Install the extra: pip install 'craik[envs]'") from None

_NO_LIMIT = 1000  # steps of an episode where the environment names none


class WorldEnv(gymnasium.Env[np.ndarray, Any]):
    """One world with one goal; infos hold `goal` (a frame), `truth`, `success` and `distance`."""

    def __init__(self, world: World[Any], render_mode: str | None = "rgb_array") -> None:
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
        if render_mode not in (None, "rgb_array"):
            raise UsageError(f"render_mode {render_mode!r}: a world draws rgb_array only")
        self.world = world
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(0, 255, world.shape, np.uint8)
        kind = world.action
        self.action_space = (
            gymnasium.spaces.Discrete(kind.num)
            if isinstance(kind, Discrete)
            else gymnasium.spaces.Box(np.array(kind.low, np.float32), np.array(kind.high, np.float32))
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode: the frame, and infos."""
        super().reset(seed=seed)
        self._state = self.world.reset(1, self.np_random)
        self._goal = self.world.goal(self._state, self.np_random)
        self._taken = 0
        return self.world.render(self._state)[0], self._info()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Frame, reward (-1 until the goal is reached), terminated, truncated, infos."""
        self._state = self.world.step(self._state, np.asarray(action)[None], self.np_random)
        self._taken += 1
        info = self._info()
        reached = info["success"]
        truncated = self._taken >= self.world.max_steps and not reached
        return self.world.render(self._state)[0], 0.0 if reached else -1.0, reached, truncated, info

    def render(self) -> np.ndarray | None:
        """The frame, [H, W, 3]."""
        return self.world.render(self._state)[0] if self.render_mode else None

    def _info(self) -> dict[str, Any]:
        return {
            "goal": self.world.render(self._goal)[0],
            "truth": self.world.truth(self._state)[0],
            "success": bool(self.world.reached(self._state, self._goal)[0]),
            "distance": float(self.world.distance(self._state, self._goal)[0]),
        }


def as_gymnasium(world: World[Any], render_mode: str | None = "rgb_array") -> WorldEnv:
    """A world as a `gymnasium.Env`."""
    return WorldEnv(world, render_mode)


class Foreign:
    """Environments of others that step together, one after the other; interface and autoreset as in `Vector`.

    Infos hold `success` (is_success or success of the environment's own infos, else terminated), `begun`, and
    `truth` where the observation is a vector. What an environment raises comes through as it is.
    """

    def __init__(self, envs: list[gymnasium.Env[Any, Any]], side: int | None, seed: int) -> None:
        self.envs = envs
        self.num_envs = len(envs)
        self.side = side
        self.max_steps = _limit(envs[0])
        self._action = action_of(envs[0])
        self._shape = self.reset(seed)[0].shape[1:]

    @property
    def action(self) -> Action:
        """Which actions each environment takes."""
        return self._action

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height [px], width [px] and channels of a frame."""
        return self._shape

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, Info]:
        """Begins new episodes everywhere; environment i gets seed + i."""
        self.taken = np.zeros(self.num_envs, dtype=np.int64)
        self.over = np.zeros(self.num_envs, dtype=bool)
        seen = [env.reset(seed=None if seed is None else seed + i)[0] for i, env in enumerate(self.envs)]
        nothing = np.zeros(self.num_envs, dtype=bool)
        return self._frames(), self._info(seen, nothing, ~nothing)

    def step(self, action: np.ndarray) -> Step:
        """One step of every environment.

        Raises:
            UsageError: actions of another shape, or not finite.
        """
        action = self._action.fit(action, self.num_envs)
        begun = self.over
        reward, ended, cut, success = np.zeros(self.num_envs), begun.copy(), begun.copy(), begun.copy()
        seen: list[Any] = []
        for i, env in enumerate(self.envs):
            if begun[i]:
                observation, ended[i], cut[i], success[i] = env.reset()[0], False, False, False
            else:
                observation, gain, stop, late, more = env.step(_as_space(action[i], env.action_space))
                reward[i], ended[i], cut[i] = float(gain), bool(stop), bool(late)
                success[i] = bool(more.get("is_success", more.get("success", stop)))
            seen.append(observation)
        self.taken = np.where(begun, 0, self.taken + 1)
        cut |= (self.taken >= self.max_steps) & ~ended
        self.over = ended | cut
        return self._frames(), reward, ended, cut, self._info(seen, success, begun)

    def close(self) -> None:
        """Closes all environments."""
        for env in self.envs:
            env.close()

    def _frames(self) -> np.ndarray:
        return np.stack([self._frame(env) for env in self.envs])

    def _frame(self, env: gymnasium.Env[Any, Any]) -> np.ndarray:
        frame = np.asarray(env.render())
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise UsageError(
                f"{env}: render() gave {frame.dtype} {list(frame.shape)}, expected a uint8 frame [height, width, 3]. "
                "Make the environment with render_mode='rgb_array'."
            )
        if self.side is None or frame.shape[:2] == (self.side, self.side):
            return frame
        return np.asarray(Image.fromarray(frame).resize((self.side, self.side), Image.Resampling.BOX))

    def _info(self, seen: list[Any], success: np.ndarray, begun: np.ndarray) -> Info:
        info: Info = {"success": success, "begun": begun}
        if all(isinstance(o, np.ndarray) and o.ndim == 1 for o in seen):
            info["truth"] = np.stack(seen).astype(np.float64)
        return info


Source = str | gymnasium.Env[Any, Any] | Callable[[], gymnasium.Env[Any, Any]]


def from_gymnasium(source: Source, num: int = 1, seed: int = 0, side: int | None = None) -> Foreign:
    """Environments of others.

    Args:
        source: an id such as `Reacher-v5` or `gym_pusht:gym_pusht/PushT-v0` (the part before the colon is imported
            first), one environment, or a class or function that makes one.
        num: how many.
        seed: of the first episodes.
        side: frames are brought to this size [px]; None leaves them as they are.

    Raises:
        UsageError: an unknown id, no rgb_array frames, actions that are neither Box nor Discrete.
    """
    if isinstance(source, gymnasium.Env):
        if num != 1:
            raise UsageError(f"{num} environments from one: give a class or a function that makes them")
        return Foreign([source], side, seed)
    envs = [_by_id(source) if isinstance(source, str) else _made(source) for _ in range(num)]
    return Foreign(envs, side, seed)


def action_of(env: gymnasium.Env[Any, Any]) -> Action:
    """The actions of an environment.

    Raises:
        UsageError: they are neither Discrete nor a Box of one axis with finite bounds.
    """
    space = env.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1 and space.is_bounded():
        return Box(tuple(map(float, space.low)), tuple(map(float, space.high)))
    raise UsageError(
        f"{env}: actions {space}; expected Discrete or a Box of one axis with finite bounds. "
        "Wrap the environment, for instance in gymnasium.wrappers.RescaleAction."
    )


def _by_id(name: str) -> gymnasium.Env[Any, Any]:
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo would look for a screen
    try:
        return gymnasium.make(name, render_mode="rgb_array")
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise UsageError(
            f"{name}: gymnasium cannot make it: {error}. Install the package that holds it; an id such as "
            "package:namespace/Name-v0 imports the package first."
        ) from None


def _made(make: Callable[..., gymnasium.Env[Any, Any]]) -> gymnasium.Env[Any, Any]:
    """An environment of a class or a function, with frames where it can draw them."""
    takes_mode = "render_mode" in inspect.signature(make).parameters
    env = make(render_mode="rgb_array") if takes_mode else make()
    if env.render_mode != "rgb_array":
        raise UsageError(
            f"{env}: render_mode is {env.render_mode!r}; it has to be rgb_array, as frames are what is seen"
        )
    return env


def _as_space(action: np.ndarray, space: gymnasium.Space[Any]) -> Any:
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.start) + int(action)
    return action.astype(space.dtype)


def _limit(env: gymnasium.Env[Any, Any]) -> int:
    return (env.spec.max_episode_steps if env.spec else None) or _NO_LIMIT
