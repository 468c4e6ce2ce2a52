"""What a report shows of a world model: its episodes, the model, and the same networks with fresh weights."""

import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from craik.api import Model
from craik.data.episode import Episodes
from craik.data.windows import Windows
from craik.errors import UsageError
from craik.evaluate.bank import Bank, bank_of, spread_rows
from craik.pretrain import Data
from craik.pretrain.on_episodes import Recorded
from craik.report.record import Record
from craik.train.recipe import Window

SECONDS = 40.0  # that looking may take; less is looked at where it would take longer
NUM_LOOKED_AT = 20_000  # frames that are encoded for a whole report
LEAST_SHARE = 0.1
BANK = 2000  # frames
BANK_NUMBERS = 1 << 25  # of all latents of the bank together


@dataclass(frozen=True, slots=True, eq=False)
class WorldScene:
    """Everything that the pictures of a world model need."""

    model: Model
    untrained: Model
    every: Episodes
    train: Episodes
    held: Episodes
    """Not trained on, unless `seen_all`."""
    share: float
    """Of the usual amount that is looked at."""

    @property
    def window(self) -> Window:
        """What the model wants of episodes."""
        assert self.model.recipe.window is not None
        return self.model.recipe.window

    def some(self, usual: int) -> int:
        """How many to look at, of what usually is."""
        return max(16, round(usual * self.share))

    def windows(self, ahead: int) -> Windows:
        """Held-out windows of the frames seen and up to `ahead` more.

        Raises:
            UsageError: If no episode is long enough.
        """
        longest = (int(self.held.lengths.max()) - 1) // self.window.skip + 1
        return Windows(self.held, min(self.window.history + ahead, longest), self.window.skip)

    def bank(self, *frames: np.ndarray) -> Bank:
        """Frames uint8 [n, H, W, C] with some of the training episodes, and their latents."""
        one = self.model.encode(torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8)).numel()
        rows = spread_rows(self.train, min(self.some(BANK), max(64, BANK_NUMBERS // one)))
        return bank_of(self.model, self.train.frames.read(rows), *frames)


def open_world_data(model: Model, record: Record, path: str | None, notes: list[str]) -> Recorded | None:
    """The episodes of a run, or others; None, with a note, where those of the run are gone.

    Raises:
        UsageError: If `path` is given and holds no episodes that fit the model.
    """
    assert model.recipe.window is not None
    if path is not None:
        every = Episodes.open(path)
        refuse_other_actions(every, model.recipe.window)
        notes.append(f"Pictures show {path}, not the data of the run. All of it counts as held out.")
        half, rest = every.split(0.5) if len(every) > 1 else (every, every)
        return Recorded(every, half, rest)
    stored = record.config.get("data") or {}
    known = {f.name for f in fields(Data)}
    try:
        found = Recorded.open(Data(**{key: value for key, value in stored.items() if key in known}))
        refuse_other_actions(found.every, model.recipe.window)
    except UsageError as error:
        notes.append(
            f"The data of the run cannot be read, so only curves are drawn ({error}). "
            f"Give another place: craik report {record.path} --data EPISODES"
        )
        return None
    if found.every.fingerprint != stored.get("fingerprint"):
        notes.append(f"{stored.get('data')} has changed since the run: pictures show it as it is now.")
    if found.held is None:
        notes.append("There is one episode, so nothing is held out: the figures are of what was trained on.")
    return found


def refuse_other_actions(episodes: Episodes, window: Window) -> None:
    """Refuse episodes whose actions the model does not take.

    Raises:
        UsageError: If their size differs.
    """
    if episodes.action_size != window.action_size:
        raise UsageError(
            f"{episodes.name} has actions of {episodes.action_size} numbers and the model takes {window.action_size}"
        )


def look_at_world(model: Model, record: Record, data: Recorded) -> WorldScene:
    """The scene of a run."""
    fresh = model.untrained(int((record.config.get("conduct") or {}).get("seed", 0)) + 1)
    held = data.train if data.held is None else data.held
    return WorldScene(model, fresh, data.every, data.train, held, affordable(model, data.every))


def affordable(model: Model, episodes: Episodes) -> float:
    """Share of the usual amount that can be looked at in `SECONDS`."""
    frames = torch.from_numpy(episodes.frames.read(spread_rows(episodes, 32))).permute(0, 3, 1, 2).unsqueeze(1)
    model.encode(frames)
    began = time.perf_counter()
    model.encode(frames)
    rate = len(frames) / (time.perf_counter() - began)
    return float(np.clip(SECONDS * rate / NUM_LOOKED_AT, LEAST_SHARE, 1.0))


def source_of(episodes: Episodes) -> tuple[str, str]:
    """The built-in world that episodes were collected in, and the policy.

    Raises:
        UsageError: If they are from elsewhere. Code of users is not run for a report.
    """
    origins = [origin for origin in episodes.layout.origins if origin.policy is not None]
    if not origins:
        raise UsageError("the episodes were imported, and the test wants a simulator")
    source = origins[-1].source
    if ".py" in source or source.startswith("gym:"):
        raise UsageError(f"the episodes are from {Path(source).name}, and the test is made for the worlds of Craik")
    return source, str(origins[-1].policy)
