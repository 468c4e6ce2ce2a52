"""States with NaN: the scores of a run leave such columns out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from craik.data.episode import Episodes
from craik.data.episode_writer import Writer
from craik.pretrain.foresight import States
from tests.data.episodes import make
from tests.pretrain.test_foresight import CPU, Counting, recipe

__all__ = ["recipe"]


def test_columns_with_nan_are_left_out(recipe, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with Writer(tmp_path) as writer:
        for number in range(4):
            made = make(10 * number, 30)
            assert made.states is not None
            states = made.states.astype(np.float32)
            states[3, 0] = np.nan if number == 3 else states[3, 0]
            writer.add(replace(made, states=states))
    train, held = (Episodes.open(tmp_path).subset(rows) for rows in ([0, 1, 2], [3]))
    states = States.of(recipe, train, held, CPU)
    assert states is not None and states.states[0].shape[1] == 1
    assert torch.isfinite(torch.tensor(states.score(Counting())["state_r2"]))
