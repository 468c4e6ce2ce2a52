"""Commands run in this process, on tiny data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from craik import cli
from tests.photos import write_photos
from tests.train.runs import run_micro


@dataclass(frozen=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


class Craik(Protocol):
    def __call__(self, *arguments: object) -> Said: ...


@pytest.fixture
def craik(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Craik:
    """Runs a command in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRAIK_CACHE", str(tmp_path / ".cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        code = cli.main([str(a) for a in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return Said(code, said.out, said.err)

    return call


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of six classes."""
    return write_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps."""
    return run_micro(tmp_path_factory.mktemp("finished") / "run", steps=4).folder
