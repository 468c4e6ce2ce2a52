"""Golden fixtures: recorded inputs, weights and outputs of published code, in any sizes."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "golden"


@dataclass(frozen=True)
class Fixture:
    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        return self.json("config.json")

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return load_file(self.folder / "inputs.safetensors")

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        return load_file(self.folder / "outputs.safetensors")

    def json(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name).read_text())

    def listed(self, name: str) -> list[Tensor]:
        """Inputs `name.0`, `name.1`, ..., as many as there are."""
        found = []
        while f"{name}.{len(found)}" in self.inputs:
            found.append(self.inputs[f"{name}.{len(found)}"])
        return found

    def checkpoint(self, path: Path) -> Path:
        """The weights as an official checkpoint file: a torch pickle of state dicts by network."""
        entries: dict[str, Any] = {}
        for key, tensor in load_file(self.folder / "weights.safetensors").items():
            network, name = key.split("::")
            entries.setdefault(network, {})[name] = tensor
        torch.save({**entries, "opt": {"state": {}}, "scaler": None, "epoch": 3, "loss": 0.5, "lr": 1e-3}, path)
        return path


def assert_close(ours: Tensor, golden: Tensor, atol: float, name: str = "") -> None:
    """Largest difference at most atol; shapes equal."""
    assert ours.shape == golden.shape, f"{name}: shape {list(ours.shape)}, golden {list(golden.shape)}"
    gap = (ours.detach().double() - golden.double()).abs().max().item()
    assert gap <= atol, f"{name}: largest difference {gap:.2e}, allowed {atol:.1e}"


def assert_output(ours: Tensor, golden: Tensor, atol: float, name: str = "") -> None:
    """As `assert_close` for outputs of order 1; the bound grows with their root mean square above that."""
    assert_close(ours, golden, atol * max(1.0, golden.double().square().mean().sqrt().item()), name)


def assert_relative(ours: Tensor, golden: Tensor, rtol: float, name: str = "") -> None:
    """Largest difference at most rtol times the largest golden entry."""
    assert_close(ours, golden, rtol * golden.double().abs().max().item(), name)
