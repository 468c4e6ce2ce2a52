"""Pretraining from the beginning."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from craik import api
from craik.codec import encode
from craik.pretrain.budget import plan_steps
from craik.pretrain.carry_out import Result, carry_out, write_skipped
from craik.pretrain.options import Budget, Conduct, Data, Init, absolute
from craik.pretrain.prepare import make_stream, prepare, try_out
from craik.pretrain.tensorboard import require_tensorboard
from craik.recipes import Method
from craik.train.progress import Reporter
from craik.train.run import RunFolder
from craik.train.runtime import start
from craik.train.step import Stepper


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
        ready = prepare(method, config, data, conduct, reporter)
        recipe, material = ready.recipe, ready.material
        if init is not None:
            reporter.say("init: " + api.initialize(recipe.model, init.source, str(method), resample=init.resample))
        loader = make_stream(material, recipe, conduct, runtime)
        try_out(recipe, material)
        total = plan_steps(budget, recipe, material, loader, conduct, runtime)
        record = {
            **api.describe(method, ready.config),
            **({} if ready.config == config else {"asked": encode(config)}),  # before the data completed it
            "steps": total,
            "init": None if init is None else absolute(init.source),
            "data": {**asdict(data.located()), "fingerprint": material.fingerprint, material.unit: len(material)},
            "conduct": asdict(conduct),
        }
        folder = RunFolder(out)
        if runtime.is_main:
            folder = RunFolder.create(out, record, overwrite)
            write_skipped(folder, material)
        stepper = Stepper(recipe, runtime, total, conduct.seed, conduct.accumulate)
        return carry_out(stepper, loader, material, folder, record, conduct, runtime, reporter, stop_at)
