"""Short-term memory: what was, what was done, and what it cost; the critic's replay.

Source: LeCun 2022, section 3 (short-term memory) and 3.4 (training the critic).
"""

from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from craik.agent.experience import Experience
from craik.errors import UsageError

Row = TypeVar("Row", bound=tuple[Tensor, ...])


class Moment(NamedTuple):
    """One step of a life, or many of them along the first axis."""

    time: Tensor
    """Steps of the model since the episode began, int64 [B]."""
    state: Tensor
    """Latents [B, D]."""
    action: Tensor
    """Taken there, [B, A]."""
    cost: Tensor
    """Intrinsic cost there, [B]."""
    episode: Tensor
    """Which episode, int64 [B]."""


class Recall(NamedTuple):
    """What memory holds nearest to a query."""

    moments: Moment
    """Each field [Q, k, ...], the nearest first."""
    distance: Tensor
    """Squared latent distance to the query, [Q, k]."""


class Ring(Generic[Row]):
    """The last `capacity` rows of a named tuple of tensors; the oldest are overwritten."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise UsageError(f"a memory wants room for 1 row at least; got {capacity}")
        self.capacity = capacity
        self.written = 0
        """Rows ever written."""
        self._columns: Row | None = None

    def __len__(self) -> int:
        return min(self.written, self.capacity)

    def write(self, rows: Row) -> None:
        """Append rows, each field [B, ...].

        Raises:
            ValueError: If the fields have unequal lengths, or other shapes than those before.
        """
        num = len(rows[0])
        if self._columns is None:
            self._columns = _like(rows, [x.new_empty(self.capacity, *x.shape[1:]) for x in rows])
        for column, new in zip(self._columns, rows, strict=True):
            if len(new) != num or new.shape[1:] != column.shape[1:]:
                raise ValueError(f"memory holds rows of {list(column.shape[1:])}; got {list(new.shape)} of {num} rows")
        first = max(0, num - self.capacity)  # of more than there is room for, only the last stay
        places = (self.written + torch.arange(first, num)) % self.capacity
        for column, new in zip(self._columns, rows, strict=True):
            column[places.to(column.device)] = new[first:].detach().to(column)
        self.written += num

    def rows(self) -> Row:
        """All rows, oldest first, each field [len, ...].

        Raises:
            UsageError: If nothing was written yet.
        """
        if self._columns is None:
            raise UsageError("memory is empty: let the agent act first")
        if self.written <= self.capacity:
            return _like(self._columns, [column[: self.written] for column in self._columns])
        return _like(self._columns, [column.roll(-(self.written % self.capacity), 0) for column in self._columns])


class Memory(Ring[Moment]):
    """The last `capacity` moments of all environments."""

    def read(self, query: Tensor, k: int) -> Recall:
        """The k moments whose states lie nearest to queries [Q, D]; all of them, where fewer are held."""
        moments = self.rows()
        distance = torch.cdist(query.flatten(1).to(moments.state), moments.state.flatten(1)).square()
        nearest, index = distance.topk(min(k, len(self)), largest=False)
        return Recall(Moment(*(column[index] for column in moments)), nearest)

    def experiences(self) -> list[Experience]:
        """The episodes held, as far as they are held, to train a critic on; those of 2 moments or more."""
        moments = self.rows()
        found = []
        for episode in moments.episode.unique():
            mine = moments.episode == episode  # the oldest moments of an episode are lost first, so no gap arises
            if int(mine.sum()) > 1:
                found.append(Experience(moments.state[mine], moments.action[mine][:-1]))
        return found


def _like(rows: Row, columns: list[Tensor]) -> Row:
    """A named tuple of the same kind."""
    return type(rows)(*columns)
