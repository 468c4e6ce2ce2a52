import io
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from craik.core.mask import Mask
from craik.core.tokens import Grid
from craik.nn.encoder import Encoder
from craik.nn.position import Table
from craik.nn.sizes import Size
from craik.nn.tokenizer import Patchify
from craik.report.contact import Found, Hit, contact_sheet, duplicate_sheet
from craik.report.curves import alarm_key, crowded, curves
from craik.report.features import Basis, feature_sheet, stable_basis
from craik.report.masks import CONTEXT, HIDDEN, TARGETS, context_picture, mask_sheet, predictor_picture, target_picture
from craik.report.record import Record
from craik.report.scatter import apart, map_sheet, project
from craik.report.similarity import Heat, heat_sheet, last_attention, overlay, similarity
from craik.report.spectrum import spectrum_figure
from craik.report.style import STYLE, class_colors, enlarge, fit, label, png, rgb, spread_over, width_of

from .runs import alarm_row, metric_rows, write_run

GRID = Grid(("h", "w"), (4, 4))


def picture(value: int = 200, side: int = 16) -> np.ndarray:
    return np.full((side, side, 3), value, dtype=np.uint8)


def texts(figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text)]


def test_png_is_wide_enough_and_the_same_every_time() -> None:
    z = torch.arange(12.0).view(4, 3).sin()
    first, second = (png(spectrum_figure({"trained": z})) for _ in range(2))
    assert first == second
    assert Image.open(io.BytesIO(first)).size[0] == 1500


def test_drawing_leaves_the_style_of_the_program_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    curves(Record.read(write_run(tmp_path)), 96)
    assert dict(matplotlib.rcParams) == before and before["font.size"] != STYLE["axes.titlesize"]


def test_curves_draw_the_recorded_numbers_and_say_what_the_loss_is_not(tmp_path: Path) -> None:
    figure = curves(Record.read(write_run(tmp_path)), 96)
    axes = {a.get_title(loc="left"): a for a in figure.axes}
    rank = axes["Effective rank of 96: directions in use"].lines[0]
    np.testing.assert_allclose(rank.get_ydata(), [10, 17.5, 25, 32.5, 40])
    np.testing.assert_array_equal(rank.get_xdata(), [0, 50, 100, 150, 200])
    assert "Loss and its terms (not a quality signal)" in axes
    score = axes["Score beside the random encoder"]
    np.testing.assert_allclose(score.lines[0].get_ydata()[-1], 41.0)
    np.testing.assert_allclose(score.lines[1].get_ydata(), [20.0, 20.0])
    error = axes["Predictor error over that of trivial guesses"]
    np.testing.assert_allclose([line.get_ydata()[0] for line in error.lines[:3]], [0.5, 0.8, 0.4])
    for place in figure.axes:
        assert place.get_ylabel()


def test_errors_far_above_the_guess_stay_on_the_plot(tmp_path: Path) -> None:
    rows = [{**row, "error": 2.0} if "error" in row else row for row in metric_rows()]
    figure = curves(Record.read(write_run(tmp_path, rows)), 96)
    error = next(a for a in figure.axes if a.get_title(loc="left").startswith("Predictor error"))
    low, high = error.get_ylim()
    drawn = np.concatenate([line.get_ydata() for line in error.lines])
    assert error.get_yscale() == "log" and low < drawn.min() and drawn.max() == 8.0 < high


def test_curves_mark_and_name_alarms(tmp_path: Path) -> None:
    events = [alarm_row(100, "dimensional collapse"), alarm_row(104, "data starvation")]
    record = Record.read(write_run(tmp_path, events=events))
    figure = curves(record, 96)
    assert crowded(record.alarms, 10) == [[0, 1]] and crowded(record.alarms, 2) == [[0], [1]]
    assert alarm_key(record.alarms) in texts(figure)
    assert "Alarm 1, step 100: dimensional collapse" in alarm_key(record.alarms)
    loss = figure.axes[0]
    assert [100, 100] in [list(line.get_xdata()) for line in loss.lines]


@pytest.mark.parametrize("rows", [metric_rows(10)[:1], metric_rows(10)[1:2], [{"step": 0, "loss": 0.0}]])
def test_curves_of_a_run_that_has_just_begun(tmp_path: Path, rows: list[dict]) -> None:
    figure = curves(Record.read(write_run(tmp_path, rows)))
    drawn = [place for place in figure.axes if place.get_visible() and place.get_title(loc="left")]
    assert drawn and all(place.lines or place.collections for place in drawn)


def test_curves_want_metrics(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no metrics"):
        curves(Record.read(write_run(tmp_path, [])))


def test_spectrum_names_the_effective_rank() -> None:
    torch.manual_seed(0)
    flat = torch.linalg.qr(torch.randn(200, 8))[0]
    thin = flat * torch.tensor([1.0] + [1e-6] * 7)
    figure = spectrum_figure({"trained": flat, "random encoder": thin})
    names = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert names[0].startswith("trained: effective rank 8.0 of 8")
    assert names[1].startswith("random encoder: effective rank 1.0 of 8")


def test_mask_colors_at_known_pixels() -> None:
    shown = picture(200)
    seen = context_picture(shown, torch.tensor([0, 5]), GRID)
    assert seen[1, 1].tolist() == [200] * 3 and seen[5, 5].tolist() == [200] * 3
    assert seen[1, 5].tolist() == rgb(HIDDEN).astype(int).tolist()
    tinted = target_picture(shown, torch.tensor([[0, 1], [1, 2]]), GRID)
    first, second = rgb(TARGETS[0]), rgb(TARGETS[1])
    np.testing.assert_allclose(tinted[0, 0], 0.4 * 200 + 0.6 * first, atol=1)
    np.testing.assert_allclose(tinted[0, 4], 0.4 * 200 + 0.3 * (first + second), atol=1)
    np.testing.assert_allclose(tinted[3, 11], 0.4 * 200 + 0.6 * second, atol=1)
    np.testing.assert_allclose(tinted[15, 15], 0.45 * 200 + 0.55 * 255, atol=1)
    task = predictor_picture(shown, torch.tensor([15]), torch.tensor([3]), 1, GRID)
    assert task[15, 15].tolist() == rgb(CONTEXT).astype(int).tolist()
    assert task[0, 12].tolist() == second.astype(int).tolist()
    assert not (task == 200).any()


def test_mask_sheet_for_any_grid_and_number_of_targets() -> None:
    grid = Grid(("h", "w"), (3, 3))
    mask = Mask(torch.tensor([[0, 1], [7, 8]]), torch.tensor([[[3, 4], [4, 5]], [[0, 4], [1, 2]]]))
    figure = mask_sheet([picture(side=24), picture(side=24)], mask, grid)
    assert "Encoder sees 2 of 9 patches" in texts(figure) and "2 targets of 2 patches" in texts(figure)
    assert "Predictor's task, target 2" in texts(figure)
    others = [picture(90, side=24), picture(90, side=24)]
    figure = mask_sheet([picture(side=24), picture(side=24)], mask, grid, others)
    assert len(figure.axes) == 6 and "2 targets of 2 patches, another crop" in texts(figure)
    shown = figure.axes[2].get_images()[0].get_array()
    assert shown is not None and abs(int(shown[-1, -1, 0]) - round(0.45 * 90 + 0.55 * 255)) <= 1, "of the other crop"
    with pytest.raises(ValueError, match="does not divide"):
        context_picture(picture(side=16), torch.tensor([0]), grid)


def test_pca_finds_the_strongest_directions_with_a_fixed_sign() -> None:
    rng = np.random.default_rng(0)
    tokens = (rng.normal(size=(500, 6)) * [5, 3, 2, 0.1, 0.1, 0.1] + 4).astype(np.float32)
    basis = Basis.of(tokens)
    np.testing.assert_allclose(np.abs(basis.axes), np.eye(6)[:3], atol=0.06)
    assert (basis.axes[np.arange(3), np.arange(3)] > 0).all()
    colors = basis.colors(tokens)
    assert colors.min() == 0 and colors.max() == 1 and 0.95 < basis.explained(tokens) <= 1
    again = Basis.of(-1 * (tokens - 4) + 4)
    np.testing.assert_allclose(again.axes, basis.axes, atol=1e-4)


def test_pca_basis_is_stored_used_again_and_given_up_when_it_no_longer_fits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tokens = (rng.normal(size=(400, 6)) * [5, 3, 2, 0.1, 0.1, 0.1]).astype(np.float32)
    first, kept = stable_basis(tokens, None)
    assert not kept
    (tmp_path / "b.npz").write_bytes(first.to_bytes())
    stored = Basis.read(tmp_path / "b.npz")
    assert stored is not None
    moved = tokens + rng.normal(size=tokens.shape).astype(np.float32) * 0.1
    second, kept = stable_basis(moved, stored)
    assert kept
    np.testing.assert_array_equal(second.colors(tokens), first.colors(tokens))
    other = tokens[:, ::-1].copy()
    third, kept = stable_basis(other, stored)
    assert not kept and third.explained(other) > 0.95
    assert stable_basis(tokens[:, :5], stored)[0].mean.shape == (5,)
    (tmp_path / "b.npz").write_bytes(b"damaged")
    assert Basis.read(tmp_path / "b.npz") is None and Basis.read(tmp_path / "none.npz") is None


def test_a_fresh_basis_keeps_the_colors_of_the_old_one() -> None:
    rng = np.random.default_rng(0)
    tokens = (rng.normal(size=(800, 8)) * [5, 4, 3, 0.1, 0.1, 0.1, 0.1, 0.1]).astype(np.float32)
    old = Basis.of(tokens)
    turned = Basis(old.mean, np.stack([-old.axes[2], old.axes[0], old.axes[1]]), old.low, old.high)
    back = Basis.of(tokens).matched(tokens, turned)
    np.testing.assert_allclose(back.axes, turned.axes, atol=1e-4)


def test_feature_sheet_shows_the_colors() -> None:
    colors = np.zeros((4, 4, 3), dtype=np.float32)
    colors[0, 0] = (1, 0, 0)
    figure = feature_sheet([picture()], {"trained": [colors]})
    shown = figure.axes[1].images[0].get_array()
    assert shown[0, 0].tolist() == [1, 0, 0] and shown[-1, -1].tolist() == [0, 0, 0]
    assert shown.shape[0] == shown.shape[1] == 240


def test_similarity_is_one_at_the_patch_and_minus_one_at_its_opposite() -> None:
    mean = torch.tensor([10.0, 10.0])
    tokens = mean + torch.tensor([[1.0, 0], [-2, 0], [0, 1], [3, 0]])
    heat = similarity(tokens, 0, mean, Grid(("h", "w"), (2, 2)))
    np.testing.assert_allclose(heat, [[1, -1], [0, 1]], atol=1e-6)
    drawn = overlay(picture(100), heat, -1, 1)
    viridis = matplotlib.colormaps["viridis"]
    np.testing.assert_allclose(drawn[0, 0], 32 + 0.68 * 255 * np.array(viridis(1.0)[:3]), atol=1)
    np.testing.assert_allclose(drawn[0, 8], 32 + 0.68 * 255 * np.array(viridis(0.0)[:3]), atol=1)


def test_heat_sheet_marks_the_patch() -> None:
    figure = heat_sheet("title", [picture()], [6], GRID, [Heat("trained", [np.zeros((4, 4))], 0, 1, unit="cosine")])
    box = figure.axes[0].patches[0]
    assert (box.get_x() + 0.5, box.get_y() + 0.5, box.get_width()) == (160, 80, 80)
    assert "cosine" in [a.get_xlabel() for a in figure.axes]


def test_attention_of_the_last_block_is_that_of_the_forward_pass() -> None:
    torch.manual_seed(0)
    tokenizer = Patchify(3, (4, 4), 12, ("h", "w"))
    encoder = Encoder(tokenizer, Size(12, 2, 3), position=Table(GRID, 12)).eval()
    x = torch.randn(2, 3, 16, 16)
    inputs = []
    last = encoder.trunk.blocks[-1]
    last.attn.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with torch.no_grad():
        encoder(x)
        weights = last_attention(encoder, x)
    torch.testing.assert_close(weights, last.attn.map(inputs[0]).mean(1).detach())
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 16))


def test_contact_sheet_shows_scores_and_frames_classes() -> None:
    query = Hit(picture(10), "a/query.png", "cat")
    hits = [Hit(picture(20), "b.png", "cat", 0.9876), Hit(picture(30), "c.png", "dog", 0.5)]
    figure = contact_sheet([Found(query, hits)])
    found = texts(figure)
    assert "0.988" in found and "0.500" in found and "cat\nquery.png" in found
    colors = [axes.spines["top"].get_edgecolor()[:3] for axes in figure.axes[:3]]
    np.testing.assert_allclose(colors[1], rgb("#009E73") / 255)
    np.testing.assert_allclose(colors[2], rgb("#D55E00") / 255)
    assert figure.axes[2].spines["top"].get_linestyle() == "--"


def test_contact_sheet_wraps_long_lists_and_keeps_aspect() -> None:
    wide = np.zeros((10, 40, 3), dtype=np.uint8)
    hits = [Hit(wide, f"{i}.png", score=0.1) for i in range(11)]
    figure = contact_sheet([Found(Hit(wide, "q"), hits)])
    assert len(figure.axes) == 2 * 9
    height, width = figure.axes[0].images[0].get_array().shape[:2]
    assert (height, width) == (48, 192) and figure.axes[0].get_aspect() == 1.0
    with pytest.raises(ValueError, match="at least one query"):
        contact_sheet([])


def test_duplicate_sheet_says_how_many_groups_there_are() -> None:
    groups = [[Hit(picture(), "a"), Hit(picture(), "b", score=0.999)]] * 15
    figure = duplicate_sheet(groups, most=3)
    assert "Near-duplicates (the 3 largest of 15 groups)" in texts(figure) and "0.999" in texts(figure)
    with pytest.raises(ValueError, match="no group"):
        duplicate_sheet([])


def test_map_projects_on_the_strongest_directions() -> None:
    z = torch.zeros(100, 5)
    z[:, 3] = torch.linspace(-3, 3, 100)
    z[::2, 1] = 0.5
    points, shares = project(z)
    np.testing.assert_allclose(points[:, 0], z[:, 3] - z[:, 3].mean(), atol=0.02)
    assert shares[0] > 0.95 and 0.99 < sum(shares) <= 1.0001


def test_thumbnails_do_not_overlap() -> None:
    points = np.random.default_rng(0).uniform(0, 300, (400, 2))
    chosen = points[apart(points, 40, 100)]
    gaps = np.abs(chosen[:, None] - chosen[None]).max(-1)
    assert len(chosen) > 10 and gaps[~np.eye(len(chosen), dtype=bool)].min() >= 40


def test_map_names_classes_and_marks_the_unlabeled() -> None:
    torch.manual_seed(0)
    figure = map_sheet(torch.randn(30, 4), [picture()] * 30, [0, 1, -1] * 10, ["cat", "$dog"])
    names = [t.get_text() for t in figure.legends[0].get_texts()]
    assert names == ["other classes", "cat", r"\$dog"]
    assert len(png(figure)) > 10_000
    map_sheet(torch.randn(5, 4), [picture()] * 5)


def test_labels_are_safe_to_draw() -> None:
    assert label("costs $5") == r"costs \$5"
    assert label("漢字.png") == "??.png"
    assert label("x" * 50, 11) == "xxxxx…xxxxx"
    assert label("a\nb\tc") == "a b c"
    short = label("WWWWWWWWWWWWWWWWWWWW.JPEG", points=60, size=7.5)
    assert "…" in short and width_of(short, 7.5) <= 60 < width_of(short + "WW", 7.5)


def test_sizes_and_choices() -> None:
    assert fit(picture(side=16)[:8], 192).shape == (96, 192, 3)
    assert enlarge(picture(side=16), 240).shape == (240, 240, 3)
    assert enlarge(picture(side=300), 240).shape == (300, 300, 3)
    assert spread_over(10, 3) == [0, 4, 9] and spread_over(2, 5) == [0, 1] and spread_over(0, 3) == []
    assert len(class_colors(list(range(20)))) == 10 and class_colors([-1, -1]) == {}
