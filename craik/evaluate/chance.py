"""World models in a world of chance: are the futures they imagine those that happen, and what does z carry?

The same situations for all models, one or more steps ahead. Futures are those of the simulator, run many times from
the same state (`evaluate.branches`). Samples of a model are read out to the true state by ridge regression, so that
models with latents of their own are judged in the same units. Beside them stand three that keep a figure honest:

    simulator         as many runs of the simulator itself: as good as can be, and what chance alone makes of a share
    one future        the baseline, a model without z: it is near all futures and is none of them
    with noise        the same plus its own errors in other situations of the kind: whatever is drawn often comes near

Forks are situations with several futures. In the others a model with z has nothing to choose, and its samples are to
agree.

Letters: N situations, S samples, M futures, D features of a latent, K columns of the state.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from craik.core.latent_world import Control, LatentWorld, Steps
from craik.envs.world import World
from craik.errors import UsageError
from craik.evaluate.bootstrap import Interval
from craik.evaluate.branches import Branches, branch
from craik.evaluate.futures import (
    BestOf,
    Coverage,
    Ranks,
    best_of,
    coverage,
    mode_shares,
    noisy,
    rank_histogram,
    share_error,
)
from craik.evaluate.ridge import Ridge, fit_ridge

SIMULATOR = "simulator"
NUM_SITUATIONS = 300
NUM_READ = 2048  # frames that the state is learned to be read from
NUM_DRAWS = 64  # for shares and ranks
NUM_TRIED = 16  # of these, for the nearest and for coverage: K
NUM_RUNS = 64  # from which the true shares are known
CHUNK = 4096  # rows imagined, or frames encoded, at once
LEAST = 10  # situations of a kind


@dataclass(frozen=True, slots=True, eq=False)
class Seer:
    """A world model, and how frames are shown to it: `Seer(run.recipe.model, run.recipe.view.show)`."""

    model: LatentWorld
    """In evaluation mode."""
    show: Callable[[Tensor], Tensor]
    """Frames uint8 [..., C, H, W] as the model wants them."""

    def encode(self, frames: Tensor) -> Tensor:
        """Latents [N, T, D] or [N, T, P, D] of frames uint8 [N, T, C, H, W]."""
        return torch.cat([self.model.encode(self.show(part.to(self.device))) for part in frames.split(CHUNK // 8)])

    def imagine(self, seen: Tensor, given: Branches, z: Tensor | None = None) -> Tensor:
        """Latents [N, S, ...] that follow on latents seen [N, T, ...], with z [N, S, H, Z]; one default future without.

        z is of the model's prior, as `Latent.draw` gives it.
        """
        num = 1 if z is None else z.shape[1]
        rows = torch.arange(len(seen)).repeat_interleave(num)
        imagined = []
        for part in torch.arange(len(rows)).split(CHUNK):
            at = rows[part]
            past, actions = (a[at].to(self.device) for a in (given.past, given.actions))
            some = None if z is None else z.flatten(0, 1)[part].to(self.device)
            imagined.append(self.model.rollout(seen[at], past, actions, some)[:, -1])
        return torch.cat(imagined).unflatten(0, (len(seen), num))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device


@dataclass(frozen=True, slots=True)
class Score:
    """Samples of one source in situations of one kind, in units of the state."""

    source: str
    nearest: BestOf
    """Squared distance of the future that came true; `deterministic` and `noise` are the baseline's."""
    coverage: Coverage
    share_error: Interval
    """Total variation between shares of samples and of runs of the simulator, each counted to the nearest future."""
    ranks: Ranks
    """Of the true state among the samples. Harsh: the truth has no width, and a systematic error of a hundredth of a
    pixel puts it always on the same side of samples that agree."""

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of `ChanceReport.table`."""
        return (
            self.source,
            f"{self.nearest.best.value**0.5:.2f}",
            self.coverage.covered.percent(),
            self.coverage.precise.percent(),
            self.share_error.percent(),
            f"{100 * self.ranks.unevenness:.0f}" if len(self.ranks.counts) > 2 else "-",  # one sample has no ranks
        )


@dataclass(frozen=True, slots=True)
class Energies:
    """Of one model at forks, squared errors of its own latents over their variance."""

    model: str
    min_over_z: BestOf
    """The nearest of K draws; `deterministic` is the default future, `noise` that plus its errors elsewhere."""
    control: tuple[float, float, float] | None = None
    """Energy with the z inferred for a goal, with that of another row, and of another row's goal with the z inferred
    for it, as in `core.latent_world.Control`; None without z, or more than one step ahead."""


@dataclass(frozen=True, slots=True)
class Information:
    """What z carries per step [nats], as `core.latent` bounds it; means over situations."""

    model: str
    budget: float
    forks: float
    """Where there are several futures."""
    certain: float | None
    """Where there is one, and nothing to be told; None where there is no such situation."""


@dataclass(frozen=True, slots=True)
class ChanceReport:
    """Several models on the same situations."""

    world: str
    baseline: str
    horizon: int
    """Model steps ahead."""
    num_forks: int
    num_certain: int
    num_tried: int
    """K."""
    num_draws: int
    tolerance: float
    """Root mean squared distance over columns within which a future counts as met [units of the state]."""
    entropy: float
    """Of the futures at forks, mean [nats]: what z has to carry, if it is to tell which."""
    columns: tuple[str, ...]
    read_error: dict[str, float]
    """Root mean squared error of reading the columns from latents of the futures' own frames, by model."""
    forks: tuple[Score, ...]
    certain: tuple[Score, ...]
    energies: tuple[Energies, ...]
    information: tuple[Information, ...]

    def score(self, source: str, certain: bool = False) -> Score:
        """The score of a source at forks, or elsewhere; KeyError if there is none."""
        for score in self.certain if certain else self.forks:
            if score.source == source:
                return score
        raise KeyError(source)

    def to_json(self) -> dict[str, object]:
        """Plain values for `json.dump`."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return plain

    def summary(self) -> list[str]:
        """A sentence for each model with z: whether it is more than noise, what it covers, what z carries."""
        told = {row.model: row for row in self.information}
        lines = []
        for energy in self.energies:
            if energy.model == self.baseline or energy.model not in told:
                continue
            score, information = self.score(energy.model), told[energy.model]
            clearly = "is" if score.nearest.over_noise.high < 0 else "is not clearly"
            line = (
                f"{energy.model} {clearly} nearer to what came true than {self.baseline} with noise; it covers "
                f"{score.coverage.covered.percent()} % of the futures, {score.coverage.precise.percent()} % of its "
                f"samples are near one, and z carries {information.forks:.2f} of {information.budget:.2f} nats"
            )
            if energy.control is not None:
                own, shuffled, _ = energy.control
                line += f"; with another's z its energy is {shuffled / own:.1f} times as high"
            lines.append(f"{line}.")
        return lines

    def tables(self) -> tuple[Table, ...]:
        """Forks, situations with one future, energies, and information."""
        where = f"{self.world}, {self.horizon} steps ahead"
        found = [self._scores(f"{self.num_forks} forks of {where}", self.forks)]
        if self.certain:
            found.append(self._scores(f"{self.num_certain} situations with one future, {where}", self.certain))
        return (*found, self._energies(), *([self._information()] if self.information else []))

    def _scores(self, title: str, scores: tuple[Score, ...]) -> Table:
        best, draws = f"nearest of {self.num_tried}", f"of {self.num_draws}"
        names = (best, "futures covered %", "samples precise %", f"shares off %, {draws}", f"ranks uneven %, {draws}")
        table = Table(title=f"{title}: {', '.join(self.columns)}, within {self.tolerance:.2f}")
        table.add_column("source")
        for name in names:
            table.add_column(name, justify="right")
        for score in scores:
            table.add_row(*score.cells)
        return table

    def _energies(self) -> Table:
        table = Table(title="energy at forks, % of the variance of the model's own latents")
        names = ("one future", f"min over {self.num_tried} z", "one + noise", "own z", "another's z", "wrong goal")
        for name in ("model", *names):
            table.add_column(name, justify="right")
        for row in self.energies:
            found = row.min_over_z
            values = [found.deterministic.value, found.best.value, found.noise.value, *(row.control or ())]
            cells = [f"{100 * value:.2f}" for value in values]
            table.add_row(row.model, *cells, *["-"] * (len(names) - len(cells)))
        return table

    def _information(self) -> Table:
        table = Table(title=f"information in z [nats per step]; the futures of a fork have {self.entropy:.2f}")
        for name in ("model", "at forks", "elsewhere", "budget"):
            table.add_column(name, justify="right")
        for row in self.information:
            elsewhere = "-" if row.certain is None else f"{row.certain:.2f}"
            table.add_row(row.model, f"{row.forks:.2f}", elsewhere, f"{row.budget:.2f}")
        return table


@torch.no_grad()
def chance_report(
    seers: Mapping[str, Seer],
    world: World[Any],
    *,
    baseline: str,
    columns: Sequence[str],
    skip: int = 1,
    horizon: int = 1,
    num: int = NUM_SITUATIONS,
    tolerance: float | None = None,
    seed: int = 0,
) -> ChanceReport:
    """Compare world models on what they imagine where several things can happen.

    Args:
        seers: Models by their names, of the same frame skip.
        world: The simulator of the world that they were trained on.
        baseline: The one of them without z.
        columns: Of the state, as `world.truth_names` has them, in which futures are told apart.
        skip: Steps of the environment in a model step.
        horizon: Model steps ahead.
        num: Situations, forks and others.
        tolerance: Root mean squared distance over the columns within which a future is met; None takes a quarter of
            the median distance between two futures of a fork, so that their mean meets neither.
        seed: Decides all.

    Raises:
        UsageError: If the baseline or a column is not there, or the world has too few forks.
    """
    if baseline not in seers or seers[baseline].model.latent is not None:
        raise UsageError(f"the baseline is a model without z, one of {', '.join(seers)}; got {baseline}")
    if unknown := [name for name in columns if name not in world.truth_names]:
        raise UsageError(f"{world.name} has no {', '.join(unknown)}; its state is {', '.join(world.truth_names)}")
    history = max(seer.model.history for seer in seers.values())
    given = branch(world, num, 1 + NUM_DRAWS + NUM_RUNS, seed, history=history, skip=skip, horizon=horizon)
    kinds = [(given.modes[:, 1:] >= 0).any(1), (given.modes[:, 1:] < 0).all(1)]
    forks, certain = (given.take(kind.nonzero().flatten()) for kind in kinds)
    if len(forks.number) < LEAST:
        raise UsageError(
            f"{len(forks.number)} of {num} situations in {world.name} have several futures within {horizon} steps: "
            "nothing is left to chance here. Look further ahead, or take another world, such as ice"
        )
    wanted = [world.truth_names.index(name) for name in columns]
    reader = reading_lesson(world, wanted, seed)
    read = {name: Read(seer, given.frames, reader) for name, seer in seers.items()}
    states = given.states[:, wanted]
    if tolerance is None:
        tolerance = quarter(states, forks.modes)

    def scores(some: Branches) -> tuple[Score, ...]:
        if len(some.number) < LEAST:
            return ()
        return tuple(judged(sources(read, some, states, baseline, seed), some, states, tolerance, seed))

    modes_share = forks.shares(slice(1, None))
    asked = {name: one for name, one in read.items() if one.seer.model.latent is not None}
    return ChanceReport(
        world=world.name,
        baseline=baseline,
        horizon=horizon,
        num_forks=len(forks.number),
        num_certain=len(certain.number),
        num_tried=NUM_TRIED,
        num_draws=NUM_DRAWS,
        tolerance=tolerance,
        entropy=float(torch.special.entr(modes_share).sum(1).mean()),
        columns=tuple(columns),
        read_error={name: float((one.states - states).square().mean().sqrt()) for name, one in read.items()},
        forks=scores(forks),
        certain=scores(certain),
        energies=tuple(energies(name, one, forks, seed) for name, one in read.items()),
        information=tuple(information(name, one, forks, certain, seed) for name, one in asked.items() if horizon == 1),
    )


class Read:
    """A model, its latents of all futures, and how the state is read from them."""

    def __init__(self, seer: Seer, frames: Tensor, lesson: tuple[Tensor, Tensor]) -> None:
        pictures, states = lesson
        self.seer = seer
        self.latents = seer.encode(frames.unsqueeze(1))[:, 0]  # [P, ...]
        self.ridge: Ridge = fit_ridge(seer.encode(pictures.unsqueeze(1)).flatten(1).cpu(), states)
        self.states = self.read(self.latents)

    def read(self, latents: Tensor) -> Tensor:
        """The state [N, K], or [N, S, K], that latents [N, ...], or [N, S, ...], speak of, on the CPU."""
        lead = latents.shape[: latents.ndim - self.latents.ndim + 1]
        return self.ridge.predict(latents.reshape(*lead, -1).cpu())

    def samples(self, given: Branches, num: int, seed: int) -> Tensor:
        """Latents [N, S, ...] of the futures that the model imagines; one, its default, if `num` is 0."""
        seen, rng = self.seer.encode(given.seen), torch.Generator().manual_seed(seed)
        if not num:
            return self.seer.imagine(seen, given)
        draws = self.seer.model.variable().draw(len(seen) * num, given.actions.shape[1], rng)
        return self.seer.imagine(seen, given, draws.unflatten(0, (len(seen), num)))


def reading_lesson(world: World[Any], wanted: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """Frames uint8 [L, C, H, W] and states [L, K] to learn reading from: one step after a situation."""
    lesson = branch(world, NUM_READ, 1, seed + 1)
    return lesson.frames, lesson.states[:, wanted]


def quarter(states: Tensor, modes: Tensor) -> float:
    """A quarter of the median distance between the first two futures [N, M] of forks, by their states [P, K]."""
    first, second = states[modes[:, 0]], states[modes[:, 1]]
    return float((first - second).square().mean(-1).sqrt().median()) / 4


def sources(
    read: Mapping[str, Read], given: Branches, states: Tensor, baseline: str, seed: int
) -> Iterator[tuple[str, Tensor]]:
    """Names and samples [N, S, K]. The baseline comes first, by itself: the others are compared with it."""
    one = read[baseline].read(read[baseline].samples(given, 0, seed))
    yield baseline, one
    came = states[given.number[:, 0]]
    rng = torch.Generator().manual_seed(seed)
    yield f"{baseline} with noise", noisy(one[:, 0], came, NUM_DRAWS, rng)
    yield SIMULATOR, states[given.number[:, 1 : 1 + NUM_DRAWS]]
    for name, reader in read.items():
        if reader.seer.model.latent is not None:
            yield name, reader.read(reader.samples(given, NUM_DRAWS, seed))


def judged(
    found: Iterator[tuple[str, Tensor]], given: Branches, states: Tensor, tolerance: float, seed: int
) -> Iterator[Score]:
    """Scores of samples; the first of them is the one future that the others are compared with."""
    modes = states[given.modes].masked_fill(given.modes.unsqueeze(-1) < 0, torch.nan)  # [N, M, K]
    came, share = states[given.number[:, 0]], given.shares(slice(1 + NUM_DRAWS, None))
    single: Tensor | None = None
    for source, samples in found:
        single = samples[:, 0] if single is None else single
        rng = torch.Generator().manual_seed(seed)
        yield Score(
            source=source,
            nearest=best_of(samples[:, :NUM_TRIED], single, came, rng),
            coverage=coverage(samples[:, :NUM_TRIED], modes, tolerance, rng),
            share_error=share_error(mode_shares(samples, modes), share),
            ranks=rank_histogram(samples, came, rng),
        )


def energies(name: str, read: Read, forks: Branches, seed: int) -> Energies:
    """Of one model at forks, in its own latents."""
    rng = torch.Generator().manual_seed(seed)
    spread = float(read.latents.flatten(1).var(0, correction=0).mean())
    scale = spread**0.5
    latent = read.seer.model.latent
    samples, single = read.samples(forks, NUM_TRIED if latent else 0, seed), read.samples(forks, 0, seed)[:, 0]
    came = read.latents[forks.number[:, 0]]
    flat = (samples / scale).flatten(2), (single / scale).flatten(1), (came / scale).flatten(1)
    found = best_of(flat[0], flat[1], flat[2], rng)
    if latent is None or forks.actions.shape[1] > 1:
        return Energies(name, found)
    control = Control(*(energy / spread for energy in read.seer.model.control_of(as_steps(read, forks), rng)))
    return Energies(name, found, (float(control.own), float(control.shuffled), float(control.wrong)))


def information(name: str, read: Read, forks: Branches, certain: Branches, seed: int) -> Information:
    """What z carries, at forks and elsewhere, one step ahead."""
    rng, model = torch.Generator().manual_seed(seed), read.seer.model
    nats = [
        float(model.infer(as_steps(read, some), rng).nats) if len(some.number) else None for some in (forks, certain)
    ]
    assert nats[0] is not None
    return Information(name, model.variable().budget, nats[0], nats[1])


def as_steps(read: Read, given: Branches) -> Steps:
    """The one step of each situation, and where it led to in the run that came true."""
    model, device = read.seer.model, read.seer.device
    seen = read.seer.encode(given.seen)[:, -model.history :]
    taken = torch.cat([given.past, given.actions], 1)[:, -seen.shape[1] :].to(device)
    cond = model.actions(model.scale(taken))
    known, _ = model.past(seen, cond, None)
    return Steps(seen, torch.cat([known, cond[:, -1:]], 1), read.latents[given.number[:, :1]])
