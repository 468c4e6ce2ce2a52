"""Two processes under torchrun equal one process with the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from craik.train.run import RunFolder
from tests.train.runs import weights

ROOT = Path(__file__).resolve().parents[2]
STEADY = {name: Path(__file__).with_name(f"{name}.py") for name in ("steady", "steady_views")}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def train(out: Path, variant: str, *options: object, ranks: int = 1) -> dict[str, torch.Tensor]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    recipe = STEADY["steady_views" if variant == "views" else "steady"]
    arguments = ["-m", "craik.cli", "train", f"{recipe}:{variant}", "--data", "toy:shapes?n=80", "--out", str(out)]
    options = (*options, "--device", "cpu", "--precision", "float32", "--batch", 16)
    command = [sys.executable, *launcher, *arguments, *map(str, options)]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    return weights(out)


def losses(out: Path) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in RunFolder(out).rows("metrics") if "loss" in row}


def gap(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["steady", "regularized", "views"])
def test_two_processes_equal_one(tmp_path: Path, variant: str) -> None:
    pace = ("--steps", 5, "--check-every", 1)  # a check writes a row of metrics: every step has one
    alone = train(tmp_path / "alone", variant, *pace)
    together = train(tmp_path / "together", variant, *pace, ranks=2)
    assert gap(alone, together) < 1e-5
    one, two = losses(tmp_path / "alone"), losses(tmp_path / "together")
    assert list(one) == [1, 2, 3, 4, 5]
    assert two == pytest.approx(one, abs=1e-5)
    assert gap(alone, train(tmp_path / "other", variant, *pace, "--seed", 1)) > 1e-3, "this test can fail"


@pytest.mark.slow
def test_two_processes_stop_and_go_on(tmp_path: Path) -> None:
    """A run of two ranks that is stopped and gone on with, by one rank, is the run of one."""
    whole = train(tmp_path / "whole", "regularized", "--steps", 6)
    out = tmp_path / "parts"
    train(out, "regularized", "--steps", 6, "--checkpoint-every", 3, ranks=2)
    command = [sys.executable, "-m", "craik.cli", "train", "--resume", str(out), "--from-step", "3"]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    assert gap(whole, weights(out)) < 1e-5
