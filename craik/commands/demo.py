"""craik demo: the main job on embedded data, offline. Images here; worlds in `demo_world`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from craik.commands.arguments import free_folder, parse, quoted, say
from craik.errors import UsageError

if TYPE_CHECKING:
    from craik.evaluate.factors import FactorReport
    from craik.pretrain import Result

RECIPE = "ijepa:tiny"
SMALLEST = 256  # images to learn from


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Pretrain on procedural shapes, and show which factors the representation holds and which nuisance it drops."""

    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Run folder to make; runs/demo, or the next free name."""
    steps: int = 800
    """Optimizer steps."""
    images: int = 6000
    """Images to draw."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    if arguments and arguments[0] == "world":
        from craik.commands import demo_world

        return demo_world.main(arguments[1:])
    if arguments and arguments[0] == "images":
        arguments = arguments[1:]
    elif arguments and not arguments[0].startswith("-"):
        raise UsageError(f"no demo {arguments[0]!r}; there are: craik demo images, craik demo world")
    options = parse(Demo, arguments, "demo images")
    if options.steps < 1 or options.images < SMALLEST:
        raise UsageError(f"the demo wants --steps of at least 1 and --images of at least {SMALLEST}")
    began = time.perf_counter()
    say(f"1/3  pretraining {RECIPE} on {options.images:,} procedural images; no labels, no download")
    out = options.out or free_folder(Path("runs/demo"))
    if train(options, out).outcome.interrupted:
        say(f"{out}: saved. Go on: craik train --resume {quoted(out)}   and then: craik report {quoted(out)}")
        return 130
    say("2/3  probing: what can be read from the frozen features, beside a random encoder and raw pixels")
    report = measure(out, options)
    say("3/3  drawing the report")
    from craik.report_run import report as draw

    page = draw(out)
    minutes = (time.perf_counter() - began) / 60
    if options.json:
        print(json.dumps({"run": str(out), "report": str(page), "minutes": minutes, "factors": report.to_json()}))
    say(f"done in {minutes:.1f} min. Open {page} in a browser.")
    say("Next, on your own images:")
    say("  craik train lejepa:conv32 --data PATH/TO/IMAGES --out runs/mine --minutes 30")
    say("  craik report runs/mine")
    say("  craik search runs/mine QUERY.jpg --in PATH/TO/IMAGES")
    return 0


def train(options: Demo, out: Path) -> Result:
    """Pretrain, as craik train would."""
    from craik.pretrain import Budget, Data, pretrain
    from craik.recipes import find

    method = find(RECIPE)
    data = Data(data=f"toy:shapes?n={options.images}")
    return pretrain(method, method.config, out, data, Budget(steps=options.steps))


def measure(out: Path, options: Demo) -> FactorReport:
    """Read every factor of the toy data from frozen features."""
    from rich.console import Console

    from craik import api
    from craik.data.images import load_images
    from craik.evaluate.factors import factor_probe
    from craik.probe_run import featurizers
    from craik.train.run import write_atomic

    model = api.load(out)
    side = model.recipe.view.size
    train = load_images("toy:shapes?n=3000", size=side, split="val")
    test = load_images("toy:shapes?n=1500", size=side, split="test")
    trained, random = featurizers(model, "target")
    report = factor_probe(train, test, trained, random, raw_size=16, progress=True)
    write_atomic(out / "factors.json", json.dumps(report.to_json(), indent=1) + "\n")
    if not options.json:
        Console(highlight=False).print(report.table())
    return report
