"""A mirror of the metrics as TensorBoard files."""

from collections.abc import Callable, Mapping
from typing import Any

from craik.errors import UsageError
from craik.train.run import RunFolder


def mirror(folder: RunFolder) -> Callable[[int, Mapping[str, Any]], None]:
    """A writer of TensorBoard files in the run folder."""
    writer = require_tensorboard()(str(folder.path / "tensorboard"))

    def write(step: int, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                writer.add_scalar(name, value, step)
        writer.flush()

    return write


def require_tensorboard() -> Any:
    """The SummaryWriter of torch, or an error that names the extra."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs TensorBoard: pip install 'craik[track]'") from None
    return SummaryWriter
