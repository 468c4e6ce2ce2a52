"""craik probe: what a run's features know, beside baselines."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from craik.commands.arguments import parse, say
from craik.commands.data import Labels, tell
from craik.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Measure frozen features with kNN, linear, few-label and attentive probes, always beside baselines."""

    run: tyro.conf.Positional[str]
    """Run folder, or a model folder."""
    train: str | None = None
    """Labeled images that probes are fitted on; without it, part of --test or of the run's own data."""
    test: str | None = None
    """Labeled images that they are scored on."""
    train_split: str | None = None
    """Split of the training data, where it has several."""
    test_split: str | None = None
    """Split of the test data, where it has several."""
    labels: Annotated[Labels, tyro.conf.arg(name="")] = field(default_factory=Labels)
    encoder: Literal["target", "online", "all"] = "target"
    """Which encoder: the target encoder (the one in use), the online one, or both."""
    attentive: bool = False
    """Also train attentive probes, which takes far longer."""
    unsupervised: bool = False
    """Measures that need no labels, on --test."""
    limit: int | None = None
    """Use only so many images of each set."""
    seed: int = 0
    """Draws validation splits, label subsets and resamples."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    out: Path | None = None
    """Where to write the result; RUN/probe.json by default."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Probe, arguments, "probe")
    if options.test is None:
        raise UsageError(
            f"which images? craik probe {options.run} --train PATH --test PATH; without labels: "
            f"craik probe {options.run} --test PATH --unsupervised"
        )
    from craik import api
    from craik.probe_run import Source, probe_path, read, run_probe
    from craik.train.run import write_atomic

    model = api.load(options.run, device=options.device)
    view = model.recipe.view.size
    test = read(
        Source(
            path=options.test,
            labels=options.labels.spec(options.test_split),
            split=options.test_split,
            limit=options.limit,
        ),
        view,
    )
    tell(test)
    if options.unsupervised:
        return unsupervised(model, test, options.json)
    if options.train is None:
        train, test = test.split(0.8, seed=options.seed)
        say(f"no --train: fitting on {len(train):,} of these images, scoring on the other {len(test):,}")
    else:
        train = read(
            Source(
                path=options.train,
                labels=options.labels.spec(options.train_split),
                split=options.train_split,
                limit=options.limit,
            ),
            view,
        )
        tell(train)
    report = run_probe(model, train, test, which=options.encoder, attentive=options.attentive, seed=options.seed)
    out = options.out or probe_path(options.run)
    write_atomic(out, json.dumps(report.to_json(), indent=1) + "\n")
    if options.json:
        print(json.dumps(report.to_json()))
    else:
        show(report, out)
    say(f"Next: craik report {options.run}")
    return 0


def show(report: object, out: Path) -> None:
    """The table and what follows from it."""
    from rich.console import Console

    from craik.evaluate.scores import ProbeReport

    assert isinstance(report, ProbeReport)
    console = Console(highlight=False)
    console.print(report.table())
    for line in report.summary():
        console.print(line)
    say(f"protocol and intervals: {out}")


def unsupervised(model: object, test: object, as_json: bool) -> int:
    """Label-free measures: spectrum, and agreement of two crops."""
    from craik.api import Model
    from craik.data.images import ImageData
    from craik.evaluate.collapse import collapse_report
    from craik.evaluate.features import extract
    from craik.evaluate.monitor import crop_agreement

    assert isinstance(model, Model) and isinstance(test, ImageData)
    featurizer = model.featurizer()
    row = {
        **collapse_report(extract(featurizer, test, progress=True)).to_json(),
        "crop_agreement": crop_agreement(featurizer, test),
        "crop_agreement_chance": 1 / len(test),
    }
    print(json.dumps(row, indent=None if as_json else 1))
    return 0
