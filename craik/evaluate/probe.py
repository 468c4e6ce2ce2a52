"""Probe: what a frozen encoder knows, beside what a random encoder, the raw pixels and a guess know.

A figure without its baselines and its protocol says little, so a `ProbeReport` cannot be had without them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from craik.data.images import ImageData
from craik.evaluate.attentive import fit_attentive
from craik.evaluate.bootstrap import LEVEL, RESAMPLES, Interval, difference_interval, mean_interval
from craik.evaluate.classes import Classes, match_classes
from craik.evaluate.features import Featurizer, Pool, extract, raw_pixels, read
from craik.evaluate.knn import knn_predict
from craik.evaluate.linear import few_labels, fit_linear
from craik.evaluate.scores import ATTENTIVE, KNN, LINEAR, MAJORITY, RANDOM, RAW, ProbeOptions, ProbeReport, Score
from craik.nn.mode import evaluating


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one method got right: [M] in [0, 1], and how."""

    correct: Tensor
    num_labels: int
    detail: str


def probe(
    train: ImageData,
    test: ImageData,
    trained: Mapping[str, Featurizer],
    random: Featurizer,
    options: ProbeOptions | None = None,
) -> ProbeReport:
    """Measure trained features beside their baselines.

    Args:
        train: Labeled images that probes are fitted on.
        test: Labeled images that they are scored on.
        trained: What to measure, each under the name it has in the report, such as "target encoder, mean".
        random: The same architecture with fresh weights.
        options: What to measure, and how.

    Raises:
        UsageError: No labels, classes that do not match, a single class.
    """
    options = options or ProbeOptions()
    data = match_classes(train, test)
    clash = {RANDOM, RAW, MAJORITY} & set(trained)
    if clash or not trained:
        raise ValueError(f"trained features need names of their own, got {sorted(trained)}")
    rows = {**trained, RANDOM: random}
    if any(featurizer.pool is Pool.TOKENS for featurizer in rows.values()):
        raise ValueError("kNN and linear probes want pooled features; use Pool.MEAN or Pool.LAST_FOUR")
    outcomes = {name: _measure_encoder(name, featurizer, data, options) for name, featurizer in rows.items()}
    if options.attentive is not None:
        for name in _one_per_encoder(rows):
            outcomes[name][ATTENTIVE] = _attentive(name, rows[name], data, options)
    outcomes[RAW] = _measure_raw(data, options, random.device)
    majority = (data.test_y == data.train_y.bincount().argmax()).double()
    methods = list(dict.fromkeys(method for found in outcomes.values() for method in found))
    outcomes[MAJORITY] = {method: _Outcome(majority, len(data.train_y), "") for method in methods}
    return ProbeReport(
        scores=tuple(
            _score(name, method, outcomes, name in trained, options.seed)
            for name in outcomes
            for method in methods
            if method in outcomes[name]
        ),
        protocol=(*_protocol(rows, data, options), *data.notes),
        train=data.train.name,
        test=data.test.name,
        num_train=len(data.train_y),
        num_test=len(data.test_y),
        num_classes=len(data.train_y.unique()),
        options=options,
    )


def _score(name: str, method: str, outcomes: dict[str, dict[str, _Outcome]], trained: bool, seed: int) -> Score:
    own = outcomes[name][method]

    def over(baseline: str) -> Interval | None:
        if not trained or method not in outcomes[baseline]:
            return None
        return difference_interval(own.correct, outcomes[baseline][method].correct, seed=seed)

    accuracy = mean_interval(own.correct, seed=seed)
    return Score(name, method, accuracy, own.num_labels, own.detail, over(RANDOM), over(RAW))


def _measure_encoder(name: str, featurizer: Featurizer, data: Classes, options: ProbeOptions) -> dict[str, _Outcome]:
    train_x, test_x = (
        extract(featurizer, images, batch=options.batch, progress=options.progress, label=f"{name}: {split}")
        for split, images in (("train", data.train), ("test", data.test))
    )
    return _measure(train_x.to(featurizer.device), test_x.to(featurizer.device), data, options)


def _measure_raw(data: Classes, options: ProbeOptions, device: torch.device | str) -> dict[str, _Outcome]:
    size = raw_side(len(data.train) * data.train.length, options)
    train_x, test_x = raw_pixels(data.train, size), raw_pixels(data.test, size)
    return _measure(train_x.to(device), test_x.to(device), data, options)


def raw_side(num_images: int, options: ProbeOptions) -> int:
    """Side of the raw-pixel baseline [px]: the one asked for, halved until the training images fit."""
    size = options.raw_size
    while size > 4 and num_images * 3 * size * size * 4 > options.raw_bytes:
        size //= 2
    return size


def _measure(train_x: Tensor, test_x: Tensor, data: Classes, options: ProbeOptions) -> dict[str, _Outcome]:
    """kNN, linear and few-label linear on features [N, F] and [M, F]."""
    y, num = data.train_y, len(data.train_y)
    voted = knn_predict(train_x, y, test_x, k=options.k, temperature=options.temperature)
    fitted = fit_linear(train_x, y, l2_grid=options.l2_grid, seed=options.seed)
    outcomes = {
        KNN: _Outcome(_right(voted, data), num, f"k {min(options.k, num)}"),
        LINEAR: _Outcome(_right(fitted.predict(test_x), data), num, f"l2 {fitted.l2:g}"),
    }
    for fraction in options.few_fractions:
        outcomes[few_name(fraction)] = _few(train_x, test_x, data, fraction, options)
    return outcomes


def _right(predicted: Tensor, data: Classes) -> Tensor:
    return (predicted.cpu() == data.test_y).double()


def few_name(fraction: float) -> str:
    """Name of the linear method with a fraction of the labels."""
    return f"{LINEAR}, {100 * fraction:g} % labels"


def _few(train_x: Tensor, test_x: Tensor, data: Classes, fraction: float, options: ProbeOptions) -> _Outcome:
    correct, chosen, num_labels = [], [], 0
    for seed in range(options.seed, options.seed + options.few_seeds):
        rows = few_labels(data.train_y, fraction, seed)
        fitted = fit_linear(train_x[rows.to(train_x.device)], data.train_y[rows], l2_grid=options.l2_grid, seed=seed)
        correct.append(_right(fitted.predict(test_x), data))
        chosen.append(f"{fitted.l2:g}")
        num_labels = len(rows)
    spread = torch.stack(correct).mean(1).std(correction=0)
    detail = f"l2 {', '.join(chosen)}; std over subsets {100 * spread:.1f} points"
    return _Outcome(torch.stack(correct).mean(0), num_labels, detail)


def _one_per_encoder(rows: Mapping[str, Featurizer]) -> list[str]:
    """Attentive probes read tokens, so two poolings of one encoder are the same to them."""
    first: dict[int, str] = {}
    for name, featurizer in rows.items():
        first.setdefault(id(featurizer.encoder), name)
    return list(first.values())


def _attentive(name: str, featurizer: Featurizer, data: Classes, options: ProbeOptions) -> _Outcome:
    featurizer = replace(featurizer, pool=Pool.TOKENS)
    train, y = _that_fit(featurizer, data, options)
    tokens = extract(
        featurizer,
        train,
        batch=options.batch,
        progress=options.progress,
        label=f"{name}: tokens",
        dtype=torch.float16,
    )
    width = tokens.shape[2]
    fitted = fit_attentive(
        tokens,
        y,
        heads=attentive_heads(width),
        options=options.attentive,
        device=featurizer.device,
        progress=options.progress,
    )
    correct = torch.zeros(len(data.test), dtype=torch.float64)
    with evaluating(featurizer.encoder), torch.inference_mode():
        for start, x, sizes in read(data.test, options.batch or featurizer.batch):
            stop = start + len(x)
            correct[start:stop] = (fitted.predict(featurizer(x, sizes)) == data.test_y[start:stop]).double()
    detail = f"lr {fitted.lr:g}, {fitted.epochs:.1f} epochs of {len(y):,} images"
    return _Outcome(correct, len(y), detail)


def attentive_heads(width: int) -> int:
    """Heads of an attentive probe on features of this width: one per 64 features, as in the usual encoders."""
    return next(heads for heads in range(max(1, width // 64), 0, -1) if width % heads == 0)


def _that_fit(featurizer: Featurizer, data: Classes, options: ProbeOptions) -> tuple[ImageData, Tensor]:
    """The training images, or a stratified part of them, whose tokens fit into memory."""
    one = extract(featurizer, data.train.subset(np.arange(1)), batch=1)
    allowed = options.attentive_bytes / (2 * one[0].numel())
    if allowed >= len(data.train):
        return data.train, data.train_y
    rows = few_labels(data.train_y, allowed / len(data.train), options.seed)
    return data.train.subset(rows.numpy()), data.train_y[rows]


def _protocol(rows: Mapping[str, Featurizer], data: Classes, options: ProbeOptions) -> tuple[str, ...]:
    described = [
        f"{name}: {type(f.encoder).__name__} at {f.image_size} px, {f.pool.described}, in {f.autocast or torch.float32}"
        for name, f in rows.items()
    ]
    size = raw_side(len(data.train) * data.train.length, options)
    lines = [
        f"Data: {len(data.train):,} training and {len(data.test):,} test images of {len(data.names)} classes; short "
        "side resized, center crop, no augmentation; frozen features.",
        *described,
        f"{RAW}: {size} px RGB in [0, 1]; {MAJORITY}: the most frequent training class.",
        f"{KNN}: features minus training mean, L2-normalized, k {options.k}, votes weighted by "
        f"exp(cosine / {options.temperature:g}).",
        f"{LINEAR}: multinomial logistic regression, full-batch L-BFGS, standardized features, l2 of "
        f"{{{', '.join(f'{l2:g}' for l2 in options.l2_grid)}}} chosen on a stratified 10 % of the training data "
        "(strong to weak, until two in a row fall below the best), then fitted to all of it.",
        f"Few labels: the linear probe on stratified subsets, at least one label per class, mean of "
        f"{options.few_seeds} subsets.",
        f"Intervals: {LEVEL:.0%} bootstrap over test images, {RESAMPLES} resamples; differences are paired. Seed "
        f"{options.seed}.",
    ]
    if options.attentive is not None:
        a = options.attentive
        lines.append(
            f"{ATTENTIVE}: one query, cross-attention and MLP, AdamW, weight decay {a.weight_decay:g}, cosine to 0, at "
            f"most {a.epochs} epochs, batch {a.batch}; lr of {{{', '.join(f'{lr:g}' for lr in a.lrs)}}} chosen on a "
            "stratified 10 % that is not trained on."
        )
    return tuple(lines)
