"""The bank shows the frame that a latent is of, and the landscape has its lowest point at the true action."""

from pathlib import Path

import numpy as np
import pytest
import torch

from craik.data.windows import Windows
from craik.evaluate.bank import bank_of, spread_rows
from craik.evaluate.landscape import landscape, strongest_axes
from tests.evaluate.seeing import Eyes, places, rooms


def test_the_bank_finds_the_frame_of_a_place(tmp_path: Path) -> None:
    episodes = rooms(tmp_path, episodes=4)
    rows = spread_rows(episodes, 40)
    bank = bank_of(Eyes(), episodes.frames.read(rows[:15]), episodes.frames.read(rows[15:]))
    torch.testing.assert_close(bank.latents, places(episodes, rows), atol=0.4, rtol=0)
    found = bank.nearest(bank.latents.view(8, 5, 2))
    assert found.rows.shape == found.distance.shape == (8, 5) and float(found.distance.max()) < 1e-6
    assert (bank.latents[found.rows.reshape(-1)] == bank.latents).all()  # a dot that stands still looks the same
    assert len(np.unique(found.rows)) > 20
    assert bank.pictures(found.rows).shape == (8, 5, 64, 64, 3)
    away = bank.nearest(bank.latents[:1] + 1000)
    assert float(away.distance) > 100
    with pytest.raises(ValueError, match="the bank has"):
        bank.nearest(torch.zeros(3, 7))


@pytest.mark.parametrize("skip", [1, 2])
def test_the_lowest_energy_lies_at_the_true_action(tmp_path: Path, skip: int) -> None:
    episodes = rooms(tmp_path, episodes=3)
    clips = Windows(episodes, 3, skip).read(np.array([0, 7]))
    found = landscape(
        Eyes(skip=skip), clips, (0, 1), ((-2.5, 2.5), (-2.5, 2.5)), history=2, skip=skip, side=11, variance=2.0
    )
    for one, actions in zip(found, clips.actions[:, 1].unflatten(-1, (skip, 2)), strict=True):
        assert one.energy.shape == (11, 11) and one.steps == 1
        np.testing.assert_allclose(one.true, actions.mean(0), atol=1e-6)
        np.testing.assert_allclose(one.lowest, one.true, atol=0.6)
        row, column = 2, 9  # y is the row
        gap = skip * (np.array([one.x[column], one.y[row]]) - one.true)
        assert one.energy[row, column] == pytest.approx(np.square(gap).mean() / 2, rel=0.3)


def test_the_axes_that_vary_most() -> None:
    actions = torch.tensor([1.0, 0.0, 3.0]) * torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0))
    assert strongest_axes(actions) == (0, 2)
    with pytest.raises(ValueError, match="two numbers"):
        strongest_axes(actions[..., :1])
