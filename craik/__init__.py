"""Craik: Joint-Embedding Predictive Architectures.

`craik.load("runs/a").embed(images)` is all that a notebook needs; `craik.core` is where to start reading.
Importing this package loads no torch.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["from_pretrained", "load", "push_to_hub", "save_pretrained"]

if TYPE_CHECKING:
    from craik.api import from_pretrained, load, push_to_hub, save_pretrained


def __getattr__(name: str) -> Any:
    if name in __all__:
        from craik import api

        return getattr(api, name)
    raise AttributeError(f"module 'craik' has no attribute {name!r}")
