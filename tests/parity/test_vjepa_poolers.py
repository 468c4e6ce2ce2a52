"""The published attentive poolers and probes of V-JEPA 1 and 2."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from craik.nn.pooling import AttentivePooler
from craik.weights.probes import LoadedProbe, build_pooler, load_probe
from tests.parity.golden import Fixture, assert_output, assert_relative
from tests.parity.video import weights_of

REFINE = {"vjepa1_pooler": "queries", "vjepa2_pooler": "tokens"}


@pytest.fixture(scope="module", params=list(REFINE))
def fixture(request: pytest.FixtureRequest, golden: Callable[[str], Fixture]) -> Fixture:
    return golden(request.param)


def poolers(fixture: Fixture) -> dict[str, AttentivePooler]:
    """The models of the fixture that are a pooler alone."""
    refine, found = REFINE[fixture.config["fixture"]], {}
    for name, c in fixture.config["models"].items():
        if c["class"] != "AttentivePooler":
            continue
        found[name] = build_pooler(weights_of(fixture, name), c["num_heads"], refine, name)
        assert len(found[name].blocks) == c["depth"] - 1
        assert all(m.eps == 1e-5 for m in found[name].modules() if isinstance(m, nn.LayerNorm))
    return found


def probe(fixture: Fixture, folder: Path) -> LoadedProbe:
    """The classifier by way of an official probe file: one entry of generation 1, a list of generation 2."""
    weights = {f"module.{key}": tensor for key, tensor in weights_of(fixture, "classifier").items()}
    first = REFINE[fixture.config["fixture"]] == "queries"
    content = {"classifier": weights} if first else {"classifiers": [weights]}
    torch.save({**content, "opt": {}, "epoch": 3}, folder / "probe.pt")
    return load_probe(folder / "probe.pt", heads=fixture.config["models"]["classifier"]["num_heads"])


def anticipation(fixture: Fixture, tokens: Tensor) -> dict[str, Tensor]:
    """Three queries, each with its head: verb, noun, action."""
    c = fixture.config["models"].get("anticipation")
    if c is None:
        return {}
    weights = weights_of(fixture, "anticipation")
    pooled = {key.removeprefix("pooler."): t for key, t in weights.items() if key.startswith("pooler.")}
    queries = build_pooler(pooled, c["num_heads"], "tokens", "anticipation")(tokens).unbind(1)
    return {
        f"anticipation.{name}": F.linear(
            query, weights[f"{name}_classifier.weight"], weights[f"{name}_classifier.bias"]
        )
        for name, query in zip(("verb", "noun", "action"), queries, strict=True)
    }


def test_outputs(fixture: Fixture, tmp_path: Path) -> None:
    tokens, labels = fixture.inputs["tokens"], fixture.inputs["labels"]
    ours: dict[str, Tensor] = {}
    loaded = probe(fixture, tmp_path)
    logits = loaded.head(loaded.pooler(tokens)[:, 0])
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    ours |= {"classifier": logits, "classifier.cross_entropy": loss.reshape(1)}
    if "classifier.grad.query_tokens" in fixture.outputs:
        ours["classifier.grad.query_tokens"] = loaded.pooler.query.grad
    with torch.no_grad():
        ours |= anticipation(fixture, tokens)
        for name, pooler in poolers(fixture).items():
            ours[name] = pooler(tokens)
            ours[f"{name}_f64"] = pooler.double()(tokens.double())
        loaded.head.double()
        ours["classifier_f64"] = loaded.head(loaded.pooler.double()(tokens.double())[:, 0])
    assert sorted(ours) == sorted(fixture.outputs)
    for name, golden in fixture.outputs.items():
        if ".grad." in name:
            assert_relative(ours[name], golden, 1e-4, name)
        else:
            bound = 1e-9 if name.endswith("_f64") else fixture.config["tolerance"]["abs"]
            assert_output(ours[name], golden, bound, name)
