"""A quick score while training, beside that of a random encoder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from craik.codec import decode
from craik.data.images import ImageData
from craik.evaluate.features import Featurizer, extract
from craik.evaluate.knn import knn_accuracy
from craik.evaluate.monitor import crop_agreement
from craik.recipes import Method
from craik.train import checkpoint
from craik.train.loop import Probe
from craik.train.recipe import Recipe
from craik.train.runtime import Runtime

Json = dict[str, Any]
FEWEST_LABELED = 50  # images that a score of kNN is worth having on


def make_probe(method: Method, record: Json, recipe: Recipe, images: ImageData, runtime: Runtime) -> Probe:
    """A quick score while training: kNN with labels, agreement of two crops without; beside a random encoder."""
    random_encoder = in_use(random_twin(method, record).model).to(runtime.device)
    score = knn_score(images) if usable_labels(images) else agreement_score(images)
    view = recipe.view

    def featurize(encoder: nn.Module) -> Featurizer:
        dtype = torch.bfloat16 if runtime.bf16 else None
        return Featurizer(encoder, view.size, view.mean, view.std, device=runtime.device, autocast=dtype)

    name, beside = score.name, score(featurize(random_encoder))
    return lambda model: {name: score(featurize(in_use(model))), f"{name}_random": beside}


def random_twin(method: Method, record: Json) -> Recipe:
    """The parts of a run with fresh weights; nothing else is drawn differently for it."""
    rng_state = checkpoint.rng_state()
    torch.manual_seed(record["conduct"]["seed"] + 1)
    twin: Recipe = method.build(decode(method.module.Config, record["config"]))
    checkpoint.set_rng_state(rng_state)
    return twin


def in_use(model: Any) -> nn.Module:
    """The encoder whose features are used."""
    encoder: nn.Module = model.target.representation(model.encoder)
    return encoder


@dataclass(frozen=True, slots=True)
class Score:
    """A named score of a featurizer."""

    name: str
    measure: Callable[[Featurizer], float]

    def __call__(self, featurizer: Featurizer) -> float:
        """The score."""
        return self.measure(featurizer)


def usable_labels(images: ImageData) -> bool:
    """Whether there are at least two classes and enough labeled images to hold some out."""
    labeled = images.labeled()
    return labeled.labels is not None and len(labeled) >= FEWEST_LABELED and len(np.unique(labeled.labels)) > 1


def knn_score(images: ImageData, bank: int = 1000, queries: int = 300) -> Score:
    """Accuracy of kNN on held-out images of the training data; labels serve for this number alone."""
    labeled = images.labeled()
    some = min(len(labeled), bank + queries)
    chosen = labeled.subset(np.sort(np.random.default_rng(0).permutation(len(labeled))[:some]))
    train, test = chosen.split(bank / (bank + queries), seed=0)
    y_train, y_test = torch.from_numpy(train.labels), torch.from_numpy(test.labels)

    def measure(featurizer: Featurizer) -> float:
        return knn_accuracy(extract(featurizer, train), y_train, extract(featurizer, test), y_test)

    return Score("knn", measure)


def agreement_score(images: ImageData, num: int = 300) -> Score:
    """How often an image's nearest neighbor, among other crops of all images, is its own other crop."""
    chosen = images.subset(np.linspace(0, len(images) - 1, min(num, len(images))).astype(np.int64))
    return Score("agreement", lambda featurizer: crop_agreement(featurizer, chosen))
