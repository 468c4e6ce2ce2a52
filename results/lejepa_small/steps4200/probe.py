"""The figures of this run: `python probe.py RUN TRAIN.parquet TEST.parquet`; raw pixels are left out, see METHODS."""

import sys

import torch

from craik import api
from craik.data.images import load_images
from craik.evaluate.bootstrap import mean_interval
from craik.evaluate.features import extract
from craik.evaluate.knn import knn_predict
from craik.evaluate.linear import fit_linear
from craik.probe_run import featurizers

run, train_path, test_path = sys.argv[1:]
model = api.load(run)
train, test = load_images(train_path, size=32), load_images(test_path, size=32)
train_y, test_y = torch.tensor(train.labels), torch.tensor(test.labels)
trained, random = featurizers(model, "all")
for name, featurizer in {**trained, "random encoder, last layer": random}.items():
    train_x, test_x = extract(featurizer, train), extract(featurizer, test)
    voted, fitted = knn_predict(train_x, train_y, test_x), fit_linear(train_x, train_y)
    knn = mean_interval((voted == test_y).double(), seed=0).percent()
    linear = mean_interval((fitted.predict(test_x) == test_y).double(), seed=0).percent()
    print(f"{name}: kNN {knn}, linear {linear}, l2 {fitted.l2:g}")
