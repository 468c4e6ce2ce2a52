"""State probe: what a latent holds is read from it, and what a frame does not show is not."""

import json
from pathlib import Path

import pytest
import torch

from craik.errors import UsageError
from craik.evaluate.mlp import fit_mlp
from craik.evaluate.ridge import r2
from craik.evaluate.scores import RAW
from craik.evaluate.state_probe import state_probe
from tests.data.episodes import write
from tests.evaluate.seeing import Eyes, Tints, rooms


def test_places_are_read_from_who_sees_them(tmp_path: Path) -> None:
    train, held = rooms(tmp_path, episodes=20, steps=15).split(0.7)
    found = state_probe({"eyes": Eyes(), "tints": Tints()}, train, held, num_frames=(200, 90))
    assert found.features == ("eyes", "tints", RAW) and (found.num_train, found.num_test) == (200, 90)
    assert found.columns == ("x", "y", "room", "wall_x", "door_y") and not found.left_out
    for column in ("x", "y"):
        assert found.score(column, "eyes").linear.value > 0.99 > 0.5 > found.score(column, "tints").linear.value
    assert found.score("wall_x", "eyes").linear.value < 0.5  # nothing of the wall is in a place
    assert json.loads(json.dumps(found.to_json()))["scores"][0]["column"] == "x"
    assert found.table().row_count == 5
    with pytest.raises(KeyError):
        found.score("z", "eyes")


def test_columns_that_do_not_vary_are_left_out(tmp_path: Path) -> None:
    train, held = rooms(tmp_path, env="two_rooms:fixed", steps=10).split(0.7)
    found = state_probe({"eyes": Eyes()}, train, held, num_frames=(60, 30))
    assert found.left_out == ("wall_x", "door_y") and "x" in found.columns


def test_states_have_to_be_there_and_vary(tmp_path: Path) -> None:
    still = write(tmp_path / "still", (3, 3)).subset([0])
    with pytest.raises(UsageError, match="none of its states"):
        state_probe({}, still.subset([0]), still, num_frames=(1, 1))


def test_an_mlp_reads_what_is_not_linear() -> None:
    x = torch.rand(800, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = (x[:, :1] * x[:, 1:]) * 10 + 3
    state = torch.get_rng_state()
    fitted = fit_mlp(x[:600], y[:600])
    assert (torch.get_rng_state() == state).all()
    assert r2(fitted.predict(x[600:]), y[600:]).item() > 0.9
    again = fit_mlp(x[:600], y[:600])
    assert (again.predict(x) == fitted.predict(x)).all()
