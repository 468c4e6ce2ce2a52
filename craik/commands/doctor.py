"""craik doctor: what works on this machine."""

import json
import os
import shutil
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from craik.commands.arguments import parse, say

BASE = ("torch", "numpy", "safetensors", "tyro", "rich", "pillow", "pyarrow", "matplotlib")
EXTRAS = {"hub": ("huggingface_hub", "datasets"), "track": ("tensorboard",)}


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Versions, devices, optional packages, the cache, and a self-test of two seconds. Downloads nothing."""

    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Doctor, arguments, "doctor")
    import torch

    from craik import __version__
    from craik.data.cache import cache_folder
    from craik.train.runtime import choose_device, native_bf16

    device = choose_device()
    folder = Path(cache_folder())
    used = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder.exists() else 0
    free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
    facts = {
        "craik": __version__,
        "packages": {name: installed(name) for name in BASE},
        "extras": {extra: {name: installed(name) for name in names} for extra, names in EXTRAS.items()},
        "device": str(device),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cpu": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "bf16": native_bf16(device),
        "cache": {"folder": str(folder), "used_mb": round(used / 1e6, 1), "disk_free_gb": round(free / 1e9, 1)},
        "self_test": self_test(),
    }
    if options.json:
        print(json.dumps(facts))
    else:
        show(facts)
    healthy = facts["self_test"]["ok"]
    say("Next: craik demo" if healthy else "The self-test failed: reinstall torch and craik in a fresh environment")
    return 0 if healthy else 1


def installed(name: str) -> str | None:
    """Version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def self_test() -> dict[str, object]:
    """Train a tiny I-JEPA for two seconds; its loss has to be finite and its features alive."""
    import torch

    from craik.data.images import load_images
    from craik.data.loader import Loader
    from craik.recipes import find
    from craik.train.check import Checker
    from craik.train.runtime import Runtime
    from craik.train.step import Stepper

    torch.manual_seed(0)
    method = find("ijepa:tiny")
    recipe = method.build(method.config)
    images = load_images("toy:shapes?n=256", size=recipe.view.size, progress=False)
    runtime = Runtime(torch.device("cpu"), bf16=False)
    stepper = Stepper(recipe, runtime, total=1000)
    batches = iter(Loader(images, min(recipe.batch, 64), seed=0))
    began, losses = time.perf_counter(), []
    while time.perf_counter() - began < 2:
        losses.append(float(stepper.train_step(next(batches)).total))
    seconds = time.perf_counter() - began
    batches.close()
    seen = Checker.create(recipe, runtime, images, num=128).observe(stepper.step)
    ok = all(loss == loss for loss in losses) and seen.relative_std > 1e-3
    return {"ok": ok, "steps_per_s": round(len(losses) / seconds, 1), "loss": round(losses[-1], 4)}


def show(facts: dict[str, object]) -> None:
    """The facts for people."""
    packages, extras, cache, test = facts["packages"], facts["extras"], facts["cache"], facts["self_test"]
    assert isinstance(packages, dict) and isinstance(extras, dict)
    assert isinstance(cache, dict) and isinstance(test, dict)
    print(f"craik {facts['craik']}  " + "  ".join(f"{name} {v}" for name, v in packages.items()))
    for extra, names in extras.items():
        absent = [name for name, v in names.items() if v is None]
        state = f"absent: pip install 'craik[{extra}]'" if absent else "installed"
        print(f"extra [{extra}]: {state}")
    print(f"device: {facts['device']}; cpu: {facts['cpu']}; GPUs: {', '.join(facts['gpus']) or 'none'}")  # type: ignore
    arithmetic = "bf16" if facts["bf16"] else "float32 (no native bf16 here)"
    print(f"arithmetic of --precision auto: {arithmetic}")
    print(f"image cache: {cache['folder']} ({cache['used_mb']} MB used, {cache['disk_free_gb']} GB free)")
    print(f"self-test: {'passed' if test['ok'] else 'FAILED'} ({test['steps_per_s']} steps/s of ijepa:tiny)")
