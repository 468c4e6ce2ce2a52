"""Health: names what is wrong with a run, with evidence and a cure. It never stops a run by itself.

The loss of a JEPA is no sign of health: the lowest energy belongs to a collapsed model. So every check looks at the
representation itself, and at the predictor's error beside that of predictors which know nothing.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum

import torch
from torch import Tensor

from craik.core.collapse import Spectrum, VarianceShare
from craik.core.jepa import Latents
from craik.core.target import Normalize, layer_normalize


class Failure(StrEnum):
    """Ways in which a run fails."""

    full_collapse = "full collapse"
    dimensional_collapse = "dimensional collapse"
    position_only_targets = "position-only targets"
    predictor_no_better = "predictor no better than the mean"
    dead_target = "dead target"
    non_finite = "non-finite values"
    exploding_gradients = "exploding gradients"
    data_starvation = "data starvation"
    throughput_drop = "throughput drop"


CURES = {
    Failure.full_collapse: "lower the learning rate 4 times (--optim.lr), start the target momentum higher "
    "(--momentum 0.998 1), or raise the weight of the regularizer",
    Failure.dimensional_collapse: "lower the learning rate 4 times (--optim.lr), or add or raise a regularizer "
    "(ijepa: --sigreg 0.05)",
    Failure.position_only_targets: "add a regularizer on the pooled context (ijepa: --sigreg 0.05), or use larger "
    "target blocks (--masks.target-scale 0.2 0.3)",
    Failure.predictor_no_better: "raise the learning rate or train longer; check that the masks leave enough context "
    "(--masks.target-scale), and that images show more than texture",
    Failure.dead_target: "use a momentum below 1 (--momentum 0.996 1) and call model.target.update after each step",
    Failure.non_finite: "lower the learning rate, clip gradients (--optim.clip-norm 1), or use --precision float32",
    Failure.exploding_gradients: "clip gradients (--optim.clip-norm 1) or lower the learning rate",
    Failure.data_starvation: "use more --workers, keep data on a local disk, or let images be cached (craik doctor "
    "shows where)",
    Failure.throughput_drop: "look for other programs on this machine, thermal throttling, or a full disk",
}


@dataclass(frozen=True, slots=True)
class Observation:
    """What one check saw. Fields that a method does not have are None."""

    step: int
    embedding: Spectrum
    """Of pooled embeddings of a fixed set of images."""
    relative_std: float
    """Median standard deviation of an embedding's features over the root mean square of its tokens."""
    targets: VarianceShare | None = None
    """How the variance of target tokens divides between samples and positions."""
    error: float | None = None
    """Mean squared error of the predictor."""
    error_mean: float | None = None
    """The same for the mean target of the batch."""
    error_context: float | None = None
    """The same for a copy of the sample's own context mean; of the last frame where time is predicted."""
    error_position: float | None = None
    """The same for the mean target at each position."""
    target_distance: float | None = None
    """Relative distance of the target from the encoder."""
    target_moved: float | None = None
    """Relative change of the target since the last check."""
    encoder_moved: float | None = None
    """Relative change of the encoder since the last check."""

    @property
    def error_ratio(self) -> float | None:
        """Error of the predictor over that of the best predictor that knows nothing of the sample."""
        if self.error is None or self.error_mean is None or self.error_position is None:
            return None
        return self.error / max(min(self.error_mean, self.error_position), 1e-12)

    def row(self) -> dict[str, float | None]:
        """Flat numbers for metrics.jsonl."""
        flat: dict[str, float | None] = dict(asdict(self.embedding))
        flat["relative_std"] = self.relative_std
        if self.targets is not None:
            flat["target_between_samples"] = self.targets.between_samples
            flat["target_by_position"] = self.targets.by_position
        for name in ("error", "error_mean", "error_context", "error_position"):
            flat[name] = getattr(self, name)
        flat["error_ratio"] = self.error_ratio
        for name in ("target_distance", "target_moved", "encoder_moved"):
            flat[name] = getattr(self, name)
        return {name: value for name, value in flat.items() if value is not None}


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What a window of training steps looked like from outside."""

    step: int
    loss: float
    grad_norm: float
    rate: float
    """Samples per second."""
    wait_share: float
    """Fraction of the time spent waiting for data."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A named failure."""

    step: int
    failure: Failure
    evidence: str
    cure: str
    last_healthy: int | None

    def __str__(self) -> str:
        where = "none yet" if self.last_healthy is None else f"step {self.last_healthy:,}"
        return (
            f"ALARM step {self.step:,}: {self.failure}. {self.evidence}. Last healthy checkpoint: {where}. "
            f"Usual cures: {self.cure}"
        )

    def row(self) -> dict[str, str | int | None]:
        """What events.jsonl holds of it."""
        return {
            "step": self.step,
            "kind": "alarm",
            "name": str(self.failure),
            "evidence": self.evidence,
            "cure": self.cure,
            "last_healthy": self.last_healthy,
        }


@dataclass(frozen=True, slots=True)
class AlarmEnd:
    """A failure that was alarmed about and no longer holds."""

    step: int
    failure: Failure

    def __str__(self) -> str:
        return f"step {self.step:,}: {self.failure} is over"

    def row(self) -> dict[str, str | int | None]:
        """What events.jsonl holds of it."""
        return {"step": self.step, "kind": "alarm_end", "name": str(self.failure)}


Change = Alarm | AlarmEnd
"""What is to be told when the state of health changes."""


def grace_steps(total: int) -> int:
    """Steps of a run of `total` before rank and predictor are judged: a model has to leave its random start."""
    return max(200, total // 10)


@dataclass(slots=True)
class Sentinel:
    """Turns what was observed into alarms. Each is raised once, ends once, and is raised again only after that.

    A condition must hold in two checks in a row: one odd batch is no failure.
    """

    grace: int = 0
    """Steps before the predictor and the rank are judged; a model needs time to leave its random start."""
    last_healthy: int | None = None
    """Step of the newest checkpoint that was written without an alarm."""
    first: Observation | None = None
    peak_rank: float = 0.0
    active: set[Failure] = field(default_factory=set)
    suspected: dict[Failure, int] = field(default_factory=dict)
    records: list[StepRecord] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether no alarm is active."""
        return not self.active

    def observe(self, seen: Observation) -> list[Change]:
        """Alarms that a check of the representation raises or ends."""
        if self.first is None:
            self.first = seen
        found = dict(self.failures(seen))
        self.peak_rank = max(self.peak_rank, seen.embedding.effective_rank)
        judged = set(Failure) - OF_STEPS - {Failure.non_finite}
        if seen.target_moved is None:  # as at the first check of a process, which has nothing to compare with
            judged.remove(Failure.dead_target)
        return self.changes(seen.step, found, judged)

    def failures(self, seen: Observation) -> Iterator[tuple[Failure, str]]:
        """Failures that an observation shows, with their evidence."""
        assert self.first is not None
        collapsed = seen.relative_std < max(0.01, 0.1 * self.first.relative_std)
        if collapsed:
            yield (
                Failure.full_collapse,
                f"embeddings of different images differ by {seen.relative_std:.1e} of their size "
                f"(was {self.first.relative_std:.1e})",
            )
        rank = seen.embedding.effective_rank
        floor = max(3.0, 0.2 * self.peak_rank)
        if not collapsed and seen.step > self.grace and rank < floor:
            yield (
                Failure.dimensional_collapse,
                f"effective rank {rank:.1f} (was {self.peak_rank:.1f})",
            )
        yield from self.target_failures(seen)
        ratio = seen.error_ratio
        if ratio is not None and ratio >= 1 and seen.step > self.grace and not collapsed:
            yield (
                Failure.predictor_no_better,
                f"its error is {ratio:.2f} times that of predicting the mean",
            )

    def target_failures(self, seen: Observation) -> Iterator[tuple[Failure, str]]:
        """Failures of the target."""
        share = seen.targets
        if share is not None and share.by_position > 0.8 and share.between_samples < 0.02 and seen.step > self.grace:
            yield (
                Failure.position_only_targets,
                f"{share.by_position:.0%} of the target variance is told by the position alone, "
                f"{share.between_samples:.1%} by the image",
            )
        if seen.target_moved is not None and seen.encoder_moved is not None:
            if seen.encoder_moved > 1e-6 and seen.target_moved < 1e-5 * seen.encoder_moved:
                yield (
                    Failure.dead_target,
                    f"the encoder moved by {seen.encoder_moved:.1e} since the last check, "
                    f"the target by {seen.target_moved:.1e}",
                )

    def record(self, record: StepRecord) -> list[Change]:
        """Alarms that a window of training steps raises or ends."""
        found: dict[Failure, str] = {}
        past = self.records[-20:]
        if len(past) >= 5 and math.isfinite(record.grad_norm):
            usual = sorted(r.grad_norm for r in past)[len(past) // 2]
            if record.grad_norm > 100 * max(usual, 1e-8):
                found[Failure.exploding_gradients] = f"gradient norm {record.grad_norm:.2g}, usually {usual:.2g}"
        if len(past) >= 5:
            usual = sorted(r.rate for r in past)[len(past) // 2]
            if record.rate < 0.4 * usual:
                found[Failure.throughput_drop] = f"{record.rate:.0f} samples/s, usually {usual:.0f}"
        if past and record.wait_share > 0.4:
            found[Failure.data_starvation] = f"{record.wait_share:.0%} of the time went into waiting for data"
        self.records = [*past, record]
        return self.changes(record.step, found, OF_STEPS)

    def non_finite(self, step: int, what: str) -> Alarm:
        """The alarm for a loss or gradient that is not a number."""
        self.active.add(Failure.non_finite)
        return Alarm(step, Failure.non_finite, what, CURES[Failure.non_finite], self.last_healthy)

    def changes(self, step: int, found: dict[Failure, str], judged: Collection[Failure]) -> list[Change]:
        """Alarms for what is found twice in a row, and the end of those that are judged and not found."""
        changes: list[Change] = []
        for failure in sorted(judged):
            if failure in found:
                self.suspected[failure] = self.suspected.get(failure, 0) + 1
                if self.suspected[failure] >= 2 and failure not in self.active:
                    self.active.add(failure)
                    changes.append(Alarm(step, failure, found[failure], CURES[failure], self.last_healthy))
                continue
            self.suspected.pop(failure, None)
            if failure in self.active:
                self.active.remove(failure)
                changes.append(AlarmEnd(step, failure))
        return changes


OF_STEPS = frozenset({Failure.exploding_gradients, Failure.data_starvation, Failure.throughput_drop})
"""Failures that training steps show from outside; the others are seen by checks of the representation."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean squared errors of the predictor and of three that know nothing, on the same targets."""

    predictor: float
    mean: float
    context: float
    position: float


def prediction_errors(latents: Latents, normalize: Normalize = layer_normalize) -> Errors:
    """Errors over all tasks of a batch, each prediction [B, T, K, D] against its goal tokens.

    `normalize` is what the target does to its tokens: the copy of the context is made alike.
    """
    goals = [g.x.float() for g in latents.goal]
    errors = torch.zeros(4, dtype=torch.float64)
    for pred, goal, context, tokens in zip(latents.pred, goals, latents.context, latents.goal, strict=True):
        flat = pred.flatten(1, 2).float()
        own = normalize(context.mean().float()).unsqueeze(1)
        baselines = (flat, goal.mean((0, 1), keepdim=True), own, position_mean(goal, tokens.at))
        errors += torch.stack([(guess - goal).square().mean().double().cpu() for guess in baselines])
    return Errors(*(float(e) / len(goals) for e in errors))


def position_mean(goal: Tensor, at: Tensor) -> Tensor:
    """For each goal token [B, W, D] the mean of the goals at its position in the other samples.

    Its own sample is left out: a position that only one sample was asked for falls back to the mean of all.
    """
    batch, wanted, dim = goal.shape
    _, place = at.reshape(batch * wanted, -1).round().long().unique(dim=0, return_inverse=True)
    flat, sample = goal.reshape(-1, dim), torch.arange(batch, device=goal.device).repeat_interleave(wanted)
    num_places = int(place.max()) + 1
    everyone = goal.new_zeros(num_places, dim).index_add_(0, place, flat)
    count = torch.bincount(place, minlength=num_places)
    key = place * batch + sample
    own = goal.new_zeros(num_places * batch, dim).index_add_(0, key, flat)
    own_count = torch.bincount(key, minlength=num_places * batch)
    others = (count[place] - own_count[key]).unsqueeze(-1)
    guess = (everyone[place] - own[key]) / others.clamp(min=1)
    guess = torch.where(others > 0, guess, flat.mean(0))
    return guess.view_as(goal)
