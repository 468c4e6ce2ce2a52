"""craik embed: features of images, in a file."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from craik.commands.arguments import parse, quoted, say
from craik.commands.data import Labels, tell
from craik.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from craik.data.images import ImageData

SUFFIXES = (".npz", ".parquet", ".safetensors")


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Features of images as npz, parquet or safetensors, with the path of each image beside them."""

    run: tyro.conf.Positional[str]
    """Run folder, or a model folder."""
    images: tyro.conf.Positional[str]
    """Folder, archive, parquet file, or one image."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """File to write: .npz, .parquet or .safetensors."""
    pool: Literal["mean", "last4", "tokens"] = "mean"
    """Mean over the last layer's tokens, means of the last four layers side by side, or all tokens."""
    labels: Annotated[Labels, tyro.conf.arg(name="")] = field(default_factory=Labels)
    split: str | None = None
    """Split of the data, where it has several."""
    limit: int | None = None
    """Use only so many images."""
    batch: int = 256
    """Images at a time."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    overwrite: bool = False
    """Replace a file that exists."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Embed, arguments, "embed")
    if options.out.suffix not in SUFFIXES:
        raise UsageError(f"-o {options.out}: end it in one of {', '.join(SUFFIXES)}")
    if options.out.exists() and not options.overwrite:
        raise UsageError(f"-o {options.out} exists; name another file, or --overwrite it")
    if options.batch < 1:
        raise UsageError(f"--batch {options.batch}: give at least 1")
    if options.pool == "tokens" and options.out.suffix == ".parquet":
        raise UsageError("tokens do not fit a table: use -o FILE.npz or FILE.safetensors")
    from craik import api
    from craik.evaluate.features import extract
    from craik.probe_run import Source, read

    model = api.load(options.run, device=options.device)
    images = read(
        Source(
            path=options.images, labels=options.labels.spec(options.split), split=options.split, limit=options.limit
        ),
        model.recipe.view.size,
        model.recipe.clip,
    )
    tell(images)
    featurizer = model.featurizer(api.parse_pool(options.pool))
    features = extract(featurizer, images, batch=options.batch, progress=True).numpy()
    write(options.out, features, images)
    row = {"out": str(options.out), "shape": list(features.shape), "pool": options.pool, "model": model.name}
    if options.json:
        print(json.dumps(row))
    which = "target (EMA) encoder" if model.has_slow_target else "encoder"
    what = f"{featurizer.pool.described}, of the {which}"
    if model.recipe.window is not None and options.pool != "last4":
        what = "latents of the world model"
    say(f"{options.out}: {list(features.shape)} float32, {what}")
    say(f"Next: craik search {quoted(options.run)} QUERY.jpg --in {quoted(options.images)}")
    return 0


def write(out: Path, features: NDArray[np.float32], images: ImageData) -> None:
    """Write features, paths and labels so that the file is whole or absent."""
    import numpy as np

    from craik.train.run import write_atomic

    paths = [str(path) for path in images.paths]
    buffer = io.BytesIO()
    if out.suffix == ".npz":
        extra = {} if images.labels is None else {"labels": images.labels, "class_names": np.array(images.class_names)}
        np.savez(buffer, features=features, paths=np.array(paths), **extra)
    elif out.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        flat = pa.array(features.reshape(-1))
        columns = {"path": pa.array(paths), "embedding": pa.FixedSizeListArray.from_arrays(flat, features.shape[1])}
        if images.labels is not None:
            columns["label"] = pa.array(images.labels)
        pq.write_table(pa.table(columns), buffer)
    else:
        import torch
        from safetensors.torch import save

        tensors = {"features": torch.from_numpy(features)}
        if images.labels is not None:
            tensors["labels"] = torch.from_numpy(np.ascontiguousarray(images.labels))
        buffer.write(save(tensors, {"paths": json.dumps(paths)}))
    write_atomic(out, buffer.getvalue())
