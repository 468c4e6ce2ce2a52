"""Data sets of the Hugging Face hub, through the optional `datasets` package."""

import importlib
from types import ModuleType
from typing import Any

from craik.data.labels import LabelSpec, number_labels, own_column
from craik.data.listing import Source, digest
from craik.errors import UsageError


def open_hub(name: str, spec: LabelSpec | None, split: str | None) -> Source:
    """Opens a data set by its hub id; its images are read as they are stored.

    Args:
        name: `NAME` or `OWNER/NAME`, with the configuration after a colon if it needs one.
        spec: names the label column.
        split: the split to use; `train` by default.

    Raises:
        UsageError: the `hub` extra is not installed; unknown id; no network; no image column; no such label column.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise UsageError(
            f"{name}: no such file or folder, and data sets of the hub need: pip install 'craik[hub]'"
        ) from None
    data = _load(datasets, name, split or "train")
    column = next((c for c, kind in data.features.items() if isinstance(kind, datasets.Image)), None)
    if column is None:
        raise UsageError(f"hf:{name}: no image column, but {', '.join(data.features)}. Use a data set of images.")
    data = data.cast_column(column, datasets.Image(decode=False))
    labels, class_names, spec = None, None, spec or LabelSpec()
    label = own_column(f"hf:{name}", list(data.features), spec) if spec.file is None else None
    if label is not None:
        labels, class_names = number_labels(list(data[label]))
        declared = getattr(data.features[label], "names", None)
        class_names = tuple(declared) if declared else class_names
    identity = digest("hub", name, split or "train", str(getattr(data, "_fingerprint", len(data))), column)

    def read(index: int) -> bytes:
        entry = data[index][column]
        if entry["bytes"] is not None:
            return bytes(entry["bytes"])
        with open(entry["path"], "rb") as file:
            return file.read()

    paths = [f"{split or 'train'}/{row}" for row in range(len(data))]
    return Source(f"hf:{name}", paths, read, identity, identity, labels, class_names)


def _load(datasets: ModuleType, name: str, split: str) -> Any:
    """The `datasets.Dataset` of a split."""
    ident, _, config = name.partition(":")
    try:
        return datasets.load_dataset(ident, config or None, split=split)
    except ValueError as error:
        raise UsageError(f"hf:{name}: {_line(error)} Choose with --split, or hf:{ident}:CONFIG.") from None
    except network_errors() as error:
        raise UsageError(
            f"hf:{name}: the hub is unreachable or has no such data set, and there is no offline copy "
            f"({type(error).__name__}: {_line(error)}). Pass a local folder or .parquet file with --data, "
            "or set HF_HOME to where a copy lies."
        ) from None


def network_errors() -> tuple[type[Exception], ...]:
    """What the hub client raises: OSError and its kin, and those of its http library."""
    errors: list[type[Exception]] = [OSError, RuntimeError]
    for module, kind in (
        ("httpx", "HTTPError"),
        ("httpx2", "HTTPError"),
        ("huggingface_hub.errors", "HfHubHTTPError"),
        ("huggingface_hub.errors", "HFValidationError"),
    ):
        try:
            errors.append(getattr(importlib.import_module(module), kind))
        except (ImportError, AttributeError):
            continue
    return tuple(errors)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:200]
