"""Key maps: which tensors of a public release make each of our parameters, and a strict comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from craik.errors import UsageError


@dataclass(frozen=True, slots=True)
class KeyMap:
    """Names of one public release for the parameters of an encoder or a predictor."""

    plain: Mapping[str, str]
    """Our name, or its beginning up to a dot, to theirs: what stands outside the blocks."""
    block: str
    """Their name of block {i}, with the dot that ends it."""
    parts: Mapping[str, tuple[str, ...]]
    """Our module in a block to theirs; several are stacked on the first axis (q, k, v)."""
    stacked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Our module outside the blocks to several of theirs, stacked likewise."""

    def theirs(self, ours: str) -> tuple[str, ...]:
        """Their names for our parameter, stacked in this order."""
        if ours.startswith("trunk.blocks."):
            index, rest = ours.removeprefix("trunk.blocks.").split(".", 1)
            part, leaf = rest.rsplit(".", 1)
            return tuple(f"{self.block.format(i=index)}{name}.{leaf}" for name in self.parts[part])
        if ours in self.plain:
            return (self.plain[ours],)
        module, leaf = ours.rsplit(".", 1)
        if module in self.stacked:
            return tuple(f"{name}.{leaf}" for name in self.stacked[module])
        return (f"{self.plain[module]}.{leaf}",)


def take_over(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], keys: KeyMap, origin: str) -> dict[str, Tensor]:
    """Their tensors under our names, float32 copies of our shapes.

    Args:
        theirs: State dict of the release, without prefix.
        ours: State dict of the module they are for; only names and shapes are looked at.
        keys: Key map of the release.
        origin: Where the tensors are from, for messages.

    Raises:
        UsageError: If any key is missing or unexpected, or any shape differs; all are named.
    """
    sources = {name: keys.theirs(name) for name in ours}
    known = [key for group in sources.values() for key in group]
    problems = [f"missing {key}" for key in known if key not in theirs]
    problems += [f"unexpected {key} {list(theirs[key].shape)}" for key in sorted(theirs.keys() - set(known))]
    if not problems:
        taken = {name: stack(name, [theirs[key] for key in group]) for name, group in sources.items()}
        problems = [
            f"shape of {' + '.join(sources[name])} is {list(tensor.shape)}, expected {list(ours[name].shape)}"
            for name, tensor in taken.items()
            if tensor.shape != ours[name].shape
        ]
    if problems:
        raise UsageError(
            f"{origin} does not have the layout it seems to have, so nothing was loaded:\n  "
            + "\n  ".join(problems)
            + "\nIs the file complete, and from a release that `craik weights info` knows?"
        )
    return {name: tensor.float().clone() for name, tensor in taken.items()}


def stack(ours: str, tensors: list[Tensor]) -> Tensor:
    """One tensor of our shape: fused q, k, v; a linear map for a convolution; a table without batch axis."""
    tensor = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    if ours == "tokenizer.proj.weight" and tensor.ndim > 2:
        return tensor.flatten(1)  # [D, C, p, p] -> [D, C * p * p]
    if ours == "position.table" and tensor.ndim == 3 and tensor.shape[0] == 1:
        return tensor[0]  # [1, N, D] -> [N, D]
    return tensor


def hand_over(ours: Mapping[str, Tensor], keys: KeyMap, channels: int, patch: tuple[int, ...]) -> dict[str, Tensor]:
    """Our tensors under their names and in their shapes: the inverse of `take_over`."""
    theirs: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        if name == "tokenizer.proj.weight":
            tensor = tensor.reshape(-1, channels, *patch)
        if name == "position.table":
            tensor = tensor.unsqueeze(0)
        group = keys.theirs(name)
        theirs |= dict(zip(group, tensor.detach().cpu().chunk(len(group)), strict=True))
    return {key: tensor.contiguous() for key, tensor in theirs.items()}
