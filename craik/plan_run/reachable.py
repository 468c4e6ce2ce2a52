"""When to say "cannot reach this goal": calibrated on pairs that can be reached, tried on goals of both kinds.

What is judged is the first plan of an episode: how near its end comes to the goal, by the latent distance. A goal that
cannot be reached is the picture of a place in another layout, with its walls elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craik.envs.world import World, take
from craik.evaluate.bootstrap import Interval
from craik.evaluate.policies import Planner
from craik.evaluate.scenes import Scenes, draw
from craik.evaluate.success import wilson
from craik.plan import LatentDistance, Situation, calibrate, imagine, terminal
from craik.plan_run.asked import Asked
from craik.plan_run.prepare import Prepared
from craik.plan_run.subject import Subject

NUM = 60
APART = 1_000_003  # of the seeds of pairs to calibrate on from those that are tried
RATE = 0.05


@dataclass(frozen=True, slots=True)
class Answers:
    """How often the alarm was raised."""

    calibrated_on: int
    rate: float
    """Share of reachable goals that may be called unreachable."""
    threshold: float
    false_alarms: Interval
    """Share of alarms among other reachable goals."""
    detected: Interval
    """Share of alarms among unreachable goals."""

    def sentence(self) -> str:
        """For people."""
        return (
            f"cannot reach: calibrated on {self.calibrated_on} reachable pairs for {100 * self.rate:.0f} % false "
            f"alarms; of other reachable goals {self.false_alarms.percent()} % raise it, of goals in another layout "
            f"{self.detected.percent()} %"
        )


def ask_reachability(
    subject: Subject, world: World[Any], asked: Asked, prepared: Prepared, stop: Callable[[], bool]
) -> Answers | None:
    """Calibrate the alarm and try it; None if it was stopped."""
    planner = prepared.planner(subject, world, asked)
    held, tried = (draw(world, NUM, asked.seed + apart, asked.distance) for apart in (APART, 2 * APART))
    elsewhere = Scenes(tried.start, take(tried.goal, np.roll(np.arange(NUM), 1)), tried.distance)
    costs = []
    for scenes in (held, tried, elsewhere):
        if stop():
            return None
        costs.append(first_costs(planner, world, scenes, prepared.scale, asked))
    alarm = calibrate(costs[0], RATE)
    false, true = (int(alarm.cannot_reach(c).sum()) for c in costs[1:])
    return Answers(NUM, RATE, alarm.threshold, wilson(false, NUM), wilson(true, NUM))


@torch.no_grad()
def first_costs(planner: Planner, world: World[Any], scenes: Scenes, scale: float, asked: Asked) -> Tensor:
    """Latent distance to the goal at the end of the first plan of each episode, [E]."""
    found = []
    for first in range(0, len(scenes), asked.together):
        some = scenes.some(slice(first, first + asked.together))
        planner.begin(world, some, asked.seed)
        planner.see(world.render(some.start))
        planner.act(some.start)
        assert isinstance(planner.situation, Situation)
        actions = planner.plan.actions.unsqueeze(1)
        imagined = imagine(planner.model, planner.situation, actions)
        found.append(LatentDistance(planner.goal, scale, terminal)(imagined, actions)[:, 0].cpu())
    return torch.cat(found)
