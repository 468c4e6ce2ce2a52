"""craik probe: what a run's features know, beside baselines."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from craik.commands.arguments import parse, quoted, say
from craik.commands.data import Labels, tell
from craik.errors import UsageError

if TYPE_CHECKING:
    from craik.api import Model
    from craik.data.images import ImageData
    from craik.evaluate.scores import ProbeReport
    from craik.probe_run import Source


FEWEST = 5  # labeled images of which a fifth can be held out


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Measure frozen features with kNN, linear, few-label and attentive probes, always beside baselines."""

    run: tyro.conf.Positional[str]
    """Run folder, or a model folder."""
    train: str | None = None
    """Labeled images that probes are fitted on; without it, four fifths of --test."""
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
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Where to write the result; RUN/probe.json by default."""
    json: bool = False
    """Print the result as JSON."""

    def source(self, path: str, split: str | None) -> Source:
        """Images at a path, as these options want them."""
        from craik.probe_run import Source

        return Source(path=path, labels=self.labels.spec(split), split=split, limit=self.limit)


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parse(Probe, arguments, "probe")
    run = quoted(options.run)
    if options.test is None:
        given = "PATH" if options.train is None else quoted(options.train)
        raise UsageError(
            f"which images are scored? craik probe {run} --train {given} --test PATH; without labels: "
            f"craik probe {run} --test PATH --unsupervised"
        )
    from craik import api
    from craik.probe_run import probe_path, read, run_probe
    from craik.train.run import write_atomic

    model = api.load(options.run, device=options.device)
    view, clip = model.recipe.view.size, model.recipe.clip
    test = read(options.source(options.test, options.test_split), view, clip, labels_required=not options.unsupervised)
    tell(test)
    if options.unsupervised:
        return unsupervised(model, test, options)
    if options.train is None:
        test = test.labeled()
        if len(test) < FEWEST:
            raise UsageError(
                f"{options.test}: {len(test)} images with a label cannot be divided into some to fit on and others to "
                f"score; give --train PATH, or label {FEWEST} or more"
            )
        train, test = test.split(0.8, seed=options.seed)
        say(f"no --train: fitting on {len(train):,} of these images, scoring on the other {len(test):,}")
    else:
        train = read(options.source(options.train, options.train_split), view, clip, labels_required=True)
        tell(train)
    report = run_probe(model, train, test, which=options.encoder, attentive=options.attentive, seed=options.seed)
    out = options.out or probe_path(options.run)
    write_atomic(out, json.dumps(report.to_json(), indent=1) + "\n")
    if options.json:
        print(json.dumps(report.to_json()))
    else:
        show(report)
    say(f"protocol and intervals: {out}")
    say(f"Next: craik report {run}")
    return 0


def show(report: ProbeReport) -> None:
    """The table and what follows from it."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(report.table())
    for line in report.summary():
        console.print(line, markup=False, soft_wrap=True)


def unsupervised(model: Model, test: ImageData, options: Probe) -> int:
    """Label-free measures: spectrum, and agreement of two crops."""
    from craik.evaluate.collapse import collapse_report
    from craik.evaluate.features import extract
    from craik.evaluate.monitor import crop_agreement
    from craik.train.run import write_atomic

    featurizer = model.featurizer()
    row = {
        **collapse_report(extract(featurizer, test, progress=True)).to_json(),
        "crop_agreement": crop_agreement(featurizer, test),
        "crop_agreement_chance": 1 / len(test),
    }
    if options.out is not None:
        write_atomic(options.out, json.dumps(row, indent=1) + "\n")
    print(json.dumps(row, indent=None if options.json else 1))
    say(f"Next: craik report {quoted(options.run)}")
    return 0
