"""craik collect where the environment is broken, or the process is: what is finished is kept, and it goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from craik.collect import gather
from craik.data.episode import Episodes
from tests.commands.conftest import Craik, craik

__all__ = ["craik"]
BROKEN = """
import sys
from pathlib import Path
import numpy as np
from tests.collect.worlds import Line

def broken():
    return Path("broken").exists()

class Blind(Line):
    def render(self, state):
        frames = Line.render(self, state)
        return np.full(frames.shape, np.nan) if broken() else frames

class Cut(Line):
    def render(self, state):
        return Line.render(self, state)[:, :4] if broken() else Line.render(self, state)

class Leaving(Line):
    def step(self, state, action, rng):
        if broken():
            sys.exit("no licence")
        return Line.step(self, state, action, rng)

class Clumsy(Line):
    def expert(self, state, goal, rng):
        action = Line.expert(self, state, goal, rng)
        return np.repeat(action, 3, axis=1) if broken() else action

class Lost(Line):
    def step(self, state, action, rng):
        moved = Line.step(self, state, action, rng)
        return type(moved)(moved.place * np.nan) if broken() else moved

    def render(self, state):
        return Line.render(self, type(state)(np.nan_to_num(state.place)))

    def expert(self, state, goal, rng):
        return goal.place[:, None] - state.place[:, None]
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Blind", "render gave float64 [2, 8, 8, 3] with NaN or infinity; expected uint8 [2, 8, 8, 3]"),
        ("Cut", "render gave uint8 [2, 4, 8, 3]; expected uint8 [2, 8, 8, 3]"),
        ("Leaving", "SystemExit: no licence (mine.py:"),
        ("Clumsy", "UsageError: expected actions [2, 1] (worlds, numbers per action), got [2, 3]"),
        ("Lost", "every number has to be finite"),
    ],
)
def test_broken_worlds(craik: Craik, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.setattr(gather, "TOGETHER", 2)
    Path("mine.py").write_text(BROKEN)
    command = ("collect", f"mine.py:{name}", "-o", "data", "--workers", 1, "--policy", "expert")
    assert craik(*command, "-n", 4).code == 0
    whole = np.load("data/frames.npy")[: 4 * 11].copy()
    Path("broken").touch()
    said = craik(*command, "-n", 8)
    assert said.code == 1
    assert f"mine.py:{name} raised " in said.err and message in said.err, said.err
    assert "4 finished episodes are kept in data. Mend the environment and go on: craik collect" in said.err
    Path("broken").unlink()
    assert craik(*command, "-n", 8).code == 0
    found = Episodes.open("data")
    assert len(found) == 8 and np.isfinite(found.states).all()
    np.testing.assert_array_equal(found.frames.read(np.arange(4 * 11)), whole)


@pytest.mark.slow
def test_killed_in_the_middle_and_asked_again(tmp_path: Path) -> None:
    """kill -9 while two workers simulate: nobody is left behind, and asked again it becomes the same data."""
    command = [sys.executable, "-m", "craik.cli", "collect", "two_rooms", "-n", "300", "--steps", "60", "--size", "16"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(folder: str, workers: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*command, "-o", str(tmp_path / folder), "--workers", str(workers)],
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    assert start("whole", 1).wait(timeout=300) == 0
    killed = 0
    with start("cut", 2) as process:
        while not (killed := finished(tmp_path / "cut")) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert 0 < killed < 300, "it was killed in the middle"
    ends = time.monotonic() + 60
    while group_lives(process.pid) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not group_lives(process.pid), "its workers end with it"
    assert killed <= finished(tmp_path / "cut") < 300
    assert start("cut", 1).wait(timeout=300) == 0
    one, two = (Episodes.open(tmp_path / name) for name in ("whole", "cut"))
    assert len(two) == 300
    assert one.fingerprint == two.fingerprint
    assert (tmp_path / "whole" / "frames.npy").read_bytes() == (tmp_path / "cut" / "frames.npy").read_bytes()


def finished(folder: Path) -> int:
    """Episodes that a reader finds."""
    return len(Episodes.open(folder)) if holds_one(folder) else 0


def holds_one(folder: Path) -> bool:
    from craik.data.episode_layout import is_episodes, read_layout

    return is_episodes(folder) and read_layout(folder).episodes > 0


def group_lives(group: int) -> bool:
    """Whether a process of the group is still there and no zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False
