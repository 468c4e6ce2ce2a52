"""Folders as transformers' `save_pretrained` writes them: config.json beside model.safetensors, whole or in shards."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from craik.errors import UsageError
from craik.weights.read import read_safetensors


def read_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """All tensors of a folder, or of its safetensors file; on device "meta" only shapes."""
    tensors: dict[str, Tensor] = {}
    for file in weight_files(path):
        tensors |= read_safetensors(file, device)
    return tensors


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a folder, one or several shards, or the file itself."""
    if not path.is_dir():
        return [path]
    index = path / "model.safetensors.index.json"
    if index.exists():
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not all(Path(str(name)).name == name for name in shards.values()):
            raise UsageError(f"{index} has no `weight_map` of files beside it; download the folder again")
        return [path / name for name in sorted(set(shards.values()))]
    if not (path / "model.safetensors").exists():
        raise UsageError(
            f"{path} holds no model.safetensors; expected a folder as transformers' save_pretrained writes it. "
            "For an official checkpoint give the .pth.tar file itself"
        )
    return [path / "model.safetensors"]


def read_json(path: Path) -> dict[str, object]:
    """An object from a JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not readable JSON ({error}); download it again") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} is not a JSON object; download it again")
    return content


def triple(values: object, default: tuple[float, float, float]) -> tuple[float, float, float]:
    """Three numbers of a list, or the default."""
    if isinstance(values, list) and len(values) == 3:
        return float(values[0]), float(values[1]), float(values[2])
    return default


def new_folder(folder: str | Path) -> Path:
    """A folder that may be written to.

    Raises:
        UsageError: If there is something in it.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty; name a new folder")
    return folder


def write_folder(folder: Path, tensors: dict[str, Tensor], files: Mapping[str, dict[str, object]]) -> Path:
    """Tensors as model.safetensors and JSON files beside it; the folder appears whole or not at all."""
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    scratch.mkdir(parents=True)
    try:
        save_file(tensors, scratch / "model.safetensors", metadata={"format": "pt"})
        for name, content in files.items():
            write_json(scratch / name, content)
        for file in scratch.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        if folder.exists():
            folder.rmdir()
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def write_json(path: Path, content: dict[str, object]) -> None:
    """Indented JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
