"""Checkpoints: written whole or not at all, checked when read, and only the useful ones kept."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from craik.train import checkpoint
from craik.train.checkpoint import Checkpoint, listing, prune


def state(value: float) -> dict[str, Any]:
    return {"model": {"w": torch.full((3, 2), value)}, "progress": {"step": int(value)}}


def save(folder: Path, *steps: int, **options: Any) -> None:
    for step in steps:
        checkpoint.save(folder, step, state(step), **options)


def steps(folder: Path) -> list[int]:
    return [c.step for c in listing(folder)]


def test_what_is_saved_is_what_is_read(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, 7, state(7))
    assert saved.step == 7
    assert saved.damage() is None
    found = checkpoint.load(saved, state(0))
    assert torch.equal(found["model"]["w"], torch.full((3, 2), 7.0))
    assert found["progress"]["step"] == 7


def test_the_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    checkpoint.mark_best(tmp_path, 2, 0.5, "knn")
    save(tmp_path, 3, 4, 5)
    assert steps(tmp_path) == [5, 4, 2]
    best = checkpoint.best_checkpoint(tmp_path)
    assert best is not None and best.step == 2
    assert checkpoint.best_score(tmp_path) == 0.5
    checkpoint.mark_best(tmp_path, 5, 0.6, "knn")
    save(tmp_path, 6)
    assert steps(tmp_path) == [6, 5]


def test_steps_that_are_asked_for_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    save(tmp_path, 4, 5, 6, also=(3,))
    assert steps(tmp_path) == [6, 5, 3]
    save(tmp_path, 7)
    assert steps(tmp_path) == [7, 6]


def test_leftovers_of_interrupted_writes_are_removed_and_never_read(tmp_path: Path) -> None:
    leftover = tmp_path / ".step-00000009.tmp"
    leftover.mkdir()
    (leftover / "__0_0.distcp").write_bytes(b"half")
    assert listing(tmp_path) == []
    save(tmp_path, 1)
    assert not leftover.exists()
    assert steps(tmp_path) == [1]


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for part in ("write_state", "seal"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, part, lambda *a, **k: full())
            with pytest.raises(OSError, match="No space left"):
                save(tmp_path, 2)
        assert steps(tmp_path) == [1]
        assert listing(tmp_path)[0].damage() is None


def test_a_checkpoint_appears_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of the rename all files and their checksums are there, flushed to the disk."""
    seen: list[str | None] = []
    flushed: list[int] = []
    plain_replace, plain_fsync = os.replace, os.fsync

    def replace(source: Any, target: Any) -> None:
        if Path(source).is_dir():
            seen.append(Checkpoint(Path(source)).damage())
            assert len(flushed) >= len(list(Path(source).iterdir()))
        plain_replace(source, target)

    def fsync(descriptor: int) -> None:
        flushed.append(descriptor)
        plain_fsync(descriptor)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "fsync", fsync)
    save(tmp_path, 1)
    assert seen == [None]


@pytest.mark.parametrize("kind", ["flipped", "cut", "gone", "no manifest", "cut manifest", "odd manifest"])
def test_damage_is_found(tmp_path: Path, kind: str) -> None:
    save(tmp_path, 1)
    found = listing(tmp_path)[0]
    file = max(found.path.glob("*.distcp"), key=lambda p: p.stat().st_size)
    manifest = found.path / checkpoint.MANIFEST
    content = file.read_bytes()
    if kind == "flipped":
        file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif kind == "cut":
        file.write_bytes(content[:-1])
    elif kind == "gone":
        file.unlink()
    elif kind == "no manifest":
        manifest.unlink()
    elif kind == "cut manifest":
        manifest.write_text(manifest.read_text()[:-5])
    else:
        manifest.write_text(json.dumps([1, 2]))
    damage = found.damage()
    assert damage is not None
    assert ("manifest" if "manifest" in kind else file.name) in damage


def test_other_folders_are_no_checkpoints(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-00000001-copy").mkdir()
    (tmp_path / "step-2.txt").write_text("")
    assert steps(tmp_path) == [1]
    prune(tmp_path, 2)
    assert (tmp_path / "step-00000001-copy").exists()


@pytest.mark.parametrize("mark", ["", "{", "[]", '{"step": 1}'])
def test_a_damaged_mark_of_the_best_is_none(tmp_path: Path, mark: str) -> None:
    save(tmp_path, 1)
    (tmp_path / checkpoint.BEST).write_text(mark)
    assert checkpoint.best_score(tmp_path) is None
    assert checkpoint.best_checkpoint(tmp_path) is None
    save(tmp_path, 2)


def test_going_back_forgets_what_came_after(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, keep=9)
    checkpoint.mark_best(tmp_path, 3, 0.9, "knn")
    checkpoint.forget_after(tmp_path, 2)
    assert steps(tmp_path) == [2, 1]
    assert checkpoint.best_score(tmp_path) is None, "the best may be beaten again"
    checkpoint.mark_best(tmp_path, 1, 0.3, "knn")
    checkpoint.forget_after(tmp_path, 2)
    assert checkpoint.best_score(tmp_path) == 0.3


def test_random_state_goes_there_and_back() -> None:
    torch.manual_seed(3)
    before = checkpoint.rng_state()
    first = torch.rand(4)
    checkpoint.set_rng_state(before)
    assert torch.equal(torch.rand(4), first)
