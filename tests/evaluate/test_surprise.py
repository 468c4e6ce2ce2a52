"""Surprise over time: the published formula, windows of a stream, short clips, the band, and events."""

import itertools
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from craik.core.tokens import Grid
from craik.data.augment import normalize
from craik.errors import UsageError
from craik.evaluate.surprise import HeatMap, Moment, Onlooker, calibrate, events, onlooker, over_time, past_and_future
from craik.recipes import ijepa, levjepa, vjepa, vjepa2, vjepa2_1


class Loaded:
    """A model as `craik.load` gives it, as far as it is looked at."""

    def __init__(self, module, config) -> None:
        torch.manual_seed(0)
        self.recipe = module.build(config)
        self.recipe.model.eval()
        self.source, self.name, self.device = (
            "runs/a",
            f"{module.__name__.rpartition('.')[2]}:tiny",
            torch.device("cpu"),
        )

    @property
    def encoder(self):
        return self.recipe.model.target.representation(self.recipe.model.encoder)


@pytest.fixture(scope="module")
def model() -> Loaded:
    loaded = Loaded(vjepa2, vjepa2.tiny())
    for part in loaded.recipe.model.target.encoder.parameters():  # so that online and target encoder differ
        part.data += 0.02 * torch.randn(part.shape, generator=torch.Generator().manual_seed(1))
    return loaded


@pytest.fixture(scope="module")
def who(model: Loaded) -> Onlooker:
    return onlooker(model)


def film(frames: int, seed: int = 0) -> Tensor:
    return torch.randint(256, (frames, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_published_formula(model: Loaded, who: Onlooker) -> None:
    """Online encoder on the context alone, mask token 0, target encoder on the whole window, normalized, L1."""
    clips = torch.stack([film(8), film(8, 1)])
    learner = model.recipe.model
    x = normalize(clips.float() / 255).transpose(1, 2)
    with torch.no_grad():
        goal = learner.target.encoder(x)
        for context in who.contexts:
            first = context // 2 * 16
            seen = learner.encoder(x, keep=torch.arange(first).expand(2, -1))
            pred = learner.predictor(seen, goal.at[:, None, first:], kind=0)[:, 0]
            wanted = (pred - F.layer_norm(goal.x, (96,))[:, first:]).abs().mean((1, 2))
            torch.testing.assert_close(who(clips, [context])[:, 0], wanted, rtol=1e-4, atol=1e-5)
    assert who.contexts == (2, 4, 6)
    every = who(clips, who.contexts)  # all contexts in one pass
    torch.testing.assert_close(every, torch.cat([who(clips, [c]) for c in who.contexts], 1), rtol=1e-4, atol=1e-5)


def test_contexts_are_those_of_the_paper() -> None:
    def of(frames: int) -> tuple[int, ...]:
        return Onlooker(
            lambda batch: None, Grid(("t", "h", "w"), (frames // 2, 2, 2)), frames, 32, (0,) * 3, (1,) * 3
        ).contexts

    assert of(16) == (2, 4, 6, 8, 10) and of(32) == (4, 8, 12, 16, 20)


def test_the_context_knows_nothing_of_what_comes(who: Onlooker) -> None:
    mask = past_and_future(who.grid, 2, 1)
    assert mask.context.max() == 31 and mask.target.min() == 32 and mask.target.shape == (1, 1, 32)
    told = film(8)
    other = told.clone()
    other[4:] = 255 - other[4:]
    seen = []
    keep = who.latents

    def listening(batch):
        seen.append(keep(batch))
        return seen[-1]

    spy = Onlooker(listening, who.grid, who.frames, who.side, who.mean, who.std)
    spy.look(torch.stack([told]), [4])
    spy.look(torch.stack([other]), [4])
    torch.testing.assert_close(seen[0].pred[0], seen[1].pred[0])
    assert not torch.allclose(seen[0].goal[0].x, seen[1].goal[0].x)


@pytest.mark.parametrize("module", [vjepa, vjepa2_1])
def test_the_rest_of_the_family(module) -> None:
    who = onlooker(Loaded(module, module.tiny()))
    (maps,) = who.look(torch.stack([film(8)]), [4])
    assert maps.shape == (1, 2, 4, 4) and bool((maps > 0).all())


def test_who_cannot_be_surprised_is_told_so() -> None:
    with pytest.raises(UsageError, match="not trained on videos"):
        onlooker(Loaded(ijepa, ijepa.tiny()))
    with pytest.raises(UsageError, match="predicts nothing"):
        onlooker(Loaded(levjepa, levjepa.tiny()))


def test_windows_slide_over_a_stream(who: Onlooker) -> None:
    frames = film(15)
    found = list(over_time(who, frames, context=6, stride=3))
    assert [(m.begin, m.first, m.stop, m.held) for m in found] == [(0, 6, 8, 0), (3, 9, 11, 0), (6, 12, 14, 0)]
    alone = who(torch.stack([frames[3:11]]), [6])
    assert found[1].surprise == pytest.approx(float(alone), rel=1e-4)
    arrays = (frame.permute(1, 2, 0).numpy() for frame in frames)
    together = list(over_time(who, arrays, context=6, stride=3, together=2))
    assert [m.surprise for m in together] == pytest.approx([m.surprise for m in found], rel=1e-4)


def test_a_live_stream_is_answered_at_once_and_forgotten(who: Onlooker) -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def camera() -> Iterator[Tensor]:
        for number in itertools.count():
            frame = film(1, number)[0]
            alive.append(weakref.ref(frame))
            yield frame

    for number, moment in enumerate(itertools.islice(over_time(who, camera(), stride=2), 12)):
        assert len(alive) == 8 + 2 * number and moment.stop == len(alive)
        most = max(most, sum(ref() is not None for ref in alive))
    assert most <= 8 + 2


def test_a_camera_may_write_over_its_buffer(who: Onlooker) -> None:
    buffer = np.zeros((32, 32, 3), dtype=np.uint8)
    frames = film(8)

    def camera() -> Iterator[np.ndarray]:
        for frame in frames:
            buffer[:] = frame.permute(1, 2, 0).numpy()
            yield buffer

    (one,) = over_time(who, camera())
    assert one.surprise == pytest.approx(float(who(frames[None], [4])), rel=1e-4)


def test_a_short_clip_is_judged_by_what_is_there(who: Onlooker) -> None:
    frames = film(6)
    (one,) = over_time(who, frames, context=4)
    assert (one.held, one.first, one.stop, len(one.patches)) == (2, 4, 6, 1)
    held = torch.cat([frames, frames[-1:], frames[-1:]])
    (maps,) = who.look(held[None], [4])
    assert one.surprise == pytest.approx(float(maps[0, 0].mean()), rel=1e-4)
    with pytest.raises(UsageError, match=r"4 frames, and the model is to see 4 before it predicts.*--fps"):
        list(over_time(who, frames[:4], context=4))
    assert list(over_time(who, frames[:0])) == []


def test_contexts_out_of_range_are_refused(who: Onlooker) -> None:
    for context in (0, 3, 8, -2):
        with pytest.raises(UsageError, match="multiple of 2 below 8, such as 2, 4, 6"):
            next(over_time(who, film(8), context=context))
    with pytest.raises(UsageError, match="stride 0"):
        next(over_time(who, film(8), stride=0))
    with pytest.raises(UsageError, match=r"a frame of shape \[3, 3\]"):
        next(over_time(who, [np.zeros((3, 3), dtype=np.uint8)]))


def test_the_band_is_of_ordinary_windows(who: Onlooker) -> None:
    ordinary = [film(8, seed)[None] for seed in range(20)]
    band = calibrate(who, ordinary, level=0.9)
    values = torch.cat([who(w, [4])[:, 0] for w in ordinary])
    assert int((values > band.high).sum()) == 2 and int((values < band.low).sum()) == 2 and band.num_windows == 20
    assert band.median == pytest.approx(float(values.quantile(0.5)), rel=1e-4)
    assert band.patch_median < band.patch_high and band.settled and not calibrate(who, ordinary, level=0.99).settled
    with pytest.raises(UsageError, match="give at least 8"):
        calibrate(who, ordinary[:7])
    with pytest.raises(UsageError, match="level 1"):
        calibrate(who, ordinary, level=1)


def moment(begin: int, surprise: float, patches: Tensor | None = None) -> Moment:
    return Moment(begin, begin + 4, begin + 8, surprise, torch.ones(2, 2, 2) if patches is None else patches, 2)


def test_events_are_runs_above_the_threshold() -> None:
    peak = torch.zeros(2, 2, 2)
    peak[1, 1, 0] = 5
    stream = [moment(0, 1), moment(2, 3), moment(4, 4, peak), moment(6, 1), moment(8, 3)]
    first, second = events(stream, 2.0)
    assert (first.begin, first.stop, first.peak, first.surprise) == (6, 12, 10, 4)
    assert (first.y, first.x) == (0.75, 0.25)
    assert (second.begin, second.stop) == (12, 16)
    assert list(events(stream, 9.0)) == []
    endless = (moment(2 * i, 3.0 if i == 1 else 1.0) for i in itertools.count())
    assert next(events(endless, 2.0)).begin == 6  # told as soon as it is over


def test_heat_is_the_mean_over_windows() -> None:
    heat = HeatMap()
    heat.add(moment(0, 1, torch.full((2, 1, 1), 1.0)))
    heat.add(moment(2, 1, torch.tensor([[[2.0]], [[6.0]]])))
    assert heat.of(3) is None and heat.of(10) is None
    assert [float(heat.of(frame)) for frame in (4, 6, 8)] == [1.0, 1.5, 6.0]
