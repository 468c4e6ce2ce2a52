"""Going on with a run from a checkpoint, as if it had never stopped."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from craik import api
from craik.codec import decode, differences, encode
from craik.data.stream import Stream
from craik.errors import UsageError
from craik.pretrain.carry_out import Result, carry_out
from craik.pretrain.options import Conduct, Data
from craik.pretrain.prepare import make_stream, prepare
from craik.recipes import Method
from craik.train import checkpoint
from craik.train.progress import Reporter
from craik.train.run import RunFolder
from craik.train.runtime import start
from craik.train.step import Stepper

Json = dict[str, Any]


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
        UsageError: If there is no run, no whole checkpoint, another config or other data than the run's, or nothing
            to do before `stop_at`.
    """
    reporter = reporter or Reporter()
    folder = RunFolder.open(out)
    record = folder.config
    method = api.find_recorded(record)
    config = decode(method.module.Config, record["config"])
    if overrides is not None and (changed := deviations(method, record, overrides)):
        raise UsageError(
            f"{out} was made with another config ({'; '.join(changed)}). A run goes on as it began: leave these "
            f"options out, or start a new one: craik train {method} --out {out}2 --init {out}"
        )
    stored = decode(Conduct, record["conduct"], "conduct")
    conduct = stored if conduct is None else replace(conduct, seed=stored.seed, accumulate=stored.accumulate)
    known = {f.name for f in fields(Data)}
    data = decode(Data, {name: value for name, value in record["data"].items() if name in known}, "data")
    with start(conduct.device, conduct.precision) as runtime:
        reporter.enabled = reporter.enabled and runtime.is_main
        ready = prepare(method, config, data, conduct, reporter, fitted=True)
        recipe, material = ready.recipe, ready.material
        if material.fingerprint != record["data"].get("fingerprint"):
            then = record["data"].get(material.unit, 0)
            raise UsageError(
                f"{data.data}: not the data that {out} was trained on ({len(material):,} {material.unit} now, "
                f"{then:,} then, or other content); put it back, or start a new run"
            )
        loader = make_stream(material, recipe, conduct, runtime)
        stepper = Stepper(recipe, runtime, record["steps"], conduct.seed, conduct.accumulate)
        restore(stepper, loader, folder, from_step, reporter)
        if stop_at is not None and stop_at <= stepper.step:
            raise UsageError(f"--stop-at {stop_at}: {out} is at step {stepper.step:,} already; give a later one")
        if runtime.is_main:
            folder.sweep()
            folder.rewind(stepper.step)
            checkpoint.forget_after(folder.checkpoints, stepper.step)
            folder.record("events", {"step": stepper.step, "kind": "resume"})
            if stepper.step < stepper.total and (probed := folder.path / "probe.json").exists():
                probed.unlink()
                reporter.say(f"{probed} told of the weights so far and is deleted; probe again after the run")
        return carry_out(stepper, loader, material, folder, record, conduct, runtime, reporter, stop_at)


def deviations(method: Method, record: Json, asked: Json) -> list[str]:
    """How a config differs from that of the run, as it was asked for or as the data completed it."""
    recorded = [decode(method.module.Config, record[name]) for name in ("config", "asked") if name in record]
    return min((differences(encode(config), asked) for config in recorded), key=len)


def restore(
    stepper: Stepper, loader: Stream[Any], folder: RunFolder, from_step: int | None, reporter: Reporter
) -> None:
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
