"""Pictures of imagined futures: what is drawn is what was given."""

import io

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from craik.plan.recorded import Decision, Recorded
from craik.report.bands import Line, ahead_figure
from craik.report.film import Strip, film_sheet
from craik.report.iterations import iterations_figure, joined
from craik.report.landscape import Ground, landscape_sheet
from craik.report.latents import Step, latent_map, usability_figure
from craik.report.planning_gif import PAD, SIDE, planning_gif, small_side
from craik.report.style import BAD, GOOD, TRAINED, rgb
from craik.report.surprise import Aucs, Example, surprise_figure

RED, BLUE, GREEN = (200, 30, 30), (30, 60, 200), (20, 150, 60)


def picture(color: tuple[int, int, int], side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), color, dtype=np.uint8)


def texts(figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]


def images(figure) -> list[tuple[int, ...]]:
    """The color of the first pixel of every picture that is drawn."""
    return [tuple(int(c) for c in a.images[0].get_array()[0, 0]) for a in figure.axes if a.images]


def strip(num: int = 3) -> Strip:
    errors = [0.01 * (i + 1) for i in range(num)]
    return Strip(
        "episode 7", [picture(RED)] * 2, [picture(BLUE)] * num, [picture(GREEN)] * num, [1, 2, 4][:num], errors
    )


def test_a_film_has_what_was_seen_what_came_and_what_was_imagined() -> None:
    figure = film_sheet([strip(), strip(2)])
    assert images(figure) == [RED, RED, BLUE, BLUE, BLUE, GREEN, GREEN, GREEN, RED, RED, BLUE, BLUE, GREEN, GREEN]
    drawn = texts(figure)
    assert {"-1", "now", "+1", "+2", "+4", "0.03"} <= set(drawn) and any("episode 7" in text for text in drawn)
    with pytest.raises(ValueError, match="at least one"):
        film_sheet([])
    with pytest.raises(ValueError, match="different lengths"):
        film_sheet([strip()._replace(error=[0.1])])


def test_the_error_is_drawn_from_the_first_step_on() -> None:
    values = [0.1, 0.2, 0.4]
    figure = ahead_figure([Line("model", TRAINED, values, [0.05] * 3, [0.5] * 3)], "Error")
    (place,) = figure.axes
    np.testing.assert_allclose(place.lines[0].get_data(), [[1, 2, 3], values])
    assert place.get_yscale() == "log" and place.lines[0].get_color() == TRAINED and len(place.collections) == 1


def test_the_landscape_marks_the_true_action_and_the_lowest_energy() -> None:
    x, y = np.linspace(-1, 1, 5), np.linspace(-2, 2, 5)
    energy = np.square(x - 0.5)[None] + np.square(y + 1)[:, None] + 0.01
    ground = Ground(picture(RED), picture(BLUE), x, y, energy.astype(np.float32), (0.4, -1.1), (0.5, -1.0))
    figure = landscape_sheet([ground, ground], ("push x", "push y"))
    assert images(figure) == [RED, BLUE] * 2
    grounds = [a for a in figure.axes if a.get_xlabel() == "push x"]
    assert len(grounds) == 2 and grounds[0].get_ylabel() == "push y"
    mesh, lowest, true = grounds[0].collections
    assert mesh.get_array().shape == (5, 5) and float(mesh.get_array()[1, 3]) == pytest.approx(energy[1, 3])
    np.testing.assert_allclose(true.get_offsets(), [[0.4, -1.1]])
    np.testing.assert_allclose(lowest.get_offsets(), [[0.5, -1.0]])
    with pytest.raises(ValueError, match="at least one"):
        landscape_sheet([], ("a", "b"))


def test_costs_of_searches_that_stopped_early_are_kept() -> None:
    trace = joined([np.array([3.0, 2.0, 1.0]), np.array([5.0, 4.0])])
    assert trace.tolist() == [[3, 5], [2, 4], [1, 4]]
    (place,) = iterations_figure({"planner": trace}).axes
    np.testing.assert_allclose(place.lines[0].get_data(), [[1, 2, 3], [4, 3, 2.5]])
    assert place.get_legend().get_texts()[0].get_text() == "planner, 2 plans"
    with pytest.raises(ValueError, match="no plan"):
        iterations_figure({})


def test_the_surprise_test_shows_frames_curves_and_aucs() -> None:
    curves = [
        Line(n, c, [0.1, 0.1, v], [0.05] * 3, [v + 1] * 3)
        for n, c, v in (("untouched", GOOD, 0.1), ("teleport", BAD, 3))
    ]
    aucs = [Aucs("trained", (0.97, 0.95, 0.99), (0.6, 0.5, 0.7)), Aucs("untrained", (0.7, 0.6, 0.8), (0.9, 0.8, 1.0))]
    figure = surprise_figure(curves, 2, aucs, Example(*([picture(c)] * 2 for c in (RED, BLUE, GREEN))))
    assert images(figure) == [RED, RED, BLUE, BLUE, GREEN, GREEN]
    left = next(a for a in figure.axes if a.get_title(loc="left") == "Surprise over time, trained")
    np.testing.assert_allclose(left.lines[1].get_data(), [[-2, -1, 0], [0.1, 0.1, 3]])
    drawn = texts(figure)
    assert {"teleport 0.97", "recolor 0.60", "teleport 0.70", "recolor 0.90"} <= set(drawn)


def test_a_map_for_each_column_of_the_state() -> None:
    latents = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    states = np.stack([np.arange(50.0), -np.arange(50.0), np.ones(50)], 1)
    figure = latent_map(latents, states, ["x", "y", "room"])
    maps = [a for a in figure.axes if a.get_visible() and a.collections and a.get_xlabel().startswith("first")]
    assert len(maps) == 3 and {"x", "y", "room"} <= set(texts(figure))
    np.testing.assert_allclose(maps[1].collections[0].get_array(), -np.arange(50.0))
    with pytest.raises(ValueError, match="there are none"):
        latent_map(latents, states, [])


def test_bands_that_do_not_rise_are_marked() -> None:
    steps = np.repeat([1, 2, 4, 8], 25)
    bands = [Step(1, 2, 0.1, True), Step(2, 4, 0.3, True), Step(4, 9, 0.2, False)]
    (place,) = usability_figure(steps / 10.0, steps, bands, "usable up to 3 steps").axes
    assert place.get_title(loc="left") == "usable up to 3 steps"
    np.testing.assert_allclose(place.lines[0].get_ydata(), [0.1, 0.3, 0.2])
    bad = next(c for c in place.collections if c.get_label() == "not clearly farther")
    np.testing.assert_allclose(bad.get_offsets()[0, 1], 0.2)


def episode(num: int = 6, reached: int | None = 4) -> Recorded:
    frames = np.stack([picture((20 * t, 0, 0)) for t in range(num)])
    decisions = tuple(
        Decision(
            step, torch.zeros(1, 2), torch.zeros(0, 2), torch.zeros(4, 2), torch.full((4, 2), step), torch.ones(3), 1.0
        )
        for step in (0, 3)
    )
    truth = np.zeros((num, 2))
    return Recorded(
        0, frames, picture(GREEN), torch.zeros(2), np.zeros((num - 1, 2)), truth, truth[0], reached, 2, decisions
    )


def test_the_gif_shows_agent_goal_and_what_is_imagined() -> None:
    asked = []

    def nearest(latents: torch.Tensor) -> np.ndarray:
        asked.append(latents)
        return np.stack([picture(BLUE if latents[0, 0] == 0 else RED)] * len(latents))

    file = Image.open(io.BytesIO(planning_gif(episode(), nearest)))
    assert file.n_frames == 6 and len(asked) == 2
    middle, small = SIDE // 2, small_side()
    row, below = 52 + middle, file.size[1] - PAD - small // 2
    for step in range(6):
        file.seek(step)
        shown = np.asarray(file.convert("RGB")).astype(int)
        assert abs(shown[row, PAD + middle] - (20 * step, 0, 0)).max() <= 12
        assert abs(shown[row, 2 * PAD + SIDE + middle] - GREEN).max() <= 12
        assert abs(shown[below, PAD + small // 2] - (BLUE if step < 3 else RED)).max() <= 12
    said = shown[52 + SIDE : 52 + SIDE + 26].reshape(-1, 3)
    assert (np.abs(said - rgb(GOOD)).max(1) <= 12).any()  # reached, in green


def test_a_gif_without_a_bank_is_smaller_and_says_what_failed() -> None:
    file = Image.open(io.BytesIO(planning_gif(episode(reached=None))))
    with_bank = Image.open(io.BytesIO(planning_gif(episode(), lambda z: np.stack([picture(BLUE)] * len(z)))))
    assert file.size[1] < with_bank.size[1] and file.n_frames == 6
    file.seek(5)
    shown = np.asarray(file.convert("RGB")).astype(int).reshape(-1, 3)
    assert (np.abs(shown - rgb(BAD)).max(1) <= 12).any()
