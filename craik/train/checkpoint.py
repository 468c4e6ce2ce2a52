"""Checkpoints: everything a run needs to go on as if it had never stopped.

Each is a folder step-00001234/ of torch.distributed.checkpoint files and a manifest with their checksums. It is
written under a temporary name and renamed when complete, so a folder without the prefix is whole; a folder damaged
later is found by its checksums, and the one before it is used.
"""

import json
import os
import shutil
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as read_state
from torch.distributed.checkpoint.state_dict_saver import save as write_state

from craik.train.run import write_atomic

MANIFEST = "manifest.json"
PREFIX = "step-"
BEST = "best.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint folder on disk."""

    path: Path

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self.path.name.removeprefix(PREFIX))

    def damage(self) -> str | None:
        """What is wrong with the files, or None."""
        try:
            files = dict(json.loads((self.path / MANIFEST).read_text())["files"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"manifest cannot be read ({error})"
        for name, expected in files.items():
            file = self.path / name
            if not file.exists():
                return f"{name} is missing"
            if checksum(file) != expected:
                return f"{name} is damaged"
        return None


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value


def listing(folder: Path) -> list[Checkpoint]:
    """Complete checkpoints, newest first."""
    found = [Checkpoint(p) for p in folder.glob(f"{PREFIX}*") if p.is_dir() and p.name[len(PREFIX) :].isdecimal()]
    return sorted(found, key=lambda c: c.step, reverse=True)


def save(
    folder: Path, step: int, state: dict[str, Any], keep: int = 2, also: Collection[int] = frozenset()
) -> Checkpoint:
    """Write a checkpoint and drop all but the newest `keep`, the best, and the steps in `also`. Called by all ranks."""
    alone = not dist.is_initialized()
    main = alone or dist.get_rank() == 0
    final = folder / f"{PREFIX}{step:08d}"
    temporary = folder / f".{final.name}.tmp"
    if main:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    if not alone:
        dist.barrier()
    with quiet():
        write_state(state, checkpoint_id=temporary, no_dist=alone)
    if main:
        seal(temporary, final)
        prune(folder, keep, also)
    if not alone:
        dist.barrier()
    return Checkpoint(final)


def seal(temporary: Path, final: Path) -> None:
    """Flush files to the disk, write the manifest, and give the folder its name."""
    files = [p for p in temporary.iterdir() if p.is_file()]
    for path in files:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    manifest = {"files": {p.name: checksum(p) for p in files}}
    write_atomic(temporary / MANIFEST, json.dumps(manifest, indent=1))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    descriptor = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prune(folder: Path, keep: int, also: Collection[int] = frozenset()) -> None:
    """Delete old checkpoints and what an interrupted write left behind."""
    kept = {c.step for c in listing(folder)[:keep]} | set(also)
    if best := best_checkpoint(folder):
        kept.add(best.step)
    for checkpoint in listing(folder):
        if checkpoint.step not in kept:
            shutil.rmtree(checkpoint.path)
    for leftover in folder.glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def forget_after(folder: Path, step: int) -> None:
    """Delete checkpoints after a step: a run that went back to it writes them again."""
    for checkpoint in listing(folder):
        if checkpoint.step > step:
            shutil.rmtree(checkpoint.path)
    if (best := read_best(folder)) is not None and best[0] > step:
        (folder / BEST).unlink()


def mark_best(folder: Path, step: int, score: float, by: str) -> None:
    """Remember a checkpoint as the best so far, by kNN or by effective rank; never by loss."""
    write_atomic(folder / BEST, json.dumps({"step": step, "score": score, "by": by}))


def read_best(folder: Path) -> tuple[int, float] | None:
    """Step and score of the checkpoint that is marked as the best; None without a mark, or with a damaged one."""
    try:
        row = json.loads((folder / BEST).read_text())
        return int(row["step"]), float(row["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def best_score(folder: Path) -> float | None:
    """Score of the checkpoint that is marked as the best."""
    best = read_best(folder)
    return None if best is None else best[1]


def best_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint that is marked as the best."""
    best = read_best(folder)
    found = None if best is None else Checkpoint(folder / f"{PREFIX}{best[0]:08d}")
    return found if found is not None and found.path.is_dir() else None


def load(checkpoint: Checkpoint, state: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint into a state of the same structure; tensors are filled in place."""
    with quiet():
        read_state(state, checkpoint_id=checkpoint.path, no_dist=not dist.is_initialized())
    return state


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The tensors of the model in a checkpoint, by their names in it, on the CPU."""
    stored = FileSystemReader(checkpoint.path).read_metadata().state_dict_metadata
    tensors = {
        name.removeprefix("model."): torch.empty(kind.size, dtype=kind.properties.dtype)
        for name, kind in stored.items()
        if name.startswith("model.") and isinstance(kind, TensorStorageMetadata)
    }
    load(checkpoint, {"model": tensors})
    return tensors


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's remark that a single process saves alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield


def rng_state() -> dict[str, torch.Tensor]:
    """State of torch's global generators."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: dict[str, torch.Tensor]) -> None:
    """Put torch's global generators back."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
