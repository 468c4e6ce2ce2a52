"""Pretraining from start to end: data, recipe, budget, loop, and the folder that comes out of it."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from craik import api
from craik.codec import decode, differences
from craik.data.images import ImageData, load_images
from craik.data.labels import LabelSpec
from craik.data.loader import Loader, read_samples
from craik.data.native import native_side
from craik.errors import UsageError
from craik.evaluate.features import Featurizer, extract
from craik.evaluate.knn import knn_accuracy
from craik.evaluate.monitor import crop_agreement
from craik.recipes import Method
from craik.report.card import model_card
from craik.train import checkpoint
from craik.train.check import Checker
from craik.train.loop import Outcome, Pace, Probe, Run
from craik.train.progress import Reporter, clock
from craik.train.recipe import Recipe
from craik.train.run import RunFolder, write_atomic
from craik.train.runtime import Precision, Runtime, start, step_rng
from craik.train.step import Stepper

Json = dict[str, Any]
FEW_IMAGES = 100
FEW_SAMPLES = 64  # in a batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """What to train on."""

    data: str = ""
    """Folder of images, .zip, .tar, .parquet, a hub id, or toy:shapes."""
    split: str | None = None
    """train, val or test, where the data has these."""
    labels: str | None = None
    """File with labels (csv, tsv, json, parquet); used for monitoring only, never for training."""
    path_column: str = "path"
    """Column of the labels file that names the image."""
    label_column: str = "label"
    """Column of the labels file, or of the data, with the class."""
    split_column: str | None = None
    """Column of the labels file that names the split."""
    limit: int | None = None
    """Use only so many images."""
    max_bad_fraction: float = 0.05
    """Fraction of the image files that may be unreadable."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit {self.limit}: use at least 1 image")
        if not 0 <= self.max_bad_fraction <= 1:
            raise ValueError(f"--max-bad-fraction {self.max_bad_fraction:g} is no fraction in [0, 1]")

    def spec(self) -> LabelSpec | None:
        """Where labels are, when the data does not say it."""
        if self.labels is None and self.label_column == "label" and self.split_column is None:
            return None
        return LabelSpec(self.labels, self.path_column, self.label_column, self.split_column, self.split)


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How long to train; when nothing is given, as many epochs as the recipe's config says (--epochs)."""

    steps: int | None = None
    """Optimizer steps."""
    minutes: float | None = None
    """Wall time [min]; a short measurement turns it into a number of steps."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.minutes is not None:
            raise ValueError("--minutes and --steps contradict each other; give one")
        for name, value in (("--steps", self.steps), ("--minutes", self.minutes)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} {value} has to be above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Conduct:
    """How the run is carried out; nothing here but seed and accumulate touches what is learned."""

    seed: int = 0
    """All randomness follows from it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    precision: Precision = Precision.auto
    """Arithmetic; auto takes bf16 where the hardware multiplies it natively."""
    workers: int | None = None
    """Processes that decode images; one per core by default."""
    accumulate: int = 1
    """Pieces into which a batch is cut to fit into memory."""
    check_every: int | None = None
    """Steps between health checks; by default they take about 1.5 % of the time."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; by default one about every two minutes."""
    tensorboard: bool = False
    """Mirror metrics as TensorBoard files in the run folder (needs craik[track])."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"--seed {self.seed} is negative; give 0 or more")
        for name in ("workers", "accumulate", "check_every", "checkpoint_every"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value}: give at least 1")


@dataclass(frozen=True, slots=True)
class Init:
    """Weights that a run starts from."""

    source: str
    """A run, a model folder, or a published checkpoint."""
    resample: bool = False
    """Interpolate position tables that were made for another image size."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished run came to."""

    folder: Path
    outcome: Outcome
    seconds: float


def pretrain(
    method: Method,
    config: Any,
    out: Path,
    data: Data,
    budget: Budget = Budget(),
    conduct: Conduct = Conduct(),
    *,
    init: Init | None = None,
    overwrite: bool = False,
    stop_at: int | None = None,
    reporter: Reporter | None = None,
) -> Result:
    """Pretrain from the beginning.

    Args:
        method: The recipe and variant.
        config: Its Config, with overrides.
        out: The run folder to make; an existing run is never overwritten silently.
        data: What to train on.
        budget: How long.
        conduct: Device, seed and pace.
        init: Weights to start from.
        overwrite: Delete the run that `out` holds.
        stop_at: Save and stop after this step, as if interrupted.
        reporter: Where progress is shown.

    Raises:
        UsageError: If data, config or folder are not what they have to be; nothing is written then.
        CraikError: If the run fails.
    """
    reporter = reporter or Reporter()
    RunFolder.claim(out, overwrite)
    if conduct.tensorboard:
        require_tensorboard()
    with start(conduct.device, conduct.precision) as runtime:
        reporter.enabled = reporter.enabled and runtime.is_main
        images, recipe = prepare(method, config, data, conduct, reporter)
        if init is not None:
            reporter.say("init: " + api.initialize(recipe.model, init.source, str(method), resample=init.resample))
        loader = make_loader(images, recipe, conduct, runtime)
        try_out(recipe, images)
        total = plan_steps(budget, recipe, images, loader, conduct, runtime)
        record = {
            **api.describe(method, config),
            "steps": total,
            "init": None if init is None else init.source,
            "data": {**asdict(data), "fingerprint": images.fingerprint, "images": len(images)},
            "conduct": asdict(conduct),
        }
        folder = RunFolder(out)
        if runtime.is_main:
            folder = RunFolder.create(out, record, overwrite)
            write_skipped(folder, images)
        stepper = Stepper(recipe, runtime, total, conduct.seed, conduct.accumulate)
        return conduct_run(stepper, loader, images, folder, record, conduct, runtime, reporter, stop_at)


def resume(
    out: Path,
    *,
    overrides: Json | None = None,
    conduct: Conduct | None = None,
    stop_at: int | None = None,
    from_step: int | None = None,
    reporter: Reporter | None = None,
) -> Result:
    """Go on with a run from its newest checkpoint that is whole, as if it had never stopped.

    Args:
        out: The run folder.
        overrides: The config that the user asked for, encoded; refused if it differs from the run's.
        conduct: Device and pace, where they are to differ from the run's; the seed is the run's.
        stop_at: Save and stop after this step.
        from_step: Take the newest checkpoint not after this step instead.
        reporter: Where progress is shown.

    Raises:
        UsageError: If there is no run, no whole checkpoint, or another config or other data than the run's.
    """
    reporter = reporter or Reporter()
    folder = RunFolder.open(out)
    record = folder.config
    method = api.find_recorded(record)
    config = decode(method.module.Config, record["config"])
    if overrides is not None and (changed := differences(record["config"], overrides)):
        raise UsageError(
            f"{out} was made with another config ({'; '.join(changed)}). A run goes on as it began: leave these "
            f"options out, or start a new one: craik train {method} --out {out}2 --init {out}"
        )
    stored = decode(Conduct, record["conduct"], "conduct")
    conduct = stored if conduct is None else replace(conduct, seed=stored.seed, accumulate=stored.accumulate)
    data = decode(Data, {k: v for k, v in record["data"].items() if k not in ("fingerprint", "images")}, "data")
    with start(conduct.device, conduct.precision) as runtime:
        reporter.enabled = reporter.enabled and runtime.is_main
        images, recipe = prepare(method, config, data, conduct, reporter)
        if images.fingerprint != record["data"]["fingerprint"]:
            raise UsageError(
                f"{data.data}: not the data that {out} was trained on ({len(images):,} images now, "
                f"{record['data']['images']:,} then, or other content); put it back, or start a new run"
            )
        loader = make_loader(images, recipe, conduct, runtime)
        stepper = Stepper(recipe, runtime, record["steps"], conduct.seed, conduct.accumulate)
        restore(stepper, loader, folder, from_step, reporter)
        if runtime.is_main:
            folder.sweep()
            folder.rewind(stepper.step)
            checkpoint.forget_after(folder.checkpoints, stepper.step)
            folder.record("events", {"step": stepper.step, "kind": "resume"})
        return conduct_run(stepper, loader, images, folder, record, conduct, runtime, reporter, stop_at)


def restore(stepper: Stepper, loader: Loader, folder: RunFolder, from_step: int | None, reporter: Reporter) -> None:
    """Read the newest whole checkpoint; a damaged one is told and the one before it taken."""
    found = [c for c in checkpoint.listing(folder.checkpoints) if from_step is None or c.step <= from_step]
    for candidate in found:
        if damage := candidate.damage():
            reporter.say(f"checkpoint of step {candidate.step:,}: {damage}; falling back to the one before")
            continue
        state = {**stepper.state(), "loader": loader.state_dict()}
        checkpoint.load(candidate, state)
        stepper.restore(state)
        loader.load_state_dict(state["loader"])
        reporter.say(f"resuming {folder.path} at step {stepper.step:,} of {stepper.total:,}")
        return
    if found:
        raise UsageError(f"{folder.path}: all {len(found)} checkpoints are damaged; start a new run with --out")
    if from_step is not None:
        steps = sorted(c.step for c in checkpoint.listing(folder.checkpoints))
        there = f"there are: {', '.join(map(str, steps))}" if steps else "it has none"
        raise UsageError(f"{folder.path} has no checkpoint of step {from_step:,} or before; {there} (--from-step)")
    reporter.say(f"{folder.path} has no checkpoint yet; starting from step 0")


def prepare(method: Method, config: Any, data: Data, conduct: Conduct, reporter: Reporter) -> tuple[ImageData, Recipe]:
    """Load the images and build the model, and say what they are."""
    if not data.data:
        raise UsageError(f"craik train {method} needs images: --data PATH, or --data toy:shapes to try it out")
    recipe = build(method, config, conduct)
    began = time.perf_counter()
    images = load_images(
        data.data,
        size=storage_side(data.data, recipe.view.size, labels=data.spec(), split=data.split),
        labels=data.spec(),
        split=data.split,
        limit=data.limit,
        max_bad_fraction=data.max_bad_fraction,
        workers=conduct.workers,
    )
    reporter.say(f"{images.summary()} (read in {time.perf_counter() - began:.1f} s)")
    for skipped in images.skipped[:3]:
        reporter.say(f"  unreadable: {skipped.path}: {skipped.reason}", style="yellow")
    for note in (*images.notes, *doubts(images, recipe, conduct)):
        reporter.say(note, style="yellow")
    return images, recipe


def build(method: Method, config: Any, conduct: Conduct) -> Recipe:
    """The parts of the method, with weights that follow from the seed."""
    torch.manual_seed(conduct.seed)
    try:
        recipe: Recipe = method.build(config)
    except ValueError as error:  # values that do not go together are the user's, as a size that a patch does not divide
        raise UsageError(f"{method}: {error}. See craik train {method} --help") from None
    if recipe.batch < 1 or recipe.batch % conduct.accumulate:
        raise UsageError(f"--batch {recipe.batch} does not divide into --accumulate {conduct.accumulate} equal pieces")
    if not recipe.epochs > 0:
        raise UsageError(f"--epochs {recipe.epochs:g} has to be above 0")
    return recipe


def doubts(images: ImageData, recipe: Recipe, conduct: Conduct) -> Iterator[str]:
    """What will hardly work, and what to do instead."""
    if len(images) < FEW_IMAGES:
        yield (
            f"{len(images)} images: pretraining from scratch will not generalize. "
            "Start from weights (--init RUN_OR_WEIGHTS) or add images"
        )
    piece = recipe.batch // conduct.accumulate
    if piece < FEW_SAMPLES and (recipe.momentum is None or getattr(recipe.model, "regularizers", None)):
        pieces = f" in {conduct.accumulate} pieces" if conduct.accumulate > 1 else ""
        yield (
            f"batch {recipe.batch}{pieces}: the regularizer's batch statistics are noise below about {FEW_SAMPLES} "
            f"samples; use --batch {FEW_SAMPLES * conduct.accumulate} or more, or a method that needs none (ijepa)"
        )


def try_out(recipe: Recipe, images: ImageData) -> None:
    """Prepare two samples before anything is written: crops and masks that cannot be drawn are found now."""
    samples = read_samples(images, np.arange(min(2, len(images))))
    try:
        recipe.prepare(samples, step_rng(0, 0))
    except ValueError as error:
        raise UsageError(f"these settings give no batch: {error}") from None


def storage_side(path: str, view: int, *, labels: LabelSpec | None = None, split: str | None = None) -> int:
    """Side at which images are kept: their own when small, else with room for random crops of the view [pixels]."""
    if path.startswith("toy:"):
        return view
    return min(native_side(path, labels=labels, split=split), round(1.25 * view))


def make_loader(images: ImageData, recipe: Recipe, conduct: Conduct, runtime: Runtime) -> Loader:
    """Batches of this rank."""
    if recipe.batch % runtime.world:
        raise UsageError(f"--batch {recipe.batch} does not divide among {runtime.world} ranks")
    return Loader(images, recipe.batch // runtime.world, seed=conduct.seed, rank=runtime.rank, world=runtime.world)


def plan_steps(
    budget: Budget, recipe: Recipe, images: ImageData, loader: Loader, conduct: Conduct, runtime: Runtime
) -> int:
    """Total number of steps; fixed here, stored, and used by every schedule and by resume."""
    if budget.steps is not None:
        return budget.steps
    if budget.minutes is None:
        return max(1, round(recipe.epochs * len(loader)))
    seconds = torch.tensor(measure_step(recipe, images, conduct, runtime), device=runtime.device)
    if runtime.world > 1:
        dist.broadcast(seconds, 0)
    overhead = 0.04  # health checks, probes, checkpoints and the first second of everything
    return max(1, int(budget.minutes * 60 * (1 - overhead) / float(seconds)))


def measure_step(recipe: Recipe, images: ImageData, conduct: Conduct, runtime: Runtime) -> float:
    """Seconds a training step takes, on a copy of the model that is thrown away."""
    trial = replace(recipe, model=copy.deepcopy(recipe.model))
    rng = checkpoint.rng_state()
    stepper = Stepper(trial, runtime, 1000, conduct.seed, conduct.accumulate)
    batches = iter(make_loader(images, recipe, conduct, runtime))
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < 4 and len(times) < 50):
        samples = next(batches)
        last = time.perf_counter()
        float(stepper.train_step(samples).total)
        times.append(time.perf_counter() - last)
    batches.close()  # type: ignore[attr-defined]
    checkpoint.set_rng_state(rng)
    return float(np.median(times[1:]))


def conduct_run(
    stepper: Stepper,
    loader: Loader,
    images: ImageData,
    folder: RunFolder,
    record: Json,
    conduct: Conduct,
    runtime: Runtime,
    reporter: Reporter,
    stop_at: int | None = None,
) -> Result:
    """Run the loop, and write what it leaves: model, card, log."""
    recipe = stepper.recipe
    method = api.find_recorded(record)
    config = {key: record[key] for key in ("recipe", "variant", "config", "craik")}
    reporter.say(plan_line(method, recipe, stepper, loader, runtime))
    run = Run(
        stepper,
        loader,
        folder,
        reporter,
        Checker.create(recipe, runtime, images),
        Pace(check_every=conduct.check_every, checkpoint_every=conduct.checkpoint_every, stop_at=stop_at),
        make_probe(method, record, recipe, images, runtime) if runtime.is_main else None,
        mirror(folder) if conduct.tensorboard and runtime.is_main else None,
        lambda: api.save_model(folder.model, recipe.model, config),
    )
    began = time.perf_counter()
    outcome = run.fit()
    seconds = time.perf_counter() - began
    if runtime.is_main:
        write_atomic(folder.path / "README.md", model_card(folder.path, images.summary()))
        folder.say(f"stopped at step {outcome.step} after {clock(seconds)}")
    return Result(folder.path, outcome, seconds)


def plan_line(method: Method, recipe: Recipe, stepper: Stepper, loader: Loader, runtime: Runtime) -> str:
    """What is about to be done, in one line."""
    count = sum(p.numel() for p in stepper.parameters())
    return (
        f"plan: {method}, {recipe.view.size} px, {count / 1e6:.1f} M trained parameters, batch {recipe.batch}, "
        f"{stepper.total:,} steps = {stepper.total / len(loader):.1f} epochs, {runtime.describe()}"
    )


def make_probe(method: Method, record: Json, recipe: Recipe, images: ImageData, runtime: Runtime) -> Probe:
    """A quick score while training: kNN with labels, agreement of two crops without; beside a random encoder."""
    rng_state = checkpoint.rng_state()
    torch.manual_seed(record["conduct"]["seed"] + 1)
    random: Recipe = method.build(decode(method.module.Config, record["config"]))
    checkpoint.set_rng_state(rng_state)
    model: Any = random.model
    random_encoder = model.target.representation(model.encoder).to(runtime.device)
    score = knn_score(images) if usable_labels(images) else agreement_score(images)
    view = recipe.view

    def featurize(encoder: nn.Module) -> Featurizer:
        dtype = torch.bfloat16 if runtime.bf16 else None
        return Featurizer(encoder, view.size, view.mean, view.std, device=runtime.device, autocast=dtype)

    name, beside = score.name, score(featurize(random_encoder))
    return lambda encoder: {name: score(featurize(encoder)), f"{name}_random": beside}


@dataclass(frozen=True, slots=True)
class Score:
    """A named score of a featurizer."""

    name: str
    measure: Callable[[Featurizer], float]

    def __call__(self, featurizer: Featurizer) -> float:
        """The score."""
        return self.measure(featurizer)


def usable_labels(images: ImageData) -> bool:
    """Whether there are at least two classes and enough images to hold some out."""
    return images.labels is not None and len(np.unique(images.labels[images.labels >= 0])) > 1 and len(images) >= 50


def knn_score(images: ImageData, bank: int = 1000, queries: int = 300) -> Score:
    """Accuracy of kNN on held-out images of the training data; labels serve for this number alone."""
    assert images.labels is not None
    labelled = images.subset(np.flatnonzero(images.labels >= 0))
    some = min(len(labelled), bank + queries)
    chosen = labelled.subset(np.sort(np.random.default_rng(0).permutation(len(labelled))[:some]))
    train, test = chosen.split(bank / (bank + queries), seed=0)
    y_train, y_test = torch.from_numpy(train.labels), torch.from_numpy(test.labels)

    def measure(featurizer: Featurizer) -> float:
        return knn_accuracy(extract(featurizer, train), y_train, extract(featurizer, test), y_test)

    return Score("knn", measure)


def agreement_score(images: ImageData, num: int = 300) -> Score:
    """How often an image's nearest neighbor, among other crops of all images, is its own other crop."""
    chosen = images.subset(np.linspace(0, len(images) - 1, min(num, len(images))).astype(np.int64))
    return Score("agreement", lambda featurizer: crop_agreement(featurizer, chosen))


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


def write_skipped(folder: RunFolder, images: ImageData) -> None:
    """The list of unreadable files and why."""
    if images.skipped:
        write_atomic(folder.path / "skipped.txt", "".join(f"{s.path}\t{s.reason}\n" for s in images.skipped))
