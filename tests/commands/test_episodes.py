"""craik collect, import and inspect of episodes, as a user sees them."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from craik.collect import gather
from craik.commands.train import main as train_main
from craik.data.episode import Episodes
from craik.errors import UsageError
from craik.train.stop import StopSignal
from tests.commands.conftest import Craik
from tests.data.episodes import make, write

MICRO = str(Path(__file__).resolve().parents[1] / "micro_world.py") + ":micro"
ROOMS = ("collect", "two_rooms", "--steps", 5, "--workers", 1)


def test_collect_inspect_and_go_on(craik: Craik) -> None:
    said = craik(*ROOMS, "-n", 3, "-o", "data", "--policy", "mixed", "--size", 32)
    assert said.code == 0
    assert "data: 3 episodes, 18 frames in" in said.err and "Next: craik inspect data" in said.err
    said = craik("inspect", "data", "-o", "sheet.png")
    assert said.code == 0
    for text in (
        "data: 3 episodes, 18 frames of 32 x 32 x 3, 6 frames each, actions of 2",
        "stored: raw",
        "frames/s in random windows",
        "of the frames differ from the one before",
        "3 of 3 episodes have N-1 actions for N frames",
        "(z-score: subtract mean, divide by std)",
        "state wall_x",
        "from episode 0: two_rooms, mixed policy, seed 0",
    ):
        assert text in said.out
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 1000
    assert craik(*ROOMS, "-n", 5, "-o", "data", "--policy", "mixed", "--size", 32).code == 0
    row = json.loads(craik("inspect", "data", "--json").out)
    assert row["episodes"] == 5 and len(row["actions"]["mean"]) == 2 and row["problems"] == []
    assert row["origins"][0]["wanted"] == 5


def test_collect_says_as_json_what_it_did(craik: Craik) -> None:
    said = craik("collect", "grid", "-n", 2, "--steps", 4, "-o", "data", "--workers", 1, "--json")
    row = json.loads(said.out)
    assert row["episodes"] == row["new"] == 2 and row["frames"] == 10 and not row["interrupted"]
    assert "discrete actions, actions[t] between frame t and t+1" in craik("inspect", "data").out


def test_collect_twice_with_other_settings(craik: Craik) -> None:
    assert craik(*ROOMS, "-n", 2, "-o", "data").code == 0
    said = craik(*ROOMS, "-n", 2, "-o", "data", "--seed", 1)
    assert said.code == 2
    assert "data holds 2 episodes of two_rooms by a random policy, collected with other settings" in said.err
    assert craik(*ROOMS, "-n", 2, "-o", "data", "--seed", 1, "--append").code == 0
    assert len(Episodes.open("data")) == 4
    assert "contradict each other" in craik(*ROOMS, "-o", "data", "--append", "--overwrite").err
    assert craik(*ROOMS, "-n", 1, "-o", "data", "--seed", 1, "--overwrite").code == 0
    assert len(Episodes.open("data")) == 1


def test_interrupted_collection(craik: Craik, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "TOGETHER", 2)
    plain = gather.keep

    def interrupted(*arguments: object) -> int:
        signal.raise_signal(signal.SIGINT)
        return plain(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(gather, "keep", interrupted)
        said = craik(*ROOMS, "-n", 6, "-o", "my data")
    assert said.code == 130
    assert "'my data': saved with 2 of 6 episodes" in said.err
    again = "craik collect two_rooms --steps 5 --workers 1 -n 6 -o 'my data'"
    assert f"Go on: {again}" in said.err
    assert craik(*ROOMS, "-n", 6, "-o", "my data").code == 0
    assert len(Episodes.open("my data")) == 6
    assert not StopSignal().asked


WORLD = """
from pathlib import Path
from tests.collect.worlds import Line

class Hot(Line):
    def step(self, state, action, rng):
        if Path("broken").exists() and Path("seen").exists():
            raise RuntimeError("the motor is hot")
        return Line.step(self, state, action, rng)

    def goal(self, state, rng):
        return Line.goal(self, state, rng)

def hot():
    return Hot()
"""


def test_own_world_that_raises_in_the_middle(craik: Craik, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "TOGETHER", 2)
    Path("my.py").write_text(WORLD)
    Path("broken").touch()
    plain = gather.keep

    def watched(*arguments: object) -> int:
        Path("seen").touch()
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(gather, "keep", watched)
    said = craik("collect", "my.py:Hot", "-n", 6, "-o", "data", "--workers", 1)
    assert said.code == 1
    assert "my.py:Hot raised RuntimeError: the motor is hot (my.py:8) after 0 steps of an episode" in said.err
    assert "2 finished episodes are kept in data. Mend the environment and go on: craik collect my.py:Hot" in said.err
    Path("broken").unlink()
    assert craik("collect", "my.py:Hot", "-n", 6, "-o", "data", "--workers", 1).code == 0
    assert len(Episodes.open("data")) == 6


GYM = """
import gymnasium, numpy as np

class Ball(gymnasium.Env):
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (2,))

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = self.np_random.uniform(-1, 1, 2), 0
        return self.place.copy(), {}

    def step(self, action):
        self.place, self.time = self.place + action, self.time + 1
        if BREAKS and self.time == 3:
            raise ValueError("the ball is lost")
        return self.place.copy(), -1.0, bool(self.time == 7), False, {}

    def render(self):
        frame = np.zeros((16, 16, 3), np.uint8)
        x, y = np.clip(8 + self.place, 0, 15).astype(int)
        frame[y, x] = 255
        return frame
"""


def test_own_gymnasium_environment(craik: Craik) -> None:
    pytest.importorskip("gymnasium", reason="needs craik[envs]")
    Path("ball.py").write_text("BREAKS = False\n" + GYM)
    Path("lost.py").write_text("BREAKS = True\n" + GYM)
    said = craik("collect", "ball.py:Ball", "-n", 3, "-o", "data", "--workers", 1)
    assert said.code == 0
    found = Episodes.open("data")
    assert found.lengths.tolist() == [8, 8, 8], "an episode ends where the environment ends it"
    episode = found.episode(1)
    assert episode.rewards[:-1].tolist() == [-1.0] * 7 and episode.done.tolist() == [False] * 6 + [True, False]
    np.testing.assert_allclose(np.diff(episode.states, axis=0), episode.actions[:-1], atol=1e-5)
    said = craik("collect", "ball.py:Ball", "-n", 3, "-o", "b", "--workers", 1, "--policy", "expert")
    assert said.code == 2 and "no expert policy; use --policy random" in said.err
    said = craik("collect", "lost.py:Ball", "-n", 3, "-o", "c", "--workers", 1)
    assert said.code == 1 and "lost.py:Ball raised ValueError: the ball is lost (lost.py:" in said.err


def test_collect_mistakes(craik: Craik) -> None:
    for arguments, message in (
        (("two_roms",), "Did you mean two_rooms?"),
        (("two_rooms", "-n", 0), "-n 0: collect at least 1 episode"),
        (("two_rooms", "--workers", 0), "--workers 0: give at least 1"),
        (("two_rooms:channels", "--size", 32), "draws frames of 65 x 65 px and no others; leave --size out"),
        (("nothing.py:Env",), "nothing.py: no such file"),
    ):
        said = craik("collect", *arguments, "-o", "data")
        assert said.code == 2
        assert message in said.err
        assert not Path("data").exists()


def test_import_and_inspect(craik: Craik) -> None:
    made = make(0, 6)
    np.savez("a.npz", observations=made.frames, actions=made.actions, something=np.zeros(3))
    said = craik("import", "a.npz", "-o", "data")
    assert said.code == 0
    assert "npz: frames from 'observations', actions from 'actions'" in said.err
    assert "left out: something" in said.err
    assert "data: 1 episode, 6 frames of 8 x 8 x 3" in said.err
    assert craik("import", "a.npz", "-o", "data").code == 2
    assert craik("import", "a.npz", "-o", "data", "--append", "--json").code == 0
    assert len(Episodes.open("data")) == 2
    np.savez("b.npz", observations=made.frames, actions=np.zeros((5, 3)))
    said = craik("import", "b.npz", "-o", "data", "--append")
    assert said.code == 2
    assert "b: actions are (5, 3), 3 numbers each, but this data has actions of 2" in said.err
    np.savez("c.npz", observations=made.frames, actions=np.zeros((4, 2)))
    said = craik("import", "c.npz", "-o", "other")
    assert said.code == 2
    assert (
        "c: actions are (4, 2) but frames are N=6; expected N-1 or N actions, actions[t] taken between frame t and "
        "t+1. See craik inspect DATA"
    ) in said.err
    said = craik("import", "data", "-o", "again")
    assert said.code == 2 and "in the layout of craik already: craik inspect data" in said.err


def test_inspect_tells_what_is_wrong(craik: Craik) -> None:
    write(Path("data"), (5, 9, 2))
    actions = np.load("data/actions.npy", mmap_mode="r+")
    actions[1] = np.nan
    actions.flush()
    said = craik("inspect", "data")
    assert said.code == 0
    assert "look at this: 1 actions between two frames are NaN" in said.err
    assert "look at this: 1 episodes have fewer than 4 frames" in said.err
    Path("photos").mkdir()
    Image.new("RGB", (20, 20)).save("photos/a.png")
    said = craik("inspect", "photos", "-o", "a.png")
    assert said.code == 2 and "contact sheets are drawn of episodes" in said.err


def test_inspect_sees_actions_that_are_one_step_late(craik: Craik) -> None:
    rng = np.random.default_rng(0)
    frames = np.zeros((200, 8, 8, 3), dtype=np.uint8)
    sizes = rng.uniform(0, 1, 199)
    level = np.zeros(200)
    for t in range(199):
        level[t + 1] = level[t] + (1 if t % 2 else -1) * 200 * sizes[t]
    frames[...] = np.clip(level - level.min(), 0, 255)[:, None, None, None].astype(np.uint8)
    for name, actions in (("good", sizes[:, None]), ("late", np.roll(sizes, 1)[:, None])):
        np.savez(f"{name}.npz", frames=frames, actions=actions)
        assert craik("import", f"{name}.npz", "-o", name).code == 0
    assert "one step" not in craik("inspect", "good").err
    assert "the frame changes one step before the action that goes with it" in craik("inspect", "late").err


def test_train_go_on_and_report(craik: Craik) -> None:
    assert craik("collect", "two_rooms", "-n", 4, "--steps", 14, "--size", 24, "--workers", 1, "-o", "data").code == 0
    new = ("train", MICRO, "--data", "data", "--out", "runs/w", "--steps", 2, "--device", "cpu")
    said = craik(*new, "--body.history", 1)
    assert said.code == 0
    for text in ("4 episodes: a world model will hardly generalize", "1 ahead ", "(copy ", "state R2", "windows/s"):
        assert text in said.err
    assert said.err.rstrip().endswith("Next: craik report runs/w")
    assert craik("train", MICRO, "--resume", "runs/w", "--body.history", 1).code == 0
    with pytest.raises(UsageError, match=r"body\.history: 1 -> 2"):
        train_main([MICRO, "--resume", "runs/w"])
    assert craik("report", "runs/w").code == 0
    page = Path("runs/w/report.html").read_text()
    assert "Error 1 ahead" in page and "open-loop" in page.lower()
