"""The Hugging Face port of V-JEPA 2: features, hidden states, predictor, video classifier."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from craik.weights import LoadedWeights, hf_vjepa2, load
from tests.parity.golden import Fixture, assert_output
from tests.parity.video import states


def frames_second(pixel_values: Tensor) -> Tensor:
    """[B, T, C, H, W] as transformers has clips, to our [B, C, T, H, W]."""
    return pixel_values.transpose(1, 2)


def predict(loaded: LoadedWeights, x: Tensor, context: Tensor, target: Tensor) -> Tensor:
    """As the port: the encoder sees all, the predictor the context, and asks with the token that it always takes."""
    seen = loaded.encoder(x).take(context)
    where = loaded.encoder.grid(tuple(x.shape[2:])).coords()[target].unsqueeze(1)
    kind = hf_vjepa2.KIND % (1 + len(loaded.predictor.other_tokens))
    return loaded.predictor(seen, where, kind=kind)[:, 0]


@torch.no_grad()
def compute(fixture: Fixture) -> dict[str, Tensor]:
    loaded, inputs = load(fixture.folder / "model"), fixture.inputs
    encoder, x = loaded.encoder, frames_second(inputs["pixel_values_videos"])
    context, target = inputs["context_mask"], inputs["target_mask"]
    last = encoder(x).x
    ours = {"last_hidden_state": last, "hidden_states.0": encoder.embed(x).x}
    ours |= {f"hidden_states.{i}": state for i, state in enumerate(states(encoder, x), start=1)}
    everything = torch.arange(last.shape[1]).expand(len(x), -1)
    ours["predictor.full"] = predict(loaded, x, everything, everything)
    ours["masked.last_hidden_state"] = last
    ours["masked.masked_hidden_state"] = encoder(x).take(context).x
    ours["predictor.masked"] = predict(loaded, x, context, target)
    ours["predictor.masked_target"] = encoder(x).take(target).x
    ours["one_frame"] = encoder(frames_second(inputs["one_frame"])).x
    ours["fewer_frames"] = encoder(x[:, :, : fixture.config["fewer_frames"]]).x
    ours["last_hidden_state_f64"] = encoder.double()(x.double()).x
    return ours


def compare(fixture: Fixture, ours: dict[str, Tensor]) -> None:
    assert sorted(ours) == sorted(fixture.outputs)
    for name, golden in fixture.outputs.items():
        assert_output(ours[name], golden, 1e-9 if name.endswith("_f64") else fixture.config["tolerance"]["abs"], name)


def test_outputs(golden: Callable[[str], Fixture]) -> None:
    fixture = golden("hf_vjepa2")
    ours = compute(fixture)
    last = fixture.config["constructor"]["num_hidden_layers"]
    if torch.allclose(fixture.outputs[f"hidden_states.{last}"], fixture.outputs["last_hidden_state"]):
        ours[f"hidden_states.{last}"] = ours["last_hidden_state"]  # recorded after the final norm
    compare(fixture, ours)


@torch.no_grad()
def test_classifier(golden: Callable[[str], Fixture]) -> None:
    fixture = golden("hf_vjepa2_classification")
    loaded, x = load(fixture.folder / "model"), frames_second(fixture.inputs["pixel_values_videos"])
    assert loaded.pooler is not None and loaded.classifier is not None
    tokens = loaded.encoder(x).x
    pooled = loaded.pooler(tokens)[:, 0]
    logits = loaded.classifier(pooled)
    loss = F.cross_entropy(logits, fixture.inputs["labels"]).reshape(1)
    ours = {"last_hidden_state": tokens, "pooled": pooled, "logits": logits, "loss": loss}
    for network in (loaded.encoder, loaded.pooler, loaded.classifier):
        network.double()
    ours["logits_f64"] = loaded.classifier(loaded.pooler(loaded.encoder(x.double()).x)[:, 0])
    compare(fixture, ours)


@pytest.mark.parametrize("name", ["hf_vjepa2", "hf_vjepa2_classification"])
def test_export_gives_the_file_back(golden: Callable[[str], Fixture], name: str, tmp_path: Path) -> None:
    fixture = golden(name)
    loaded = load(fixture.folder / "model")
    folder = hf_vjepa2.export_hf(
        loaded.encoder,
        loaded.predictor,
        tmp_path / "out",
        frames=loaded.frames,
        image=loaded.image_size[0],
        pooler=loaded.pooler,
        classifier=loaded.classifier,
    )
    theirs, ours = (load_file(path / "model.safetensors") for path in (fixture.folder / "model", folder))
    assert sorted(ours) == sorted(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    written, wanted = hf_vjepa2.read_json(folder / "config.json"), fixture.config["constructor"]
    assert all(written[key] == value for key, value in wanted.items() if key in written)
