"""Policies, the vector interface, gymnasium in both directions, and finding worlds by name."""

import ast
import dataclasses
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import craik.envs
from craik.envs import connect, find, listing
from craik.envs.policy import Expert, Mixed, Uniform, Walk, find_policy
from craik.envs.vector import Vector
from craik.envs.world import Box, Discrete, choose
from craik.errors import UsageError
from tests.envs.worlds import SPECS, begin


def test_the_walk_has_the_published_steps_and_crossings():
    world, state, _, rng = begin("two_rooms", 300)
    policy = Walk(world)
    memory = policy.begin(state, rng)
    assert abs(memory.on.mean() - 0.35) < 0.09
    forced, start = memory.on, world.room(state)
    actions, crossed = [], np.zeros(300, dtype=bool)
    for _ in range(90):
        action, memory = policy.act(state, memory, rng)
        state = world.step(state, action, rng)
        actions.append(action)
        crossed |= world.room(state) != start
    length = np.linalg.norm(actions, axis=2)
    assert length.min() >= 0.2 and length.max() <= 1.8 and abs(length.mean() - 1.0) < 0.01
    free = np.array(actions)[:, ~forced]
    turn = np.diff(np.arctan2(free[..., 1], free[..., 0]), axis=0)
    assert abs(np.cos(turn).mean() - 0.8934) < 0.01  # I1(5) / I0(5)
    assert crossed[forced].mean() > 0.85 and crossed[~forced].mean() < 0.6
    assert not memory.on[forced].all()  # who has arrived walks freely


def test_policies_begin_anew_in_single_worlds():
    world, state, _, rng = begin("two_rooms", 6)
    policy = Mixed((Walk(world), Expert(world, noise=0.2), Uniform(world)))
    memory = policy.begin(state, rng)
    fresh = policy.begin(state, rng)
    mixed = choose(np.array([True] * 3 + [False] * 3), fresh, memory)
    np.testing.assert_array_equal(mixed.which, np.concatenate([fresh.which[:3], memory.which[3:]]))
    action, _ = policy.act(state, mixed, rng)
    assert action.shape == (6, 2) and np.isfinite(action).all()


@pytest.mark.parametrize("spec", ["point_mass", "push_disc", "grid", "maze", "random_door", "two_rooms+noise"])
@pytest.mark.parametrize("name", ["random", "expert", "mixed"])
def test_every_policy_runs_in_every_world(spec, name):
    world, state, _, rng = begin(spec, 8)
    policy = find_policy(name, world)
    memory = policy.begin(state, rng)
    before = world.render(state)
    for _ in range(10):
        action, memory = policy.act(state, memory, rng)
        np.testing.assert_allclose(world.action.fit(action, 8), action, atol=1e-9)  # the world takes it as it is
        state = world.step(state, action, rng)
    frames = world.render(state)
    assert frames.shape == (8, *world.shape) and (frames != before).any(axis=(1, 2, 3)).mean() > 0.5


def test_policies_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="There are: random, walk"):
        find_policy("greedy", find("grid"))
    with pytest.raises(UsageError, match="two numbers"):
        find_policy("walk", find("grid"))


def test_the_vector_keeps_episodes_rewards_and_resets():
    world = dataclasses.replace(find("two_rooms"), max_steps=40)
    envs = Vector(world, 32, seed=3)
    frames, info = envs.reset(seed=3)
    assert frames.shape == (32, 64, 64, 3) and info["begun"].all()
    again, _ = Vector(world, 32, seed=3).reset(seed=3)
    np.testing.assert_array_equal(frames, again)
    rng = np.random.default_rng(0)
    ends, cuts = 0, 0
    lazy = np.arange(32) >= 16  # these stand still
    over = np.zeros(32, dtype=bool)
    for _ in range(130):
        action = np.where(lazy[:, None], 0.0, world.expert(envs.state, envs.goal, rng))
        goal = envs.goal
        frames, reward, ended, cut, info = envs.step(action)
        np.testing.assert_array_equal(info["begun"], over)
        np.testing.assert_array_equal(frames, world.render(envs.state))
        np.testing.assert_array_equal(reward, np.where(ended | over, 0.0, -1.0))
        assert not (ended & cut).any() and not world.reached(envs.state, envs.goal)[over].any()
        np.testing.assert_array_equal(goal.position[~over], envs.goal.position[~over])
        if over.any():
            assert (goal.position[over] != envs.goal.position[over]).any(axis=1).all()
        over = ended | cut
        ends, cuts = ends + ended, cuts + cut
    assert ends[~lazy].min() >= 2 and not ends[lazy].any()
    assert (cuts[lazy] == 3).all() and not cuts[~lazy].any()  # 40 steps and the one that begins anew, three times


def test_find_names_variants_and_disturbances():
    assert find("maze:large").rows == 5
    assert find("grid+noise+distractor").name == "grid+noise+distractor"
    assert {entry.name for entry in listing()} >= {"two_rooms", "point_mass", "push_disc", "maze", "grid"}
    assert all(entry.title and all(title for _, title in entry.variants) for entry in listing())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("two_room", "Did you mean two_rooms"),
        ("maze:larg", "variant of maze.*Did you mean large"),
        ("maze+nois", "Did you mean noise"),
        ("", "There are: two_rooms"),
        ("absent.py:World", "no such file"),
        ("absent.py", "which environment"),
    ],
)
def test_a_typo_is_refused_with_a_suggestion(spec, message):
    with pytest.raises(UsageError, match=message):
        find(spec)


def test_a_users_own_world(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import dataclasses\nfrom craik.envs import find\nfrom craik.envs.grid import Grid\n"
        "class Small(Grid):\n    def __init__(self): super().__init__(cells=4)\n"
        "BIG = dataclasses.replace(find('grid'), cells=16)\nsize = 3\n"
    )
    assert find(f"{file}:BIG").cells == 16 and find(f"{file}:Small").cells == 4
    assert connect(f"{file}:BIG", 2).shape == (64, 64, 3)
    with pytest.raises(UsageError, match="Did you mean BIG"):
        find(f"{file}:BIGG")
    with pytest.raises(UsageError, match="is no world"):
        find(f"{file}:size")
    with pytest.raises(UsageError, match=r"Did you mean .*mine\.py"):
        find(f"{tmp_path}/mien.py:BIG")
    file.with_name("broken.py").write_text("import numpy\nnumpy.array(1)[2]\n")
    with pytest.raises(UsageError, match="line 2: IndexError"):
        find(f"{tmp_path}/broken.py:X")


USERS_ENV = """
import gymnasium, numpy as np
class Mine(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"]}
    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
        self.observation_space = gymnasium.spaces.Box(-9.0, 9.0, (1,))
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(0, 1, 1).astype(np.float32)
        return self.x, {}
    def step(self, action):
        self.x = self.x + action
        return self.x, -1.0, bool(self.x[0] > 3), False, {}
    def render(self):
        frame = np.zeros((32, 48, 3), np.uint8)
        frame[:, int(np.clip(self.x[0] * 10, 0, 47))] = 255
        return frame
class Blind(Mine):
    def __init__(self): super().__init__(render_mode=None)
class Odd(Mine):
    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.action_space = gymnasium.spaces.MultiDiscrete([2, 2])
"""


def test_a_users_gymnasium_environment(tmp_path):
    pytest.importorskip("gymnasium")
    file = tmp_path / "theirs.py"
    file.write_text(USERS_ENV)
    envs = connect(f"{file}:Mine", 3, seed=5)
    assert envs.action == Box((-1.0,), (1.0,)) and envs.shape == (32, 48, 3)
    frames, info = envs.reset(seed=5)
    assert frames.shape == (3, 32, 48, 3) and info["truth"].shape == (3, 1)
    np.testing.assert_array_equal(envs.reset(seed=5)[1]["truth"], info["truth"])
    starts = info["truth"][:, 0]
    for number in range(1, 4):
        frames, reward, ended, cut, info = envs.step(np.ones((3, 1)))
        np.testing.assert_allclose(info["truth"][:, 0], starts + number, rtol=1e-5)
    assert ended.all() and info["success"].all() and not cut.any() and (reward == -1).all()
    _, reward, ended, _, info = envs.step(np.ones((3, 1)))
    assert info["begun"].all() and not ended.any() and (info["truth"] < 1).all() and (reward == 0).all()
    assert connect(f"{file}:Mine", 1, side=16).shape == (16, 16, 3)
    with pytest.raises(UsageError, match=r"expected actions \[3, 1\]"):
        envs.step(np.ones((3, 2)))
    with pytest.raises(UsageError, match="rgb_array"):
        connect(f"{file}:Blind", 1)
    with pytest.raises(UsageError, match="finite bounds"):
        connect(f"{file}:Odd", 1)
    with pytest.raises(UsageError, match="is no world"):
        find(f"{file}:Mine")


@pytest.mark.filterwarnings("ignore:.*recommend using a symmetric and normalized space")  # displacements are in pixels
@pytest.mark.parametrize("spec", ["two_rooms", "grid"])
def test_worlds_pass_the_checker_of_gymnasium(spec):
    pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    from craik.envs.gym import as_gymnasium, from_gymnasium

    env = as_gymnasium(find(spec))
    check_env(env, skip_render_check=True)
    frame, info = env.reset(seed=0)
    assert frame.shape == (64, 64, 3) and not info["success"] and info["goal"].shape == frame.shape
    back = from_gymnasium(env)  # there and back again
    assert back.shape == (64, 64, 3) and isinstance(back.action, Box | Discrete)
    out = back.step(back.action.sample(1, np.random.default_rng(0)))
    assert len(out) == 5 and out[1][0] == -1.0


@pytest.mark.parametrize(
    ("package", "name", "side", "size"),
    [("gym_pusht", "gym_pusht:gym_pusht/PushT-v0", 96, 2), ("mujoco", "Reacher-v5", 64, 2)],
)
def test_known_environments_of_others(package, name, side, size):
    pytest.importorskip("gymnasium")
    pytest.importorskip(package)
    envs = connect(f"gym:{name}", 1, seed=0, side=side)
    frames, _ = envs.reset(seed=0)
    assert frames.shape == (1, side, side, 3) and frames.std() > 5
    rng = np.random.default_rng(0)
    for _ in range(5):
        later, reward, *_ = envs.step(envs.action.sample(1, rng))
    assert envs.action.size == size and np.isfinite(reward).all() and (later != frames).any()
    envs.close()


def test_unknown_gymnasium_ids_are_refused():
    pytest.importorskip("gymnasium")
    with pytest.raises(UsageError, match="cannot make it"):
        connect("gym:NoSuchThing-v0", 1)


def test_without_gymnasium_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "craik.envs.gym", raising=False)
    monkeypatch.delattr(craik.envs, "gym", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'craik\[envs\]'"):
        importlib.import_module("craik.envs.gym")


def test_only_one_file_imports_gymnasium_and_none_torch():
    for path in Path(craik.envs.__file__).parent.glob("*.py"):
        names = {
            a.name.split(".")[0]
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Import)
            for a in n.names
        }
        names |= {
            n.module.split(".")[0]
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.ImportFrom) and n.module
        }
        assert "torch" not in names
        assert "gymnasium" not in names or path.name == "gym.py"


def test_every_world_of_the_tests_can_be_connected():
    for spec in SPECS:
        if "large" not in spec:
            assert connect(spec, 1).num_envs == 1
