"""The pictures of a report that are drawn of data, each with its caption."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from craik.core.batch import Part
from craik.data.loader import read_samples
from craik.evaluate.neighbors import centered, search
from craik.nn.encoder import Encoder
from craik.nn.mode import evaluating
from craik.report.contact import Found, Hit, contact_sheet
from craik.report.features import Basis, feature_sheet, stable_basis
from craik.report.masks import mask_sheet, view_sheet
from craik.report.page import Plate
from craik.report.scatter import map_sheet
from craik.report.similarity import Heat, heat_sheet, last_attention, salient, similarity
from craik.report.spectrum import spectrum_figure
from craik.report.style import Picture, png, spread_over
from craik.report_run.scene import FEWEST_CELLS, Scene, as_input, denormalize, to_pictures
from craik.train.run import write_atomic
from craik.train.runtime import step_rng

NUM_QUERIES = 6  # lines of neighbors


def draw_scene(scene: Scene, run: Path, notes: list[str]) -> Iterator[Plate]:
    """All pictures of data, in the order in which people ask for them."""
    drawers: list[Callable[[Scene], Plate | None]] = [
        lambda s: draw_features(s, run),
        draw_task,
        draw_neighbors,
        draw_map,
        draw_similarity,
        draw_attention,
        draw_spectrum,
    ]
    for draw in drawers:
        plate = draw(scene)
        if plate is not None:
            yield plate
    if not isinstance(scene.model.encoder, Encoder):
        height, width = scene.grid.shape
        notes.append(
            "The encoder has no attention, so there is no attention map. Feature maps are those of its last stage "
            f"with at least {FEWEST_CELLS} cells ({height} x {width})."
        )
    if scene.grid.num_tokens < FEWEST_CELLS:
        height, width = scene.grid.shape
        notes.append(f"The encoder's last map has {height} x {width} cells, too few to draw feature maps of.")


def plate(name: str, title: str, caption: str, figure: Figure) -> Plate:
    """A drawn picture."""
    return Plate(name, title, caption, png(figure))


def draw_features(scene: Scene, run: Path) -> Plate | None:
    """Feature maps; their basis is kept in the run, so that colors mean the same in the next report."""
    if scene.grid.num_tokens < FEWEST_CELLS:
        return None
    pictures, maps = [scene.crops[i] for i in scene.shown], {}
    kept = False
    for name, tokens in scene.tokens.items():
        flat = tokens.flatten(0, 1)[:: max(1, tokens[..., 0].numel() // 20_000)].numpy()
        if flat.shape[1] < 3:
            return None
        if name == "trained":
            path = run / "media" / "pca_basis.npz"
            basis, kept = stable_basis(flat, Basis.read(path))
            write_atomic(path, basis.to_bytes())
        else:
            basis = Basis.of(flat)
        maps[name] = [basis.colors(t.view(*scene.grid.shape, -1).numpy()) for t in tokens[: len(pictures)]]
    caption = (
        "Patches of one color have alike features. Good features follow objects and their parts; colors that only "
        "follow the place in the image, or the raw brightness, have learned little. The random encoder has its own "
        f"colors. {'Colors are those of the last report.' if kept else 'Colors were fixed in this report.'}"
    )
    return plate("pca", "Feature maps", caption, feature_sheet(pictures, maps))


def draw_task(scene: Scene) -> Plate | None:
    """Masks of a masked method, views of one that compares views."""
    num = min(5, len(scene.shown))
    samples = read_samples(scene.images, np.array(scene.shown[:num]))
    batch = scene.model.recipe.prepare(samples, step_rng(0, 0))
    part: Part = batch.parts[0]
    encoder: Any = scene.model.encoder
    if part.masks and part.x.ndim == 4:
        pictures, goals = list(to_pictures(denormalize(scene.model, part.x))), None
        caption = (
            "A fresh draw of the training task. The encoder sees the patches in the second column alone; from their "
            "features and from positions the predictor has to tell the features of each target."
        )
        if part.y is not None and part.place is not None:
            goals = list(to_pictures(denormalize(scene.model, part.y)))
            caption += " Targets are of another crop of the same image, and the predictor is told where that lies."
        figure = mask_sheet(pictures, part.masks[0], encoder.grid(tuple(part.x.shape[2:])), goals)
        return plate("masks", "What is hidden and what is predicted", caption, figure)
    if part.x.ndim == 5:
        views: list[list[Picture]] = [[] for _ in range(num)]
        for some in batch.parts:
            for row, of_image in enumerate(some.x):
                views[row] += list(to_pictures(denormalize(scene.model, of_image)))
        caption = "A fresh draw of the training task: views of a row should get alike embeddings, other rows others."
        return plate("views", "What is compared", caption, view_sheet(views))
    return None


def draw_neighbors(scene: Scene) -> Plate | None:
    """Queries spread over the images, and what is nearest to them."""
    (z,) = centered(scene.embeddings["trained"])
    if len(z) < 3:
        return None
    queries = spread_over(len(z), NUM_QUERIES)
    cosine, rows = search(z, z[queries], 9)
    found = []
    for query, scores, hits in zip(queries, cosine.tolist(), rows.tolist(), strict=True):
        others = [hit(scene, row, score) for row, score in zip(hits, scores, strict=True) if row != query]
        found.append(Found(hit(scene, query), others[:8]))
    caption = (
        "The query is at the left; numbers are cosines of centered embeddings. A good encoder finds images of the "
        "same kind, not only of the same color."
    )
    if scene.images.labels is not None:
        caption += " A green frame is the class of the query, an orange dashed one another class."
    title = f"Nearest neighbors among {len(z):,} images"
    return plate("neighbors", "Nearest neighbors", caption, contact_sheet(found, title))


def hit(scene: Scene, row: int, score: float | None = None) -> Hit:
    """An image for a contact sheet."""
    return Hit(scene.crops[row], str(scene.images.paths[row]), scene.images.class_of(row), score)


def draw_map(scene: Scene) -> Plate:
    """The 2-D map."""
    labels = None if scene.images.labels is None else scene.images.labels.tolist()
    caption = (
        "Embeddings on their two strongest directions; thumbnails stand where there is room. Groups of one kind of "
        "image, apart from others, show that the encoder tells kinds; two directions hide the rest."
    )
    figure = map_sheet(scene.embeddings["trained"], scene.crops, labels, scene.images.class_names)
    return plate("map", "Map of the embeddings", caption, figure)


def chosen_patches(scene: Scene) -> list[int]:
    """The patch to ask about in each shown image."""
    tokens = scene.tokens["trained"]
    mean = tokens.mean((0, 1))
    return [salient(tokens[i], mean, scene.grid) for i in range(len(scene.shown))]


def draw_similarity(scene: Scene) -> Plate | None:
    """Similarity of a patch to all others, trained and random."""
    if scene.grid.num_tokens < FEWEST_CELLS:
        return None
    chosen, heats = chosen_patches(scene), []
    for name, tokens in scene.tokens.items():
        mean = tokens.mean((0, 1))
        maps = [similarity(tokens[i], patch, mean, scene.grid) for i, patch in enumerate(chosen)]
        heats.append(Heat(name, maps, -1, 1, unit="cosine to the chosen patch, mean feature taken away [1]"))
    caption = (
        "How alike each patch's feature is to that of the patch in the white square. A good encoder lights up the "
        "same object or surface; one that lights up only the place itself knows where, not what."
    )
    title = "Where one patch finds its like"
    pictures = [scene.crops[i] for i in scene.shown]
    return plate("similarity", "Patch similarity", caption, heat_sheet(title, pictures, chosen, scene.grid, heats))


def draw_attention(scene: Scene) -> Plate | None:
    """Attention of the last block from one patch and from all."""
    encoder = scene.model.encoder
    if not isinstance(encoder, Encoder):
        return None
    num = min(6, len(scene.shown))
    chosen, pictures = chosen_patches(scene)[:num], [scene.crops[i] for i in scene.shown[:num]]
    with evaluating(encoder), torch.inference_mode():
        weights = last_attention(encoder, as_input(scene.model, pictures)).float().cpu() * scene.grid.num_tokens
    shape = scene.grid.shape
    one = [w[patch].view(shape).numpy() for w, patch in zip(weights, chosen, strict=True)]
    every = [w.mean(0).view(shape).numpy() for w in weights]
    high = max(2.0, float(np.quantile(np.stack(one + every), 0.99)))
    unit = "attention over that of an even spread [1]"
    heats = [
        Heat("from the chosen patch", one, 0, high, "magma", unit),
        Heat("from all patches", every, 0, high, "magma", unit),
    ]
    caption = (
        "Attention of the last block, mean over its heads; 1 is what every patch would get if all got the same. "
        "Bright patches are those that others take information from."
    )
    title = "Where the last block looks"
    return plate("attention", "Attention", caption, heat_sheet(title, pictures, chosen, scene.grid, heats))


def draw_spectrum(scene: Scene) -> Plate:
    """Eigenvalues, trained and random."""
    caption = (
        "A slow, straight fall uses many directions; a cliff after a few is dimensional collapse. A random encoder is "
        "no goal here, only the place where training began."
    )
    return plate("spectrum", "Spectrum", caption, spectrum_figure(scene.embeddings))
