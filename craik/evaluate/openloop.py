"""Open loop on recorded episodes: how far a world model sees, and whether it listens to the actions. No simulator.

The model sees the first frames of a window and every action, never a later frame. Its error at each step stands beside
that of a world that stands still (the last latent seen), of the same model with the mean action in place of the true
ones, and with the actions of another episode. A model that ignores actions is as good with wrong ones.

Errors are squared, over the variance of the latents that were to be predicted: 1 is as good as their mean. A collapsed
encoder is refused, for its errors mean nothing.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from craik.core.world import WorldModel
from craik.data.episode import Episodes
from craik.data.windows import Clips, Windows
from craik.errors import UsageError
from craik.evaluate.bootstrap import Interval, difference_interval, mean_interval

HORIZON = 16  # model steps
NUM_WINDOWS = 256
NUM_RANDOM = 64  # actions that the true one is compared with
CHUNK = 32  # windows in memory at once
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Ahead:
    """Errors so many steps ahead, means over windows with 95 % intervals; differences are paired."""

    steps: int
    """Model steps."""
    model: Interval
    copy: Interval
    """Of the last latent seen."""
    no_action: Interval
    """Of the model, every action to be imagined replaced by the mean action."""
    wrong_action: Interval
    """Of the model, with the actions of another episode."""
    over_copy: Interval
    """model - copy: below 0 is better."""
    over_no_action: Interval
    over_wrong_action: Interval


@dataclass(frozen=True, slots=True)
class TrueAction:
    """One step ahead: the energy of the action that was taken, among actions that were taken elsewhere."""

    rank: Interval
    """Share of the others with a higher energy, ties counted half: 1 is best, 0.5 is chance."""
    lowest: Interval
    """Share of the steps at which no other has a lower energy; chance is 1 / (num_random + 1)."""
    energy: Interval
    """Of the true action: squared error over the variance of the latents."""
    random: Interval
    """Mean energy of the others."""
    num_random: int


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Prediction on episodes that the model was not trained on."""

    data: str
    num_windows: int
    """Of which no two overlap, unless there were too few."""
    history: int
    """Frames seen first."""
    skip: int
    """Steps of the environment in a model step."""
    ahead: tuple[Ahead, ...]
    """One step ahead, two, ..."""
    action: TrueAction

    def to_json(self) -> dict[str, object]:
        """Plain values for `json.dump`."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return plain

    def table(self) -> Table:
        """A row per horizon (1, 2, 4, ... and the last), a column per baseline."""
        title = f"Open-loop error over the variance of the latents (95 % interval), {self.num_windows:,} windows"
        table = Table(title=title)
        for name in ("steps ahead", "model", "copy last", "no action", "wrong actions"):
            table.add_column(name, justify="right")
        for row in self.ahead:
            if row.steps & (row.steps - 1) == 0 or row is self.ahead[-1]:
                cells = (row.model, row.copy, row.no_action, row.wrong_action)
                table.add_row(str(row.steps), *(around(cell) for cell in cells))
        return table

    def summary(self) -> list[str]:
        """Sentences for people: how far it beats standing still, whether it listens, and the true action."""
        good = 0
        for row in self.ahead:
            if row.over_copy.high >= 0:
                break
            good = row.steps
        last = self.ahead[-1]
        seen = f"1 to {good} steps ahead" if good else "at no horizon from the first step on"
        heard = (
            "listens to the actions" if last.over_wrong_action.high < 0 else "does not clearly listen to the actions"
        )
        rank, lowest = self.action.rank, self.action.lowest
        return [
            f"The model beats a world that stands still {seen}, of {last.steps} looked at.",
            f"It {heard}: {last.steps} steps ahead its error is {last.model.value:.3g}, with those of another episode "
            f"{last.wrong_action.value:.3g}.",
            f"The true action has a lower energy than {rank.percent()} % of {self.action.num_random} others (chance: "
            f"50), and the lowest of all at {lowest.percent()} % of the steps "
            f"(chance: {100 / (self.action.num_random + 1):.1f}).",
        ]


def open_loop(
    model: WorldModel,
    episodes: Episodes,
    *,
    history: int,
    skip: int = 1,
    horizon: int = HORIZON,
    num_windows: int = NUM_WINDOWS,
    num_random: int = NUM_RANDOM,
    seed: int = 0,
) -> OpenLoop:
    """Measure prediction on recorded episodes.

    Args:
        model: As `craik.load` gives it: `encode` takes raw frames, uint8 [B, T, C, H, W]. In evaluation mode.
        episodes: Held out, two or more, with actions.
        history: Frames that the model sees before it predicts.
        skip: Steps of the environment in a model step.
        horizon: Model steps to look ahead; fewer where episodes are shorter.
        num_windows: Windows at most, spread over the episodes.
        num_random: Other actions that each true one is compared with.
        seed: Draws other episodes and other actions.

    Raises:
        UsageError: If there are no actions, too few or too short episodes, or the latents do not vary.
    """
    windows, rows = spaced(episodes, history, skip, horizon, num_windows)
    rng = torch.Generator().manual_seed(seed)
    actions = every_action(windows, rows)
    other = from_other_episodes(windows, rows, rng)
    found = Found([], [], [])
    for part in np.array_split(np.arange(len(rows)), -(-len(rows) // CHUNK)):
        clips = windows.read(rows[part])
        one = Chunk(model, clips, history, actions.mean((0, 1)), actions[other[part]])
        with torch.inference_mode():
            found.errors.append(one.errors())
            found.goals.append(one.goals.cpu())
            found.energies.append(one.energies(actions.flatten(0, 1), num_random, rng))
    spread = variance(torch.cat(found.goals))
    errors = (torch.cat(found.errors) / spread).unbind(1)  # each [M, H]
    ahead = tuple(at_horizon(step, *(error[:, step] for error in errors)) for step in range(errors[0].shape[1]))
    action = true_action(torch.cat(found.energies) / spread)
    return OpenLoop(episodes.name, len(rows), history, skip, ahead, action)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What chunks have given, in their order."""

    errors: list[Tensor]
    """Squared errors [n, 4, H] of model, copy, no action, wrong actions."""
    goals: list[Tensor]
    """Latents to be predicted [n, H, ...]."""
    energies: list[Tensor]
    """[n, 1 + num_random], the true action first."""


class Chunk:
    """Some windows in latents, and what is imagined of them."""

    def __init__(self, model: WorldModel, clips: Clips, history: int, mean: Tensor, wrong: Tensor) -> None:
        assert clips.actions is not None
        with torch.inference_mode():
            latents = model.encode(clips.frames)
        self.model = model
        self.seen, self.goals = latents[:, :history], latents[:, history:]
        self.past, self.future = (a.to(latents.device) for a in clips.actions.tensor_split([history - 1], 1))
        self.mean = mean.to(latents.device).expand_as(self.future)
        self.wrong = wrong[:, history - 1 :].to(latents.device)

    def errors(self) -> Tensor:
        """Squared errors of model, copy, no action, wrong actions, mean over features, [n, 4, H] on the CPU."""
        imagined = [self.model.rollout(self.seen, self.past, a) for a in (self.future, self.mean, self.wrong)]
        guesses = [imagined[0], self.seen[:, -1:].expand_as(self.goals), *imagined[1:]]
        return torch.stack([squared_error(guess, self.goals) for guess in guesses], 1).cpu()

    def energies(self, pool: Tensor, num: int, rng: torch.Generator) -> Tensor:
        """Energies one step ahead of the true action, and of `num` drawn from the pool [P, A]; [n, 1 + num]."""
        drawn = pool[torch.randint(len(pool), (num, len(self.seen)), generator=rng)].to(self.seen.device)
        tried = [self.future[:, :1], *drawn.unsqueeze(2)]
        found = [squared_error(self.model.rollout(self.seen, self.past, a), self.goals[:, :1]) for a in tried]
        return torch.cat(found, 1).cpu()


def spaced(episodes: Episodes, history: int, skip: int, horizon: int, num: int) -> tuple[Windows, np.ndarray]:
    """Windows of history + horizon frames and which of them to look at, int64 [M]: apart where there are enough.

    Raises:
        UsageError: If there are no actions, or no episode is long enough for a single step ahead.
    """
    if episodes.actions is None:
        raise UsageError(f"{episodes.name}: it has no actions, and without them nothing can be imagined")
    longest = (int(episodes.lengths.max()) - 1) // skip + 1  # frames of a window
    ahead = min(horizon, longest - history)
    if ahead < 1:
        raise UsageError(
            f"{episodes.name}: the longest episode has {int(episodes.lengths.max())} frames, and the model sees "
            f"{history} with skip {skip} before it predicts: give episodes of at least {history * skip + 1} frames"
        )
    apart = Windows(episodes, history + ahead, skip, every=(history + ahead - 1) * skip + 1)
    windows = apart if len(apart) >= num // 4 else Windows(episodes, history + ahead, skip)
    return windows, np.linspace(0, len(windows) - 1, min(num, len(windows))).astype(np.int64)


def every_action(windows: Windows, rows: np.ndarray) -> Tensor:
    """The actions of windows, [M, T - 1, A]."""
    return torch.cat(list(read_actions(windows, rows)))


def read_actions(windows: Windows, rows: np.ndarray) -> Iterator[Tensor]:
    """The same chunk by chunk, so that few frames are in memory."""
    for part in np.array_split(rows, -(-len(rows) // CHUNK)):
        actions = windows.read(part).actions
        assert actions is not None
        yield actions


def from_other_episodes(windows: Windows, rows: np.ndarray, rng: torch.Generator) -> Tensor:
    """For each window a random one of another episode, int64 [M], as places in `rows`.

    Raises:
        UsageError: If all windows are of one episode.
    """
    episode = torch.from_numpy(windows.locate(rows)[0])
    if len(episode.unique()) < 2:
        raise UsageError(f"{windows.name}: wrong actions come from another episode, and there is but one long enough")
    apart = episode.unsqueeze(1) != episode
    return torch.multinomial(apart.double(), 1, generator=rng)[:, 0]


def squared_error(imagined: Tensor, goals: Tensor) -> Tensor:
    """Mean over features of the squared difference, [n, H], of latents [n, H, ...]."""
    return (imagined - goals).float().square().flatten(2).mean(-1)


def variance(latents: Tensor) -> float:
    """Variance of latents [M, H, ...] over all but the features, mean over features.

    Raises:
        UsageError: If they are not finite or do not vary.
    """
    flat = latents.double().flatten(0, 1)
    spread = float((flat - flat.mean(0)).square().mean())
    if not spread > LEAST_VARIANCE:  # NaN too
        raise UsageError(
            f"the latents of {len(flat):,} frames do not vary (variance {spread:.2g}): the encoder has collapsed, and "
            "its errors mean nothing. See the alarms of the run: craik report RUN"
        )
    return spread


def at_horizon(step: int, model: Tensor, copy: Tensor, no_action: Tensor, wrong: Tensor) -> Ahead:
    """Intervals of the errors [M] of one horizon."""
    alone = [mean_interval(error) for error in (model, copy, no_action, wrong)]
    paired = [difference_interval(model, error) for error in (copy, no_action, wrong)]
    return Ahead(step + 1, *alone, *paired)


def true_action(energies: Tensor) -> TrueAction:
    """Where the first of energies [M, 1 + R] stands among the others."""
    true, others = energies[:, :1], energies[:, 1:]
    rank = ((others > true).double() + (others == true).double() / 2).mean(1)
    return TrueAction(
        rank=mean_interval(rank),
        lowest=mean_interval((others >= true).all(1).double()),
        energy=mean_interval(true[:, 0]),
        random=mean_interval(others.mean(1)),
        num_random=others.shape[1],
    )


def around(interval: Interval) -> str:
    """A figure and its interval, `0.123 (0.101-0.150)`."""
    return f"{interval.value:.3g} ({interval.low:.3g}-{interval.high:.3g})"
