"""Batch statistics on several ranks: one process with 2B samples equals two with B each, gradients included."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from craik.core.energy import infonce
from craik.core.regularize import Barlow, SIGReg, VICReg, VISReg, alone
from craik.nn.norm import SharedBatchNorm
from craik.train.ranks import gather_over_ranks, gather_own_first, num_ranks, sum_over_ranks

RANKS, LOCAL, DIM = 2, 6, 4
Pair = Callable[[Tensor, Tensor], Tensor]


def losses(reduce: Pair | object, gather: object, own_first: object) -> dict[str, Pair]:
    """Every loss with batch statistics, as a function of two views [N, D]."""
    vicreg, sigreg = VICReg(reduce=reduce), SIGReg(16, reduce=reduce)
    visreg = VISReg(num_directions=16, gather=gather)
    contrast = infonce(gather=own_first)
    norm = SharedBatchNorm(nn.BatchNorm1d(DIM, dtype=torch.float64), reduce)
    return {
        "batch norm": lambda z, other: (norm(z) - other).square().mean(),
        "vicreg": lambda z, other: vicreg.penalty(z) + vicreg.penalty(other),
        "sigreg": lambda z, other: sigreg(z, 3) + sigreg(other, 4),
        "sigreg of views": lambda z, other: sigreg(torch.stack([z, other]), 5),
        "barlow": Barlow(reduce=reduce),
        "visreg": lambda z, other: visreg(z, 3) + visreg(other, 4),
        "visreg of views": lambda z, other: visreg(torch.stack([z, other]), 3),
        "infonce": lambda z, other: contrast(z[:, None, None], other[:, None, None]).mean(),
    }


def batch() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    z, other = (torch.randn(RANKS * LOCAL, DIM, generator=rng, dtype=torch.float64) for _ in range(2))
    return 0.7 * z + 0.1, other


def evaluate(functions: dict[str, Pair], rows: slice) -> dict[str, list[Tensor]]:
    """Loss and gradients of each function on these rows of the batch."""
    found = {}
    for name, loss in functions.items():
        z, other = (x[rows].clone().requires_grad_() for x in batch())
        value = loss(z, other)
        found[name] = [value.detach(), *torch.autograd.grad(value, (z, other))]
    return found


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    rows = slice(rank * LOCAL, (rank + 1) * LOCAL)
    found = evaluate(losses(sum_over_ranks, gather_over_ranks, gather_own_first), rows)
    order = [gather(torch.full((1, 1), float(rank))).flatten() for gather in (gather_over_ranks, gather_own_first)]
    torch.save({"found": found, "order": order, "ranks": num_ranks()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(run_rank, (str(folder),), nprocs=RANKS)
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(RANKS)]


@pytest.mark.parametrize("name", losses(alone, alone, None))
def test_two_processes_equal_one(two: list[dict], name: str) -> None:
    """The mean loss is that of one process, and so is the gradient once ranks average it, as DDP does."""
    value, *grads = evaluate(losses(alone, alone, None), slice(None))[name]
    values = torch.stack([rank["found"][name][0] for rank in two])
    assert torch.allclose(values.mean(), value, rtol=1e-10)
    if name not in ("infonce", "batch norm"):  # the same on every rank; these two are means over own samples
        assert torch.equal(values[0], values[1])
    for i, whole in enumerate(grads):
        parts = torch.cat([rank["found"][name][1 + i] for rank in two]) / RANKS
        assert torch.allclose(parts, whole, rtol=1e-9, atol=1e-12)
        assert float(whole.abs().max()) > 1e-4


def test_local_statistics_would_be_wrong() -> None:
    """The test above can fail: without `reduce`, halves of the batch give another loss."""
    whole = evaluate(losses(alone, alone, None), slice(None))
    half = evaluate(losses(alone, alone, None), slice(0, LOCAL))
    for name in whole:
        assert not torch.allclose(whole[name][0], half[name][0], rtol=1e-3), name


def test_order_of_gathered_samples(two: list[dict]) -> None:
    assert [rank["ranks"] for rank in two] == [RANKS] * RANKS
    assert [rank["order"][0].tolist() for rank in two] == [[0, 1], [0, 1]]
    assert [rank["order"][1].tolist() for rank in two] == [[0, 1], [1, 0]]


def test_one_process_needs_no_group() -> None:
    x = torch.randn(3, 2)
    assert num_ranks() == 1
    assert all(function(x) is x for function in (sum_over_ranks, gather_over_ranks, gather_own_first))
