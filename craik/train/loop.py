"""The training loop. It knows no method: a recipe gives the model, the batches and the schedules."""

import math
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from shlex import quote
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from craik.core.jepa import Loss
from craik.data.stream import Stream
from craik.train import checkpoint
from craik.train.check import Checker
from craik.train.health import Alarm, Change, Observation, Sentinel, StepRecord, grace_steps
from craik.train.progress import Reporter, Status
from craik.train.recall import recall
from craik.train.recipe import Sampled
from craik.train.run import RunFolder
from craik.train.step import NonFiniteError, Stepper
from craik.train.stop import StopSignal

Probe = Callable[[nn.Module], Mapping[str, float]]
"""From the model to named scores, each beside its baseline: knn and knn_random with labels, else agreement and
agreement_random; ahead_K and ahead_K_copy of a world model, with state_r2 and state_r2_random."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How often the loop looks up from its work."""

    log_s: float = 1.0
    """Time between two rows of metrics [s]."""
    check_every: int | None = None
    """Steps between two health checks; None lets checks and probes take about 1.5 % of the time."""
    checkpoint_every: int | None = None
    """Steps between two checkpoints; None writes one about every two minutes."""
    stop_at: int | None = None
    """Save and stop after this step, as if interrupted."""
    grace: int | None = None
    """Steps before rank and predictor are judged; None takes a tenth of the run, at least 200."""
    share: float = 0.015
    """Fraction of the training time that health checks and probes may take."""
    checkpoint_s: float = 120.0
    """Time between two checkpoints where their steps are not given [s]."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    step: int
    interrupted: bool
    alarms: tuple[str, ...]
    """Names of the failures that were active at the end."""
    scores: Mapping[str, float]
    """Last scores of the probe."""


@dataclass(slots=True)
class Run:
    """A run in progress: what steps, what watches, and where it is written down."""

    stepper: Stepper
    loader: Stream[Any]
    folder: RunFolder
    reporter: Reporter
    checker: Checker
    pace: Pace = field(default_factory=Pace)
    probe: Probe | None = None
    mirror: Callable[[int, Mapping[str, Any]], None] | None = None
    """Also gets every row of metrics, e.g. to write TensorBoard files."""
    save_model: Callable[[], None] | None = None
    """Writes the folder that is loaded to use the model."""
    settled: Callable[[], AbstractContextManager[None]] = nullcontext
    """Inside, the model is as it is to be used, while it is looked at or saved; entered by all ranks together."""

    sentinel: Sentinel = field(init=False)
    seen: Observation | None = None
    scores: dict[str, float] = field(default_factory=dict)
    clock: "Clock" = field(init=False)

    def __post_init__(self) -> None:
        self.sentinel = Sentinel(grace_steps(self.stepper.total) if self.pace.grace is None else self.pace.grace)
        self.clock = Clock(self.stepper.step)
        self.stepper.on_note = self.note

    def fit(self) -> Outcome:
        """Train to the last step, or until asked to stop. Health alarms never stop a run.

        Raises:
            NonFiniteError: If the loss is not a number; the last checkpoint is healthy.
        """
        stepper, total = self.stepper, self.stepper.total
        self.reporter.start(total, stepper.step)
        interrupted = False
        batches = iter(self.loader)
        try:
            with StopSignal() as stop:
                if stepper.step == 0:
                    self.check()
                else:
                    self.remember()
                while stepper.step < total:
                    samples = next(batches)
                    loss = self.guarded_step(samples)
                    due = self.decide(stop.asked)
                    if due.log:
                        self.log(loss, samples)
                    if due.check:
                        self.check()
                    if due.checkpoint or due.stop:
                        self.save()
                    if due.stop and stepper.step < total:
                        interrupted = True
                        break
        finally:
            batches.close()
            self.reporter.stop()
        return Outcome(stepper.step, interrupted, tuple(sorted(self.sentinel.active)), self.scores)

    def guarded_step(self, samples: Sampled) -> Loss:
        """One step; a loss that is not a number is written down with the samples that gave it."""
        try:
            return self.stepper.train_step(samples)
        except NonFiniteError as error:
            raise self.non_finite(str(error), samples) from None

    def decide(self, asked: bool) -> "Due":
        """What is to be done after this step. Ranks agree: the first one decides, where time is involved."""
        step, last = self.stepper.step, self.stepper.step >= self.stepper.total
        stop = asked or step == self.pace.stop_at or last
        check = self.clock.check_due(self.pace, step) or last
        save = self.clock.checkpoint_due(self.pace, step) or last
        due = Due(self.clock.log_due(self.pace) or check or save or stop, check, save, stop)
        if self.stepper.runtime.world == 1:
            return due
        flags = torch.tensor([due.log, due.check, due.checkpoint, due.stop], dtype=torch.uint8)
        flags = flags.to(self.stepper.runtime.device)
        dist.broadcast(flags, 0)
        return Due(*(bool(f) for f in flags.tolist()))

    def log(self, loss: Loss, samples: Sampled) -> None:
        """One row of metrics, the progress line, and the alarms that timing and gradients give."""
        stepper, step = self.stepper, self.stepper.step
        loss = mean_over_ranks(loss) if stepper.runtime.world > 1 else loss
        window = self.clock.window(step, self.loader.wait_s)
        batch = self.loader.batch * stepper.runtime.world
        rate = window.steps * batch / window.seconds
        record = StepRecord(step, float(loss.total), stepper.grad_norm(), rate, window.wait_s / window.seconds)
        if not math.isfinite(record.loss) or not math.isfinite(record.grad_norm):
            raise self.non_finite(f"loss {record.loss:g}, gradient norm {record.grad_norm:g}", samples)
        terms = {name: float(term) for name, term in loss.terms.items()}
        row = {
            "step": step,
            "epoch": step / len(self.loader),
            "loss": record.loss,
            **{f"loss/{name}": value for name, value in terms.items()},
            "grad_norm": record.grad_norm,
            "lr": stepper.lr(step),
            "weight_decay": stepper.weight_decay(step),
            "momentum": None if stepper.momentum is None else stepper.momentum(step - 1),
            "rate": rate,
            "wait_share": record.wait_share,
            "seconds": self.clock.elapsed(),
        }
        self.write("metrics", row)
        self.tell(self.sentinel.record(record))
        self.reporter.show(self.status(record, terms))

    def status(self, record: StepRecord, terms: dict[str, float]) -> Status:
        """What the progress line shows."""
        total = self.stepper.total
        seen = self.seen
        return Status(
            step=record.step,
            total=total,
            epoch=record.step / len(self.loader),
            loss=record.loss,
            terms=terms,
            rank=None if seen is None else seen.embedding.effective_rank,
            width=self.checker.width,
            verdict="ok" if self.sentinel.healthy else f"ALARM: {', '.join(sorted(self.sentinel.active))}",
            probe=probe_text(self.scores),
            rate=record.rate,
            unit=self.loader.data.unit,
            wait_share=record.wait_share,
            left_s=self.clock.left(record.step, total),
        )

    def check(self) -> None:
        """Look at the representation; probe it; remember the best."""
        began = time.perf_counter()
        step = self.stepper.step
        with self.settled():
            if not self.stepper.runtime.is_main:
                return
            self.seen = self.checker.observe(step)
            if self.probe is not None:
                self.scores = dict(self.probe(self.stepper.recipe.model))
        self.write("metrics", {"step": step, **self.seen.row(), **self.scores})
        self.tell(self.sentinel.observe(self.seen))
        self.clock.checked(step, time.perf_counter() - began)

    def remember(self) -> None:
        """Know again what was known when the run stopped: its health, its last check and its scores."""
        if self.stepper.runtime.is_main:
            steps = [found.step for found in checkpoint.listing(self.folder.checkpoints)]
            memory = recall(self.folder.rows("metrics"), self.sentinel.grace, steps)
            self.sentinel, self.seen, self.scores = memory.sentinel, memory.seen, memory.scores

    def save(self) -> None:
        """Write a checkpoint and the loadable model."""
        began = time.perf_counter()
        step = self.stepper.step
        state = {**self.stepper.state(), "loader": self.loader.state_dict()}
        healthy = self.sentinel.last_healthy  # an alarm tells people to go back to it
        checkpoint.save(self.folder.checkpoints, step, state, also=() if healthy is None else (healthy,))
        if self.stepper.runtime.is_main and self.sentinel.healthy:
            self.sentinel.last_healthy = step
            self.mark_best(step)
        if self.save_model is not None:
            with self.settled():
                if self.stepper.runtime.is_main:
                    self.save_model()
        self.clock.saved(time.perf_counter() - began)

    def mark_best(self, step: int) -> None:
        """Mark a checkpoint as the best by kNN where there are labels, else by effective rank; never by loss."""
        if self.seen is None:
            return
        by = "knn" if "knn" in self.scores else "effective_rank"
        score = self.scores.get("knn", self.seen.embedding.effective_rank)
        best = checkpoint.best_score(self.folder.checkpoints)
        if best is None or score > best:
            checkpoint.mark_best(self.folder.checkpoints, step, score, by)

    def write(self, name: str, row: Mapping[str, Any]) -> None:
        """Add a row to metrics.jsonl or events.jsonl."""
        if self.stepper.runtime.is_main:
            self.folder.record(name, row)
            if self.mirror is not None and name == "metrics":
                self.mirror(self.stepper.step, row)

    def note(self, line: str) -> None:
        """Tell the person, and write it down."""
        self.reporter.say(line)
        self.write("events", {"step": self.stepper.step, "kind": "note", "text": line})

    def tell(self, changes: list[Change]) -> None:
        """Show alarms and their ends, and write them down."""
        for change in changes:
            self.reporter.say(str(change), style="bold red" if isinstance(change, Alarm) else "green")
            self.write("events", change.row())

    def non_finite(self, what: str, samples: Sampled) -> NonFiniteError:
        """Write down which samples gave a loss that is not a number, and say so."""
        names = [str(self.loader.data.paths[i]) for i in samples.index.tolist()]
        tensor = first_bad_tensor(self.stepper.recipe.model)
        alarm = self.sentinel.non_finite(self.stepper.step + 1, f"{what}; first bad tensor: {tensor}")
        self.tell([alarm])
        batch = {f.name: getattr(samples, f.name) for f in fields(samples)}
        torch.save({**batch, "paths": names}, self.folder.path / "non_finite_batch.pt")
        return NonFiniteError(
            f"{alarm}. The batch ({', '.join(names[:3])}, ...) is in {self.folder.path / 'non_finite_batch.pt'}. "
            "Going on as before leads here again. Start anew from the last weights that were saved, with a cure: "
            f"craik train RECIPE --init {quote(str(self.folder.path))} --data PATH --out DIR"
        )


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done after a step."""

    log: bool
    check: bool
    checkpoint: bool
    stop: bool


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of training between two rows of metrics, checks and checkpoints not counted."""

    steps: int
    seconds: float
    wait_s: float


class Clock:
    """Knows when the last row, check and checkpoint were, and what they cost."""

    def __init__(self, step: int) -> None:
        now = time.perf_counter()
        self.began, self.began_step = now, step
        self.row, self.row_step, self.row_wait, self.aside = now, step, 0.0, 0.0
        self.check_end, self.check_cost, self.first_check = now, 0.0, 0.0
        self.save_end = now

    def elapsed(self) -> float:
        """Seconds since the start of this process's part of the run."""
        return time.perf_counter() - self.began

    def left(self, step: int, total: int) -> float:
        """Seconds to go at the pace so far; the first check, which no training had preceded, is not counted."""
        return (self.elapsed() - self.first_check) / max(step - self.began_step, 1) * (total - step)

    def log_due(self, pace: Pace) -> bool:
        """Whether it is time for a row; the first comes after the first step."""
        return self.row_step == self.began_step or time.perf_counter() - self.row >= pace.log_s

    def check_due(self, pace: Pace, step: int) -> bool:
        """Whether it is time for a check."""
        if pace.check_every is not None:
            return step % pace.check_every == 0
        return (time.perf_counter() - self.check_end) * pace.share >= self.check_cost

    def checkpoint_due(self, pace: Pace, step: int) -> bool:
        """Whether it is time for a checkpoint."""
        if pace.checkpoint_every is not None:
            return step % pace.checkpoint_every == 0
        return time.perf_counter() - self.save_end >= pace.checkpoint_s

    def window(self, step: int, wait_s: float) -> Window:
        """Close the current window and begin the next."""
        now = time.perf_counter()
        seconds = max(now - self.row - self.aside, 1e-9)
        window = Window(step - self.row_step, seconds, min(wait_s - self.row_wait, seconds))
        self.row, self.row_step, self.row_wait, self.aside = now, step, wait_s, 0.0
        return window

    def checked(self, step: int, seconds: float) -> None:
        """A check ended that took so long."""
        self.check_end, self.check_cost = time.perf_counter(), seconds
        self.aside += seconds
        if step == self.began_step:
            self.first_check = seconds

    def saved(self, seconds: float) -> None:
        """A checkpoint ended that took so long."""
        self.save_end = time.perf_counter()
        self.aside += seconds


def mean_over_ranks(loss: Loss) -> Loss:
    """The loss of the whole batch; each rank has that of its own samples. Called by all ranks."""
    values = torch.stack([loss.total.detach(), *(term.detach() for term in loss.terms.values())]).float()
    dist.all_reduce(values)
    total, *terms = (values / dist.get_world_size()).unbind()
    return Loss(total, dict(zip(loss.terms, terms, strict=True)))


def first_bad_tensor(model: nn.Module) -> str:
    """Name of the first parameter or gradient that is not finite."""
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            return f"parameter {name}"
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            return f"gradient of {name}"
    return "none in the weights; the input or an activation"


SCORES = (
    (r"knn", "kNN {score}", "random"),
    (r"agreement", "crop match {score}", "random"),
    (r"ahead_(\d+)", "{0} ahead {score}", "copy"),
    (r"state_r2", "state R2 {score}", "random"),
)
"""Scores of a probe, how they are told, and what the baseline beside them is."""


def probe_text(scores: Mapping[str, float]) -> str:
    """The scores of a probe, each beside its baseline."""
    told = []
    for pattern, label, baseline in SCORES:
        for name in scores:
            if found := re.fullmatch(pattern, name):
                beside = scores.get(f"{name}_{baseline}")
                text = label.format(*found.groups(), score=f"{scores[name]:.1%}")
                told.append(text + ("" if beside is None else f" ({baseline} {beside:.1%})"))
    return "  ".join(told)
