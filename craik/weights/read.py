"""Reading foreign files: tensors come out, code never runs, and damage is named."""

import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from craik.errors import UsageError

DAMAGE = (
    RuntimeError,
    EOFError,
    OSError,
    pickle.UnpicklingError,
    struct.error,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
)
"""What the unpickler raises on bytes that are no checkpoint, or no longer one."""


def read_checkpoint(path: Path, device: str = "cpu") -> dict[str, object]:
    """Entries of a torch checkpoint file; on device "meta" only shapes are read.

    Raises:
        UsageError: If the file is missing, empty, damaged, no checkpoint, or carries code.
    """
    check_file(path)
    whole = zipfile.is_zipfile(path)  # only this format can be mapped, so that optimizer states stay on disk
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            entries = torch.load(path, map_location=device, weights_only=True, mmap=True if whole else None)
    except DAMAGE as error:
        raise UsageError(explain(path, error)) from None
    if not isinstance(entries, dict):
        raise UsageError(
            f"{path} holds a {type(entries).__name__}, not the entries of a checkpoint; "
            "expected a file with `encoder` and `target_encoder`, or a Hugging Face folder"
        )
    return {str(name): value for name, value in entries.items()}


def explain(path: Path, error: Exception) -> str:
    """Why a torch checkpoint could not be read."""
    code = re.search(r"GLOBAL (\S+)", str(error))
    if isinstance(error, pickle.UnpicklingError) and code is not None:
        return (
            f"{path} carries code ({code.group(1)}) and was refused; nothing of it was run. "
            "Ask its author for a file of plain tensors, best a .safetensors file"
        )
    return (
        f"{path} is damaged or not a torch checkpoint ({path.stat().st_size} bytes). Download it again and compare "
        "its size or checksum with the source"
    )


def read_safetensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Tensors of a safetensors file; on device "meta" only shapes are read.

    Raises:
        UsageError: If the file is missing, empty, damaged or of another format.
    """
    check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            if device == "meta":
                slices = {key: file.get_slice(key) for key in file.keys()}
                return {key: torch.empty(part.get_shape(), device="meta") for key, part in slices.items()}
            return {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise UsageError(
            f"{path} is damaged or not a safetensors file ({path.stat().st_size} bytes: {error}). Download it again"
        ) from None


def check_file(path: Path) -> None:
    """Refuse what is missing, a folder, or empty."""
    if not path.exists():
        raise UsageError(
            f"no such file: {path}. Released weights are not downloaded by themselves; "
            "fetch them first, for example `hf download facebook/ijepa_vith14_1k --local-dir weights/vith14`"
        )
    if path.is_dir():
        raise UsageError(f"{path} is a folder; a file was expected")
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty; was the download cut off? Download it again")
