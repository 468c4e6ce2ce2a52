"""After the last step: what a recipe trains on the latents of a perception that no longer changes."""

import time
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

from craik.errors import CraikError
from craik.pretrain.material import Material
from craik.train.loop import Run
from craik.train.progress import Reporter, clock
from craik.train.stop import StopSignal

KIND = "second stage"  # in events.jsonl


class Stopped(CraikError):
    """Somebody asked to stop."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the progress line shows of it."""

    what: str
    step: int
    total: int
    loss: float
    seconds: float

    def __str__(self) -> str:
        rate = self.step / max(self.seconds, 1e-9)
        loss = "" if self.loss != self.loss else f"  loss {self.loss:.4f}"
        left = clock((self.total - self.step) / max(rate, 1e-9))
        return f"second stage, {self.what} {self.step:,}/{self.total:,}{loss}  {rate:,.0f}/s  left {left}"


@dataclass(slots=True)
class Watched:
    """Shows how far it is, and stops it when asked to."""

    reporter: Reporter
    stop: StopSignal
    what: str = ""
    began: float = field(default_factory=time.perf_counter)

    def __call__(self, what: str, step: int, total: int, loss: float) -> None:
        """Called after every step of whatever is being done.

        Raises:
            Stopped: If somebody asked to stop.
        """
        if what != self.what:
            self.what, self.began = what, time.perf_counter()
            self.reporter.stop()
            self.reporter.start(total, 0)
        self.reporter.show(Shown(what, step, total, loss, time.perf_counter() - self.began))
        if self.stop.asked:
            raise Stopped("asked to stop")


def second_stage(run: Run, material: Material, seed: int) -> bool:
    """Carry it out, look at the model once more, and save it; whether it is done, as it is where there is none.

    Only the first rank trains. One that was cut off begins anew when the run is resumed, with the same result.
    """
    stepper = run.stepper
    recipe, runtime = stepper.recipe, stepper.runtime
    if recipe.second_stage is None or any(row.get("kind") == KIND for row in run.folder.rows("events")):
        return True
    done, began = True, time.perf_counter()
    if runtime.is_main:
        with StopSignal() as stop:
            watched = Watched(run.reporter, stop)
            try:
                material.second_stage(recipe, runtime, torch.Generator().manual_seed(seed), watched)
            except Stopped:
                done = False
            finally:
                run.reporter.stop()
    if runtime.world > 1:
        flag = torch.tensor([done], dtype=torch.uint8, device=runtime.device)
        dist.broadcast(flag, 0)
        done = bool(flag)
    if done:
        run.check()
        if run.save_model is not None and runtime.is_main:
            run.save_model()
        run.write("events", {"step": stepper.step, "kind": KIND, "seconds": time.perf_counter() - began})
    return done
