"""The report of a run: opens it, looks at its data with its model, draws, and writes media/ and report.html."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from craik import api
from craik.api import Model
from craik.core.batch import Part
from craik.core.collapse import Spectrum, VarianceShare
from craik.core.tokens import Grid, Tokens
from craik.data.augment import normalize, resize_center_crop
from craik.data.images import ImageData, load_images
from craik.data.loader import read_samples
from craik.errors import UsageError
from craik.evaluate.features import Featurizer, extract
from craik.evaluate.neighbors import centered, search
from craik.nn.conv import ConvEncoder
from craik.nn.encoder import Encoder
from craik.nn.mode import evaluating
from craik.pretrain import Data, storage_side
from craik.report.contact import Found, Hit, contact_sheet
from craik.report.curves import curves
from craik.report.features import Basis, feature_sheet, stable_basis
from craik.report.masks import mask_sheet, view_sheet
from craik.report.measures import verdict
from craik.report.page import Plate, page
from craik.report.record import Json, Record
from craik.report.scatter import map_sheet
from craik.report.similarity import Heat, heat_sheet, last_attention, salient, similarity
from craik.report.spectrum import spectrum_figure
from craik.report.style import Picture, png, spread_over
from craik.train.health import Observation, Sentinel, StepRecord, grace_steps
from craik.train.run import write_atomic
from craik.train.runtime import step_rng

SECONDS = 20.0  # that features of one encoder may take; fewer images are looked at where they would take longer
NUM_TOKEN_IMAGES = 64  # images whose tokens fix the colors of feature maps
NUM_SHOWN = 8  # images in a picture of maps
NUM_QUERIES = 6  # lines of neighbors
FEWEST_CELLS = 9  # of a grid that maps are drawn of
READ_WHOLE = 60_000  # images up to which data is read as the run did, which finds its cache


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything that the pictures of data need."""

    model: Model
    images: ImageData
    """What is looked at, at most the limit."""
    crops: list[Picture]
    """What the encoder sees of each, uint8 [S, S, 3]."""
    embeddings: dict[str, Tensor]
    """[N, D] by encoder: trained, random encoder."""
    shown: list[int]
    """Images whose tokens are drawn."""
    tokens: dict[str, Tensor]
    """[M, T, D] by encoder, of images spread over all; the first len(shown) are those shown."""
    grid: Grid


def report(run: Path, *, data: str | None = None, limit: int = 2000, device: str = "auto") -> Path:
    """Draw a run and write media/*.png and report.html into its folder.

    Works on finished and stopped runs, and while one is training. What cannot be drawn is left out and said.

    Args:
        run: The run folder.
        data: Images to look at instead of the run's own.
        limit: Most images that are embedded.
        device: Where the encoders run.

    Returns:
        The path of report.html.

    Raises:
        UsageError: If there is no run, or `data` was given and cannot be read.
    """
    record, notes = Record.read(run), list[str]()
    model = open_model(run, device, notes)
    images = None if model is None else open_data(model, record, data, limit, notes)
    scene = None if model is None or images is None else look(model, images, limit, record)
    plates = [*draw_record(record, model, notes), *(draw_scene(scene, run, notes) if scene is not None else [])]
    for plate in plates:
        write_atomic(run / "media" / f"{plate.name}.png", plate.png)
    facts = data_facts(record, images, scene)
    write_atomic(run / "report.html", page(record, verdict(record, still_active(record)), plates, facts, notes))
    return run / "report.html"


def open_model(run: Path, device: str, notes: list[str]) -> Model | None:
    """The model of a run; None, with a note, before it was first written, or where it does not load."""
    if not (run / "model" / "model.safetensors").exists():
        notes.append("No model was saved yet: only the curves are drawn. Report again after the first checkpoint.")
        return None
    try:
        return api.load(run, device=device)
    except UsageError as error:
        notes.append(f"The model cannot be loaded, so only the curves are drawn: {error}")
        return None


def open_data(model: Model, record: Record, path: str | None, limit: int, notes: list[str]) -> ImageData | None:
    """The images to look at; None, with a note, where those of the run are gone."""
    stored: Json = record.config.get("data") or {}
    known = {f.name for f in fields(Data)}
    data = Data(**{key: value for key, value in stored.items() if key in known})
    if path is not None:
        data = replace(Data(), data=path, limit=limit)
    elif int(stored.get("images", 0)) > READ_WHOLE:
        data = replace(data, limit=min(limit, data.limit or limit))
    try:
        images = load_images(
            data.data,
            size=storage_side(data.data, model.recipe.view.size, labels=data.spec(), split=data.split),
            labels=data.spec(),
            split=data.split,
            limit=data.limit,
            max_bad_fraction=data.max_bad_fraction,
        )
    except UsageError as error:
        if path is not None:
            raise
        notes.append(
            f"The data of the run cannot be read, so only curves are drawn ({error}). "
            f"Give another place: craik report {record.path} --data PATH"
        )
        return None
    if path is not None:
        notes.append(f"Pictures show {path}, not the data of the run.")
    elif len(images) == stored.get("images") and images.fingerprint != stored.get("fingerprint"):
        notes.append(f"{data.data} has changed since the run: pictures show it as it is now.")
    return images


def look(model: Model, images: ImageData, limit: int, record: Record) -> Scene:
    """Crops, embeddings and tokens of a bounded number of images."""
    encoders = {"trained": model.encoder, "random encoder": random_encoder(model, record)}
    featurizer = model.featurizer()
    chosen = images.subset(np.array(spread_over(len(images), min(limit, affordable(featurizer, images)))))
    embeddings = {name: extract(replace(featurizer, encoder=e), chosen, batch=64) for name, e in encoders.items()}
    crops = crop(chosen, model.recipe.view.size)
    first = spread_over(len(chosen), NUM_SHOWN)
    rest = [i for i in spread_over(len(chosen), NUM_TOKEN_IMAGES) if i not in first]
    x = as_input(model, [crops[i] for i in [*first, *rest]])
    tokens = {}
    for name, encoder in encoders.items():
        with evaluating(encoder), torch.inference_mode():
            parts = [cells(encoder, part) for part in x.split(16)]
        tokens[name] = torch.cat([part.x.float().cpu() for part in parts])
    height, width = (int(n) + 1 for n in parts[0].at[0].amax(0))
    return Scene(model, chosen, crops, embeddings, first, tokens, Grid(("h", "w"), (height, width)))


def cells(encoder: nn.Module, x: Tensor) -> Tokens:
    """Tokens to draw maps of: the last ones, or those of the last stage of a ConvNet that has cells enough."""
    if not isinstance(encoder, ConvEncoder):
        tokens: Tokens = encoder(x)
        return tokens
    maps = encoder.features(x)
    fine = [features for features in maps if features[0, 0].numel() >= FEWEST_CELLS]
    return encoder.tokens((fine or maps)[-1])


def random_encoder(model: Model, record: Record) -> nn.Module:
    """The same architecture with fresh weights, as the probe of the run has it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(record.config.get("conduct", {}).get("seed", 0)) + 1)
        fresh: Any = api.build(model.config).model
    encoder: nn.Module = fresh.target.representation(fresh.encoder)
    return encoder.to(model.device)


def affordable(featurizer: Featurizer, images: ImageData) -> int:
    """How many images can be embedded in `SECONDS`; at least 64."""
    few = images.subset(np.arange(min(8, len(images))))
    extract(featurizer, few)
    began = time.perf_counter()
    extract(featurizer, few)
    return max(64, int(SECONDS / (time.perf_counter() - began) * len(few)))


def crop(images: ImageData, size: int) -> list[Picture]:
    """What an encoder sees of each image, uint8 [S, S, 3]."""
    out: list[Picture] = []
    for rows in np.array_split(np.arange(len(images)), max(1, -(-len(images) // 256))):
        samples = read_samples(images, rows)
        x = resize_center_crop(samples.x, samples.sizes, size)
        out += list(to_pictures(x))
    return out


def to_pictures(x: Tensor) -> np.ndarray:
    """Images [B, 3, S, S] in [0, 1] as uint8 [B, S, S, 3]."""
    return np.asarray(x.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu())


def as_input(model: Model, crops: list[Picture]) -> Tensor:
    """Crops as the encoder wants them, [B, 3, S, S]."""
    view = model.recipe.view
    x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div(255)
    return normalize(x, view.mean, view.std).to(model.device)


def draw_record(record: Record, model: Model | None, notes: list[str]) -> list[Plate]:
    """The curves, where there are metrics."""
    if not record.metrics:
        notes.append("No metrics were recorded yet.")
        return []
    encoder: Any = None if model is None else model.encoder
    caption = (
        "Green is healthy, orange is not; numbered dashed lines are alarms. Judge a run by rank, spread and score: "
        "the loss of a collapsed model is the lowest of all."
    )
    width = None if encoder is None else int(encoder.width)
    return [Plate("curves", "Curves", caption, png(curves(record, width)))]


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
        pictures = list(to_pictures(denormalize(scene.model, part.x)))
        caption = (
            "A fresh draw of the training task. The encoder sees the patches in the second column alone; from their "
            "features and from positions the predictor has to tell the features of each target."
        )
        figure = mask_sheet(pictures, part.masks[0], encoder.grid(part.x))
        return plate("masks", "What is hidden and what is predicted", caption, figure)
    if part.x.ndim == 5:
        views = [[] for _ in range(num)]  # type: list[list[Picture]]
        for some in batch.parts:
            for row, of_image in enumerate(some.x):
                views[row] += list(to_pictures(denormalize(scene.model, of_image)))
        caption = "A fresh draw of the training task: views of a row should get alike embeddings, other rows others."
        return plate("views", "What is compared", caption, view_sheet(views))
    return None


def denormalize(model: Model, x: Tensor) -> Tensor:
    """Network input [B, 3, S, S] back to [0, 1]."""
    view = model.recipe.view
    mean, std = (torch.tensor(v, device=x.device).view(3, 1, 1) for v in (view.mean, view.std))
    return x * std + mean


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
    return Hit(scene.crops[row], str(scene.images.paths[row]), class_name(scene.images, row), score)


def class_name(images: ImageData, row: int) -> str | None:
    """Name of the class of an image, None where it has none."""
    if images.labels is None or images.class_names is None or images.labels[row] < 0:
        return None
    return images.class_names[int(images.labels[row])]


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


def data_facts(record: Record, images: ImageData | None, scene: Scene | None) -> list[tuple[str, str]]:
    """The data in a few lines."""
    stored: Json = record.config.get("data") or {}
    rows = [("trained on", str(stored.get("data", "unknown"))), ("images in training", f"{stored.get('images', 0):,}")]
    if images is None or scene is None:
        return rows
    low, high = images.sizes.min(0), images.sizes.max(0)
    span = f"{low[1]} x {low[0]}" + ("" if (low == high).all() else f" to {high[1]} x {high[0]}")
    rows += [("summary", images.summary()), ("width x height [px]", span)]
    rows += [("unreadable", f"{len(images.skipped):,}")] if images.skipped else []
    if images.labels is not None and images.class_names is not None:
        counts = np.bincount(images.labels[images.labels >= 0], minlength=images.num_classes)
        most = [f"{images.class_names[i]} {counts[i]:,}" for i in np.argsort(-counts, kind="stable")[:12]]
        rest = "" if images.num_classes <= 12 else f", and {images.num_classes - 12:,} more"
        rows.append(("classes", ", ".join(most) + rest))
    return [*rows, ("looked at for this report", f"{len(scene.images):,} images")]


def still_active(record: Record) -> frozenset[str]:
    """Failures that hold at the last check: the recorded numbers shown to a sentinel once more."""
    grace = grace_steps(record.total or 0)
    sentinel, resumed = (
        Sentinel(grace=grace),
        [int(e.get("step", 0)) for e in record.events if e.get("kind") == "resume"],
    )
    for row in record.metrics:
        if resumed and row.get("step", 0) > resumed[0]:
            resumed = resumed[1:]
            sentinel = Sentinel(grace=grace)
        show_again(sentinel, row)
    # What the numbers do not tell is taken to hold until the run went on past it.
    unseen = {a.name for a in record.alarms if a.name == "dead target"}
    unseen |= {a.name for a in record.alarms if a.name == "non-finite values" and a.step >= record.step}
    return frozenset(str(failure) for failure in sentinel.active) | unseen


def show_again(sentinel: Sentinel, row: Json) -> None:
    """Show a sentinel one row of metrics."""
    if "effective_rank" in row:
        names = [f.name for f in fields(Spectrum)]
        found = Spectrum(**{name: as_float(row.get(name)) for name in names})
        share = None
        if row.get("target_between_samples") is not None and row.get("target_by_position") is not None:
            share = VarianceShare(float(row["target_between_samples"]), float(row["target_by_position"]))
        errors = {name: row.get(name) for name in ("error", "error_mean", "error_context", "error_position")}
        sentinel.observe(Observation(int(row["step"]), found, as_float(row.get("relative_std")), share, **errors))
    elif "rate" in row:
        values = [as_float(row.get(name)) for name in ("loss", "grad_norm", "rate", "wait_share")]
        sentinel.record(StepRecord(int(row["step"]), *values))


def as_float(value: float | None) -> float:
    """A recorded number; what was not finite is stored as null."""
    return float("nan") if value is None else float(value)
