"""From a budget to a number of steps, which is fixed before the first one."""

import copy
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from craik.data.stream import Stream
from craik.pretrain.material import Material
from craik.pretrain.options import Budget, Conduct
from craik.pretrain.prepare import make_stream
from craik.train import checkpoint
from craik.train.recipe import Recipe
from craik.train.runtime import Runtime
from craik.train.step import Stepper


def plan_steps(
    budget: Budget, recipe: Recipe, material: Material, loader: Stream[Any], conduct: Conduct, runtime: Runtime
) -> int:
    """Total number of steps; fixed here, stored, and used by every schedule and by resume."""
    if budget.steps is not None:
        return budget.steps
    if budget.minutes is None:
        return max(1, round(recipe.epochs * len(loader)))
    seconds = torch.tensor(measure_step(recipe, material, conduct, runtime), device=runtime.device)
    if runtime.world > 1:
        dist.broadcast(seconds, 0)
    overhead = 0.04  # health checks, probes, checkpoints and the first second of everything
    return max(1, int(budget.minutes * 60 * (1 - overhead) / float(seconds)))


def measure_step(recipe: Recipe, material: Material, conduct: Conduct, runtime: Runtime) -> float:
    """Seconds a training step takes, on a copy of the model that is thrown away."""
    trial = replace(recipe, model=copy.deepcopy(recipe.model))
    rng = checkpoint.rng_state()
    stepper = Stepper(trial, runtime, 1000, conduct.seed, conduct.accumulate)
    batches = iter(make_stream(material, recipe, conduct, runtime))
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < 4 and len(times) < 50):
        samples = next(batches)
        last = time.perf_counter()
        float(stepper.train_step(samples).total)
        times.append(time.perf_counter() - last)
    batches.close()
    checkpoint.set_rng_state(rng)
    return float(np.median(times[1:]))
