"""One training step: schedules, forward, backward in pieces, optimizer, EMA. And the state that it changes."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.nn.parallel import DistributedDataParallel

from craik.core.batch import Batch
from craik.core.jepa import Loss
from craik.errors import CraikError
from craik.nn.norm import share_statistics
from craik.train import checkpoint
from craik.train.optim import build_adamw, set_schedules
from craik.train.ranks import sum_over_ranks
from craik.train.recipe import Learner, Recipe, Sampled
from craik.train.runtime import Runtime, step_rng
from craik.train.schedule import Schedule


class NonFiniteError(CraikError):
    """A loss that is not a number."""


@dataclass(slots=True)
class Stepper:
    """A model, its optimizer and its schedules; `train_step` advances them by one step.

    Attributes:
        recipe: The built parts.
        runtime: Where to compute.
        total: Steps of the whole run; every schedule is laid out over it.
        seed: All randomness of a step follows from seed, step and rank.
        accumulate: Pieces into which a batch is cut to fit into memory.
        step: Optimizer steps done.
        on_note: Told what a person should know, e.g. that memory ran out.
    """

    recipe: Recipe
    runtime: Runtime
    total: int
    seed: int = 0
    accumulate: int = 1
    step: int = 0
    on_note: Callable[[str], None] = print
    optimizer: torch.optim.Optimizer = field(init=False)
    forward: Callable[[Batch, int], Loss] = field(init=False)
    lr: Schedule = field(init=False)
    weight_decay: Schedule = field(init=False)
    momentum: Schedule | None = field(init=False)

    def __post_init__(self) -> None:
        recipe = self.recipe
        recipe.model.to(self.runtime.device).train()
        if self.runtime.world > 1:
            share_statistics(recipe.model, sum_over_ranks)
        self.optimizer = build_adamw(recipe.optim, [recipe.model.get_submodule(name) for name in recipe.trained])
        self.forward = cast(Callable[[Batch, int], Loss], recipe.model)
        if self.runtime.world > 1:
            self.forward = DistributedDataParallel(recipe.model, broadcast_buffers=False)
        self.lay_out(self.total)

    def lay_out(self, total: int) -> None:
        """Spread the schedules over so many steps."""
        self.total = total
        self.lr = self.recipe.optim.lr_schedule(total)
        self.weight_decay = self.recipe.optim.weight_decay_schedule(total)
        self.momentum = None if self.recipe.momentum is None else self.recipe.momentum(total)

    @property
    def model(self) -> Learner:
        """The model, not wrapped for several ranks."""
        return cast(Learner, self.recipe.model)

    def train_step(self, samples: Sampled) -> Loss:
        """One optimizer step; the loss is that of the batch before it."""
        batch = self.prepare(samples)
        set_schedules(self.optimizer, self.lr(self.step + 1), self.weight_decay(self.step + 1))
        loss = self.backward(batch)
        if self.recipe.optim.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters(), self.recipe.optim.clip_norm)
        self.optimizer.step()
        if self.momentum is not None:
            self.model.target.update(self.model.encoder, self.momentum(self.step))
        self.step += 1
        return loss

    def prepare(self, samples: Sampled) -> Batch:
        """Augment and mask on the device."""
        rng = step_rng(self.seed, self.step, self.runtime.rank)
        return self.recipe.prepare(samples.to(self.runtime.device), rng).to(self.runtime.device)

    def backward(self, batch: Batch) -> Loss:
        """Gradients of the whole batch, in as many pieces as fit into memory."""
        while True:
            try:
                return self.backward_pieces(batch)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                size = len(batch.parts[0].x)
                if self.runtime.world > 1 or size % (2 * self.accumulate):
                    raise CraikError(
                        f"out of memory at batch {size} in {self.accumulate} pieces; use a smaller --batch"
                    ) from None
            self.accumulate *= 2
            torch.cuda.empty_cache()
            self.on_note(
                f"out of memory at batch {size}; continuing at {size // self.accumulate} x {self.accumulate} "
                f"accumulation. Pin with --accumulate {self.accumulate}"
            )

    def backward_pieces(self, batch: Batch) -> Loss:
        """Gradients of a batch cut into `accumulate` pieces, and the mean loss of the pieces."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        pieces = batch.chunks(self.accumulate)
        for piece in pieces:
            ddp = self.forward if isinstance(self.forward, DistributedDataParallel) else None
            with nullcontext() if ddp is None or piece is pieces[-1] else ddp.no_sync():
                with self.runtime.autocast():
                    loss = self.forward(piece, self.step)
                refuse_non_finite(loss)
                (loss.total / len(pieces)).backward()
            losses.append(Loss(loss.total.detach(), {name: term.detach() for name, term in loss.terms.items()}))
        terms = {name: torch.stack([loss.terms[name] for loss in losses]).mean() for name in losses[0].terms}
        return Loss(torch.stack([loss.total for loss in losses]).mean(), terms)

    def parameters(self) -> Iterator[nn.Parameter]:
        """What the optimizer moves."""
        for group in self.optimizer.param_groups:
            yield from group["params"]

    def grad_norm(self) -> float:
        """Norm of all gradients of the last step."""
        return float(nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None]))

    def state(self) -> dict[str, Any]:
        """Model, optimizer and progress; the tensors are the live ones."""
        return {
            "model": self.recipe.model.state_dict(),
            "optimizer": get_optimizer_state_dict(self.recipe.model, self.optimizer),
            "progress": {"step": self.step, "total": self.total, "seed": self.seed, "accumulate": self.accumulate},
            "rng": checkpoint.rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state that `state` gave, with its tensors read from a checkpoint or copied."""
        self.recipe.model.load_state_dict(state["model"])
        set_optimizer_state_dict(self.recipe.model, self.optimizer, state["optimizer"])
        progress = state["progress"]
        self.step, self.seed, self.accumulate = progress["step"], progress["seed"], progress["accumulate"]
        self.lay_out(progress["total"])
        checkpoint.set_rng_state(state["rng"])


def out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def refuse_non_finite(loss: Loss) -> None:
    """Stop before a loss that is not a number reaches the weights. On a GPU the loop looks less often: it waits."""
    if loss.total.device.type == "cpu" and not math.isfinite(float(loss.total.detach())):
        raise NonFiniteError(
            "loss is not a number: " + ", ".join(f"{k} {float(v.detach()):g}" for k, v in loss.terms.items())
        )
