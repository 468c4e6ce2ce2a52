"""Several futures of a world of chance: who knows them is told from who does not, and neither is flattered."""

import json
import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from craik.envs import find
from craik.errors import UsageError
from craik.evaluate import chance
from craik.evaluate.branches import branch, distinct
from craik.evaluate.chance import SIMULATOR, ChanceReport, Seer, chance_report
from tests.evaluate.skating import WORLD, choosing, knowing


def test_the_ice_has_two_futures_and_the_rest_one() -> None:
    found = branch(WORLD, 60, 40, seed=0)
    on_ice = torch.from_numpy(WORLD.on_ice(WORLD.reset(60, np.random.default_rng([0, 17]))))
    assert (found.modes >= 0).sum(1)[~on_ice].eq(1).all()
    forks = found.take(on_ice.nonzero().flatten())
    assert (forks.modes >= 0).sum(1).eq(2).all()
    shares = forks.shares(slice(None))
    torch.testing.assert_close(shares.sum(1), torch.ones(len(shares), dtype=torch.float64))
    assert float(shares.amax(1).mean()) == pytest.approx(0.7, abs=0.05)
    x = found.states[found.number[:, 0]]
    again = branch(WORLD, 60, 40, seed=0)
    torch.testing.assert_close(x, again.states[again.number[:, 0]], rtol=0, atol=0)
    assert x.shape == (60, 3) and found.seen.shape == (60, 1, 3, 64, 64)


def test_branches_of_discrete_actions_several_frames_and_skips() -> None:
    found = branch(find("grid:slippery"), 5, 40, seed=0, history=3, skip=2, horizon=2)
    assert (
        found.seen.shape == (5, 3, 3, 64, 64) and found.past.shape == (5, 2, 10) and found.actions.shape == (5, 2, 10)
    )
    torch.testing.assert_close(found.actions.unflatten(-1, (2, 5)).sum(-1), torch.ones(5, 2, 2))
    assert (found.modes >= 0).sum(1).max() > 2
    first, which = distinct(found.frames.movedim(1, -1).numpy())
    assert len(first) <= len(which) == len(found.states)


@pytest.fixture(scope="module")
def report() -> ChanceReport:
    return compare({"mean": knowing(), "both": choosing(0.7), "fair": choosing(0.5)})


def compare(seers: Mapping[str, Seer], **settings: int) -> ChanceReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chance, "NUM_READ", 256)  # the places are there to be read
        return chance_report(seers, WORLD, baseline="mean", columns=("x", "y"), num=100, **settings)


def test_who_knows_both_sides_covers_them_and_nothing_else(report: ChanceReport) -> None:
    both, mean, noise = report.score("both"), report.score("mean"), report.score("mean with noise")
    assert both.coverage.covered.value > 0.95 and both.coverage.precise.value > 0.95  # at the brink it misjudges
    assert both.nearest.best.value < 0.2 * both.nearest.deterministic.value
    assert both.nearest.over_deterministic.high < 0 and both.nearest.over_noise.high < 0
    assert mean.coverage.covered.value < 0.35  # short moves alone
    assert noise.nearest.best.value < 0.5 * mean.nearest.best.value  # so being near once is no proof
    assert noise.coverage.precise.value < 0.5
    assert report.score(SIMULATOR).nearest.best.value < 0.05 * both.nearest.deterministic.value
    assert report.num_forks + report.num_certain == 100


def test_shares_are_those_of_the_simulator_or_not(report: ChanceReport) -> None:
    both, fair, truth = (report.score(name).share_error for name in ("both", "fair", SIMULATOR))
    assert both.value < truth.value + 0.02
    assert fair.low > truth.high and fair.value == pytest.approx(0.2, abs=0.04)


def test_where_there_is_one_future_samples_agree(report: ChanceReport) -> None:
    for name in ("mean", "both"):
        found = report.score(name, certain=True)
        assert found.coverage.covered.value == found.coverage.precise.value == 1
    with pytest.raises(KeyError):
        report.score("nobody")


def test_information_and_controls(report: ChanceReport) -> None:
    entropy = -0.7 * math.log(0.7) - 0.3 * math.log(0.3)
    assert report.entropy == pytest.approx(entropy, abs=0.02)
    both, fair = report.information
    assert (both.model, fair.model) == ("both", "fair") and both.budget == pytest.approx(math.log(2))
    assert both.forks == pytest.approx(entropy, abs=0.13) and fair.forks == pytest.approx(math.log(2), abs=1e-4)
    mean, told, _ = report.energies
    assert mean.control is None and told.control is not None
    own, shuffled, wrong = told.control
    assert own < 0.1 * shuffled and shuffled < wrong
    assert told.min_over_z.best.value < 0.2 * mean.min_over_z.deterministic.value


def test_two_steps_ahead_there_are_more(report: ChanceReport) -> None:
    further = compare({"mean": knowing(), "both": choosing(0.7)}, horizon=2)
    assert further.entropy > 1.2 * report.entropy and further.information == () and len(further.tables()) == 3
    assert further.score("both").coverage.covered.value > 0.9 > 0.5 > further.score("mean").coverage.covered.value


def test_report_is_json_and_tables(report: ChanceReport) -> None:
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["forks"][0]["source"] == "mean" and plain["num_tried"] == report.num_tried
    assert [table.row_count for table in report.tables()] == [5, 5, 3, 2]
    both, fair = report.summary()
    assert both.startswith("both is nearer to what came true than mean with noise") and "of 0.69 nats; with" in fair


def test_what_cannot_be_compared_is_refused() -> None:
    seers = {"mean": knowing(), "both": choosing(0.7)}
    with pytest.raises(UsageError, match="a model without z, one of mean, both; got both"):
        chance_report(seers, WORLD, baseline="both", columns=("x",))
    with pytest.raises(UsageError, match="has no z; its state is x, y, on_ice"):
        chance_report(seers, WORLD, baseline="mean", columns=("z",))
    with pytest.raises(UsageError, match="nothing is left to chance"):
        chance_report(seers, find("two_rooms"), baseline="mean", columns=("x", "y"), num=20)
