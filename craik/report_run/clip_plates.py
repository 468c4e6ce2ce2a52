"""Pictures of a model of videos: its features over time as colors, and what is hidden in a clip."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from craik.api import Model
from craik.core.batch import Part
from craik.core.tokens import Grid
from craik.data.augment import resize_center_crop
from craik.data.clips import hold
from craik.data.images import ImageData
from craik.data.loader import Samples, read_samples
from craik.evaluate.features import Pool
from craik.nn.mode import evaluating
from craik.report.features import Basis, stable_basis
from craik.report.masks import context_picture, target_picture
from craik.report.page import Plate
from craik.report.record import Record
from craik.report.strips import Line, strip_sheet
from craik.report.style import Picture, enlarge, png, spread_over
from craik.report_run.scene import denormalize, random_encoder, to_pictures
from craik.train.run import write_atomic
from craik.train.runtime import step_rng

NUM_CLIPS = 24  # whose tokens fix the colors
NUM_SHOWN, NUM_MASKED = 4, 2
MOST = 8  # moments of a clip that are shown


def draw_clips(model: Model, images: ImageData, record: Record) -> Iterator[Plate]:
    """All pictures of clips."""
    held = hold(images, np.array(spread_over(len(images), NUM_CLIPS)))
    samples = read_samples(held, np.arange(len(held)))
    yield from draw_features(model, samples, record)
    yield from draw_masks(model, samples)


def draw_features(model: Model, samples: Samples, record: Record) -> Iterator[Plate]:
    """Feature maps of each moment; their basis is kept in the run, as for images."""
    view = model.recipe.view
    crops = resize_center_crop(samples.x, samples.sizes, view.size)  # [B, T, 3, S, S]
    encoder: Any = model.encoder
    grid: Grid = encoder.grid((crops.shape[1], view.size, view.size))
    moments = spread_over(grid.shape[0], MOST)
    tubelet = crops.shape[1] // grid.shape[0]
    lines = [[Line("clip", frames_at(clip, moments, tubelet))] for clip in crops[:NUM_SHOWN]]
    encoders = {"trained": encoder, "random encoder": random_encoder(model, record)}
    for name, asked in encoders.items():
        tokens = tokens_of(model, asked, crops)
        flat = tokens.flatten(0, 1)[:: max(1, tokens[..., 0].numel() // 20_000)].numpy()
        basis = Basis.of(flat)
        if name == "trained":
            path = record.path / "media" / "pca_basis.npz"
            basis, _ = stable_basis(flat, Basis.read(path))
            write_atomic(path, basis.to_bytes())
        for of_clip, clip in zip(lines, tokens, strict=False):
            colors = basis.colors(clip.view(*grid.shape, -1).numpy())
            of_clip.append(Line(name, [(255 * colors[t]).round().astype(np.uint8) for t in moments]))
    caption = (
        "Tokens of one color have alike features, over space and over time. Good features follow objects as they move; "
        "colors that only follow the place in the frame have learned little. The random encoder has its own colors."
    )
    title = "Features over time: first three principal components as red, green, blue"
    heads = [f"frame {t * tubelet}" for t in moments]
    yield Plate("pca", "Feature maps over time", caption, png(strip_sheet(title, lines, heads)))


def tokens_of(model: Model, encoder: Any, crops: Tensor) -> Tensor:
    """Tokens [B, N, D] of clips [B, T, 3, S, S] in [0, 1], on the CPU."""
    featurizer = replace(model.featurizer(Pool.TOKENS), encoder=encoder)
    with evaluating(encoder), torch.inference_mode():
        return torch.cat([featurizer.embed(part.to(model.device)).cpu() for part in crops.split(4)])


def frames_at(clip: Tensor, moments: list[int], tubelet: int) -> list[Picture]:
    """The first frame of some tubelets of a clip [T, 3, S, S] in [0, 1]."""
    return list(to_pictures(clip[[t * tubelet for t in moments]]))


def draw_masks(model: Model, samples: Samples) -> Iterator[Plate]:
    """The training task on some clips: what is seen and what is asked for, in each moment; nothing without masks."""
    few = Samples(samples.x[:NUM_MASKED], samples.sizes[:NUM_MASKED], samples.index[:NUM_MASKED], None)
    part: Part = model.recipe.prepare(few, step_rng(0, 0)).parts[0]
    if not part.masks or part.x.ndim != 5:
        return
    encoder: Any = model.encoder
    grid: Grid = encoder.grid(tuple(part.x.shape[2:]))
    plane, tubelet = Grid(("h", "w"), grid.shape[1:]), part.x.shape[2] // grid.shape[0]
    moments, cells = spread_over(grid.shape[0], MOST), plane.num_tokens
    lines = []
    for row, x in enumerate(part.x):
        frames = [enlarge(p, 128) for p in frames_at(denormalize(model, x.transpose(0, 1)), moments, tubelet)]
        of_clip = [Line("clip", frames)]
        for number, mask in enumerate(part.masks, 1):
            seen = [at_moment(mask.context[row], t, cells) for t in moments]
            asked = [[at_moment(target, t, cells) for target in mask.target[row]] for t in moments]
            context = [context_picture(f, s, plane) for f, s in zip(frames, seen, strict=True)]
            targets = [colored(f, a, plane) for f, a in zip(frames, asked, strict=True)]
            of_clip += [Line(f"task {number}: seen", context), Line(f"task {number}: asked", targets)]
        lines.append(of_clip)
    caption = (
        "A fresh draw of the training task. In each task the encoder sees the tubelets that are not gray; from their "
        "features and from positions the predictor has to tell the features of those in color. Clips of a batch are "
        "asked for equally many, so some hidden ones are left out."
    )
    heads = [f"frame {t * tubelet}" for t in moments]
    title = f"What is hidden, and what must be predicted: {' x '.join(map(str, grid.shape))} tubelets"
    yield Plate("masks", "What is hidden and what is predicted", caption, png(strip_sheet(title, lines, heads)))


def at_moment(index: Tensor, moment: int, cells: int) -> Tensor:
    """Those of some tokens [K] of a clip that lie in one moment, as numbers in its plane of so many cells."""
    return index[index // cells == moment] % cells


def colored(frame: Picture, targets: list[Tensor], plane: Grid) -> Picture:
    """A frame with its target sets in color; `target_picture` of sets of different sizes."""
    longest = max((len(t) for t in targets), default=0)
    if not longest:
        return target_picture(frame, torch.empty(0, 0, dtype=torch.long), plane)
    full = [torch.cat([t, t[:1].expand(longest - len(t))]) for t in targets if len(t)]
    return target_picture(frame, torch.stack(full), plane)
