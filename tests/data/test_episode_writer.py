"""The writer loses nothing that was finished, whatever happens to it."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from craik.data import growing
from craik.data.episode import Episodes
from craik.data.episode_layout import Origin, Storage
from craik.data.episode_writer import Writer
from craik.errors import UsageError
from tests.data.episodes import make, write


def numbers(folder: Path) -> list[int]:
    """Which episodes a folder holds, each checked to the last frame."""
    found = Episodes.open(folder)
    names = [int(found.episode(i).frames[0, 0, 0, 0].round(-1) // 10) for i in range(len(found))]
    for at, number in enumerate(names):
        assert np.abs(found.episode(at).frames.astype(int) - make(10 * number, 6).frames).max() <= 4
        np.testing.assert_array_equal(found.episode(at).actions[:-1], make(10 * number, 6).actions)
    return names


def test_modes(tmp_path: Path) -> None:
    write(tmp_path, (4, 5))
    with pytest.raises(UsageError, match=r"holds 2 episodes already. Add to them with --append, replace them"):
        Writer(tmp_path)
    with Writer(tmp_path, "append") as writer:
        writer.add(make(2, 6))
    assert Episodes.open(tmp_path).lengths.tolist() == [4, 5, 6]
    with Writer(tmp_path, "overwrite") as writer:
        writer.add(make(0, 7, columns=False))
    found = Episodes.open(tmp_path)
    assert found.lengths.tolist() == [7] and found.states is None
    assert not (tmp_path / "states.npy").exists()


def test_nothing_is_replaced_before_something_good_is_there(tmp_path: Path) -> None:
    write(tmp_path / "a", (4, 5))
    bad = replace(make(0, 4), actions=np.zeros((9, 2)))
    for folder in ("a", "b"):
        with pytest.raises(UsageError, match="actions are"), Writer(tmp_path / folder, "overwrite") as writer:
            writer.add(bad)
    assert Episodes.open(tmp_path / "a").lengths.tolist() == [4, 5]
    assert not (tmp_path / "b").exists()


def test_other_files_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for mode in ("error", "append", "overwrite"):
        with pytest.raises(UsageError, match=r"holds other files \(thesis.txt"):
            Writer(tmp_path, mode)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is a file"):
        Writer(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.add(make(0, 4))
        writer.commit()
        with pytest.raises(UsageError, match="somebody else is writing to it"):
            Writer(tmp_path, "append")
        assert len(Episodes.open(tmp_path)) == 1, "readers may look meanwhile"
    with Writer(tmp_path, "append") as writer:
        writer.add(make(1, 4))
    assert len(Episodes.open(tmp_path)) == 2


@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_what_is_not_committed_does_not_count_and_is_cut_off(tmp_path: Path, storage: Storage) -> None:
    found = tmp_path / "found"
    with Writer(tmp_path / "a", storage=storage) as writer:
        for number in (0, 1):
            writer.add(make(10 * number, 6))
        writer.commit()
        writer.add(make(90, 6))
        for file in (*(column._file for column in writer._columns.values()), writer._jpegs):
            if file is not None:
                file.flush()
        shutil.copytree(tmp_path / "a", found)  # what a kill would leave: data behind what counts
    assert (found / "actions.npy").stat().st_size > 128 + 12 * 8
    assert numbers(found) == [0, 1]
    with Writer(found, "append") as other:
        other.add(make(20, 6))
    assert numbers(found) == [0, 1, 2]
    assert len(np.load(found / "actions.npy")) == 18


def test_a_block_that_fails_keeps_whole_episodes(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Writer(tmp_path) as writer:
        writer.add(make(0, 6))
        writer.add(make(10, 6))
        raise ZeroDivisionError
    assert numbers(tmp_path) == [0, 1]


def test_full_disk_in_the_middle_of_an_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = growing.GrowingArray.append

    def full(self: growing.GrowingArray, rows: np.ndarray) -> None:
        plain(self, rows)
        if self.path.name == "states.npy":
            raise OSError(28, "No space left on device")

    with Writer(tmp_path) as writer:
        writer.add(make(0, 6))
        with monkeypatch.context() as patch:
            patch.setattr(growing.GrowingArray, "append", full)
            with pytest.raises(OSError, match="No space left"):
                writer.add(make(90, 6))
        writer.add(make(10, 6))
    assert numbers(tmp_path) == [0, 1]


def test_origins_are_kept(tmp_path: Path) -> None:
    with Writer(tmp_path, origin=Origin("two_rooms", "random", {"steps": 5}, 3)) as writer:
        writer.add(make(0, 6))
        writer.note(streams=4, wanted=10)
    with Writer(tmp_path, "append", origin=Origin("file.npz")) as writer:
        writer.add(make(1, 6))
    with Writer(tmp_path, "append") as writer:
        writer.note(streams=1)
    first, second = Episodes.open(tmp_path).layout.origins
    assert first == Origin("two_rooms", "random", {"steps": 5}, 3, 0, 10, 4)
    assert second == Origin("file.npz", first=1, streams=1)


ENDLESS = """
import itertools, sys
from craik.data.episode_writer import Writer
from tests.data.episodes import make
with Writer(sys.argv[1], "append", storage=sys.argv[2]) as writer:
    for number in itertools.count(writer.episodes):
        writer.add(make(10 * (number % 20), 6))
        writer.commit()
        print(number + 1, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_killed_again_and_again(tmp_path: Path, storage: Storage) -> None:
    """kill -9 at any moment: all that was said to be committed is there, whole, and writing goes on."""
    told, root = 0, Path(__file__).resolve().parents[2]
    for pause in (0.0, 0.03, 0.06):
        command = [sys.executable, "-c", ENDLESS, str(tmp_path / "d"), storage]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline(), process.stdout.readline()]
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            told = int([*lines, *process.stdout.read().splitlines(keepends=True)][-1])
        found = numbers(tmp_path / "d")
        assert len(found) in (told, told + 1), "the last one may be committed and not yet told"
        assert found == [number % 20 for number in range(len(found))]
