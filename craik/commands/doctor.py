"""craik doctor: what works on this machine."""

import json
import math
import os
import shutil
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from craik.commands.arguments import parse, say

BASE = ("torch", "numpy", "safetensors", "tyro", "rich", "pillow", "pyarrow", "matplotlib")
EXTRAS = {
    "envs": ("gymnasium", "h5py"),
    "hub": ("huggingface_hub", "datasets"),
    "track": ("tensorboard",),
    "video": ("av",),
}
SECONDS = 2.0  # of the self-test


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Versions, devices, optional packages, the cache, and a self-test of two seconds. Downloads nothing."""

    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, slots=True)
class Cache:
    """Where decoded images are kept."""

    folder: str | None
    """None where nothing can be written: images are then decoded again by every run."""
    used_mb: float
    disk_free_gb: float


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How a tiny training run went."""

    ok: bool
    steps_per_s: float
    loss: float | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found on this machine."""

    craik: str
    packages: dict[str, str | None]
    """Version of each package that is needed; None where it is absent."""
    extras: dict[str, dict[str, str | None]]
    """The same for each extra."""
    device: str
    gpus: list[str]
    cpu: str
    bf16: bool
    cache: Cache
    self_test: SelfTest


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Doctor, arguments, "doctor")
    found = examine()
    if options.json:
        print(json.dumps(asdict(found)))
    else:
        show(found)
    if not found.self_test.ok:
        say("The self-test failed: install torch and craik anew in a fresh environment, then: craik doctor")
        return 1
    say("Next: craik demo")
    return 0


def examine() -> Findings:
    """Look at packages, devices and disk, and train for two seconds."""
    import torch

    from craik import __version__
    from craik.train.runtime import choose_device, native_bf16

    device = choose_device()
    return Findings(
        craik=__version__,
        packages={name: installed(name) for name in BASE},
        extras={extra: {name: installed(name) for name in names} for extra, names in EXTRAS.items()},
        device=str(device),
        gpus=[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        cpu=f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        bf16=native_bf16(device),
        cache=image_cache(),
        self_test=self_test(),
    )


def installed(name: str) -> str | None:
    """Version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def image_cache() -> Cache:
    """How much the cache holds, and how much room there is."""
    from craik.data.cache import cache_folder

    folder = cache_folder()
    if folder is None:
        return Cache(None, 0.0, 0.0)
    used = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    return Cache(str(folder), round(used / 1e6, 1), round(shutil.disk_usage(folder).free / 1e9, 1))


def self_test() -> SelfTest:
    """Train a tiny I-JEPA for two seconds; its loss has to be finite and its features alive."""
    import torch

    from craik.data.images import load_images
    from craik.data.loader import Loader
    from craik.recipes import find
    from craik.train.check import Checker
    from craik.train.runtime import Runtime
    from craik.train.step import NonFiniteError, Stepper

    torch.manual_seed(0)
    method = find("ijepa:tiny")
    recipe = method.build(method.config)
    images = load_images("toy:shapes?n=256", size=recipe.view.size, progress=False)
    runtime = Runtime(torch.device("cpu"), bf16=False)
    stepper = Stepper(recipe, runtime, total=1000)
    batches = iter(Loader(images, min(recipe.batch, 64), seed=0))
    began, loss = time.perf_counter(), math.nan
    try:
        while stepper.step == 0 or time.perf_counter() - began < SECONDS:
            loss = float(stepper.train_step(next(batches)).total)
    except NonFiniteError:
        return SelfTest(False, 0.0, None)
    finally:
        batches.close()
    rate = stepper.step / (time.perf_counter() - began)
    seen = Checker.create(recipe, runtime, images, num=128).observe(stepper.step)
    return SelfTest(math.isfinite(loss) and seen.relative_std > 1e-3, round(rate, 1), round(loss, 4))


def show(found: Findings) -> None:
    """The findings for people."""
    print(f"craik {found.craik}  " + "  ".join(f"{name} {v}" for name, v in found.packages.items()))
    for extra, names in found.extras.items():
        absent = [name for name, v in names.items() if v is None]
        print(f"extra [{extra}]: " + (f"absent: pip install 'craik[{extra}]'" if absent else "installed"))
    print(f"device: {found.device}; cpu: {found.cpu}; GPUs: {', '.join(found.gpus) or 'none'}")
    print(f"arithmetic of --precision auto: {'bf16' if found.bf16 else 'float32 (no native bf16 here)'}")
    cache = found.cache
    where = "none can be written; set CRAIK_CACHE=FOLDER" if cache.folder is None else cache.folder
    print(f"image cache: {where} ({cache.used_mb} MB used, {cache.disk_free_gb} GB free)")
    test = found.self_test
    print(f"self-test: {'passed' if test.ok else 'FAILED'} ({test.steps_per_s} steps/s of ijepa:tiny)")
