"""Short runs for tests."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load_file

from craik.pretrain import Budget, Conduct, Data, Result, pretrain, resume
from craik.recipes import find
from craik.train.progress import Reporter

MICRO = str(Path(__file__).resolve().parents[1] / "micro.py") + ":micro"
DATA = Data(data="toy:shapes?n=128")


def quiet() -> Reporter:
    return Reporter(console=Console(file=io.StringIO(), width=200))


def run_micro(
    out: Path, *, steps: int = 20, conduct: Conduct | None = None, data: Data = DATA, **changes: Any
) -> Result:
    method = find(MICRO)
    config = replace(method.config, **changes)
    conduct = conduct or Conduct(device="cpu", check_every=5, checkpoint_every=5)
    return pretrain(method, config, out, data, Budget(steps=steps), conduct, reporter=quiet())


def resume_micro(out: Path, **options: Any) -> Result:
    return resume(out, reporter=quiet(), **options)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
