"""What a notebook uses: load, embed, save and share."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import craik
from craik import api
from craik.data.images import load_images
from craik.errors import UsageError
from tests.photos import write_photos
from tests.train.runs import MICRO, run_micro
from tests.weights.networks import entries, jepa, save


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_micro(tmp_path_factory.mktemp("api") / "run", steps=3).folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(write_photos(tmp_path_factory.mktemp("photos"), per_class=2).rglob("*.png"))


@pytest.fixture(scope="module")
def model(run: Path) -> api.Model:
    return craik.load(run, device="cpu")


def test_every_kind_of_image(model: api.Model, photos: list[Path]) -> None:
    path = photos[0]
    picture = Image.open(path).convert("RGB")
    kinds: list[Any] = [path, str(path), picture, np.asarray(picture), [path], [picture]]
    embeddings = [model.embed(kind) for kind in kinds]
    assert all(e.shape == (1, 24) and e.dtype == np.float32 for e in embeddings)
    assert all(np.array_equal(embeddings[0], e) for e in embeddings)
    gray = model.embed(picture.convert("L"))
    assert not np.array_equal(gray, embeddings[0])


def test_pools(model: api.Model, photos: list[Path]) -> None:
    mean, last4, tokens = (model.embed(photos[:3], pool=pool) for pool in ("mean", "last4", "tokens"))
    assert (mean.shape, last4.shape, tokens.shape) == ((3, 24), (3, 48), (3, 16, 24))  # the trunk has two layers
    np.testing.assert_allclose(tokens.mean(1), mean, atol=1e-6)
    with pytest.raises(UsageError, match="pool 'max': use one of mean, last4, tokens"):
        model.embed(photos[0], pool="max")


def test_an_image_is_embedded_as_if_alone(model: api.Model, photos: list[Path]) -> None:
    """Neither its neighbors in the list nor the size of a batch touch it; order is kept."""
    small = Image.open(photos[0]).convert("RGB").resize((16, 16))
    mixed = [photos[0], small, photos[1], small, photos[2]]
    together = model.embed(mixed)
    for image, embedding in zip(mixed, together, strict=True):
        np.testing.assert_allclose(model.embed(image)[0], embedding, atol=1e-5)
    np.testing.assert_allclose(model.embed(mixed, batch=2), together, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_image_data(model: api.Model) -> None:
    images = load_images("toy:shapes?n=5", size=16)
    features = model.embed(images)
    assert features.shape == (5, 24)
    pictures = list(images.take(np.arange(5)))
    np.testing.assert_allclose(model.embed(pictures), features, atol=1e-6)


def test_images_that_are_none(model: api.Model, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"this is no image")
    for images, message in (
        ([], "the list is empty"),
        (tmp_path / "no.png", "no such image file"),
        (tmp_path, "is a folder"),
        (tmp_path / "bad.png", "cannot be read as an image"),
        (np.zeros((4, 4, 3)), r"uint8 \[H, W, 3\], got float64"),
        (3, "cannot read an image from int"),
    ):
        with pytest.raises(UsageError, match=message):
            model.embed(images)


def test_what_is_saved_is_what_is_loaded(model: api.Model, photos: list[Path], tmp_path: Path) -> None:
    before = model.embed(photos)
    folder = model.save_pretrained(tmp_path / "model")
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    for again in (craik.load(folder), craik.from_pretrained(folder)):
        assert np.array_equal(again.embed(photos), before)
        assert again.name == model.name
        state, own = again.recipe.model.state_dict(), model.recipe.model.state_dict()
        assert state.keys() == own.keys()
        assert all(torch.equal(state[name], own[name]) for name in own)
    craik.save_pretrained(model, folder)  # over what is there
    assert np.array_equal(craik.load(folder).embed(photos), before)


def test_target_encoder_is_the_one_in_use(model: api.Model) -> None:
    assert model.has_slow_target
    assert model.encoder is model.recipe.model.get_submodule("target.encoder")
    assert not model.encoder.training


def test_loading_draws_nothing_from_the_global_generator_that_matters(run: Path, photos: list[Path]) -> None:
    torch.manual_seed(1)
    first = craik.load(run).embed(photos[0])
    torch.manual_seed(2)
    assert np.array_equal(craik.load(run).embed(photos[0]), first)


def broken(run: Path, folder: Path, **changes: Any) -> Path:
    shutil.copytree(run / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_models_that_do_not_fit_are_refused(run: Path, tmp_path: Path) -> None:
    config = json.loads((run / "model" / "config.json").read_text())["config"]
    wider = broken(run, tmp_path / "wider", config={**config, "encoder": {**config["encoder"], "depth": 3}})
    with pytest.raises(UsageError, match=r"Missing: encoder\.trunk\.blocks\.2"):
        craik.load(wider)
    unknown = broken(run, tmp_path / "unknown", config={**config, "hight": 3})
    with pytest.raises(UsageError, match="unknown hight"):
        craik.load(unknown)
    nobody = broken(run, tmp_path / "nobody", recipe="ijpea")
    with pytest.raises(UsageError, match="Did you mean ijepa"):
        craik.load(nobody)
    half = broken(run, tmp_path / "half")
    (half / "model.safetensors").write_bytes((half / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(UsageError, match="cannot be read"):
        craik.load(half)
    with pytest.raises(UsageError, match="no such folder"):
        craik.load(tmp_path / "nothing")


EVIL = "open({!r}, 'w').close()\n"


@pytest.mark.parametrize("place", ["inside", "relative"])
def test_a_foreign_model_folder_runs_no_code(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    trace = tmp_path / "code ran"
    folder = tmp_path / "gift"
    recipe = folder / "model" / "recipe.py" if place == "inside" else Path("gift/model/recipe.py")
    broken(run, folder / "model", recipe=str(recipe))
    (folder / "model" / "recipe.py").write_text(EVIL.format(str(trace)) + Path(MICRO.rsplit(":", 1)[0]).read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="lies in the folder itself and was not run"):
        craik.load(folder)
    with pytest.raises(UsageError, match="lies in the folder itself and was not run"):
        craik.load(folder / "model")
    assert not trace.exists()


def test_relative_recipe_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(MICRO.rsplit(":", 1)[0], tmp_path / "micro.py")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep" / "down").mkdir(parents=True)
    with pytest.raises(UsageError, match="by a relative path"):
        craik.load(broken(run, tmp_path / "deep" / "down" / "model", recipe="micro.py"))


class Hub:
    """A hub in a folder."""

    class errors:
        class HfHubHTTPError(OSError): ...

        class HFValidationError(ValueError): ...

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
        if "/" not in repo_id:
            raise self.errors.HFValidationError("Repo id must be in the form namespace/name")
        self.private = private
        (self.folder / repo_id).mkdir(parents=True, exist_ok=exist_ok)
        return f"https://hub/{repo_id}"

    def upload_folder(self, *, repo_id: str, folder_path: str) -> None:
        shutil.copytree(folder_path, self.folder / repo_id, dirs_exist_ok=True)

    def snapshot_download(self, repo_id: str, *, allow_patterns: list[str]) -> str:
        if not (self.folder / repo_id).exists():
            raise self.errors.HfHubHTTPError("404 Client Error\nRequest ID: 1")
        assert set(allow_patterns) == {"config.json", "model.safetensors", "README.md"}
        return str(self.folder / repo_id)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(api, "import_hub", lambda what: hub)
    return hub


def test_hub_there_and_back(tmp_path: Path, hub: Hub, photos: list[Path]) -> None:
    from craik.recipes import find

    method = find("ijepa:tiny")
    recipe = method.build(method.config)
    (tmp_path / "README.md").write_text("# a model card")
    model = api.Model(recipe, api.describe(method, method.config), str(tmp_path), torch.device("cpu"))
    assert model.push_to_hub("me/mine", private=True) == "https://hub/me/mine"
    assert hub.private
    uploaded = {p.name for p in (hub.folder / "me/mine").iterdir()}
    assert uploaded == {"config.json", "model.safetensors", "README.md"}
    again = craik.from_pretrained("me/mine", device="cpu")
    assert again.source == "me/mine"
    assert np.array_equal(again.embed(photos), model.embed(photos))


def test_hub_that_refuses(model: api.Model, hub: Hub) -> None:
    with pytest.raises(UsageError, match=r"mine: the upload failed \(Repo id must be"):
        model.push_to_hub("mine")
    with pytest.raises(UsageError, match=r"no such model \(404 Client Error\)"):
        craik.from_pretrained("me/other")


def test_recipe_file_of_an_author_is_not_run_from_the_hub(model: api.Model, hub: Hub) -> None:
    model.push_to_hub("me/mine")  # the micro recipe is a file
    with pytest.raises(UsageError, match="made by a recipe file of its author"):
        craik.from_pretrained("me/mine")


def test_published_weights(tmp_path: Path, photos: list[Path]) -> None:
    theirs = jepa()
    path = save(entries(theirs), tmp_path / "theirs.pth.tar")
    model, told = api.from_weights(path, heads=4)
    assert "theirs.pth.tar" in told
    own = model.encoder.state_dict()
    assert all(torch.equal(own[name], value) for name, value in theirs.target.encoder.state_dict().items())
    before = model.embed(photos)
    assert np.array_equal(craik.load(model.save_pretrained(tmp_path / "a"), device="cpu").embed(photos), before)
