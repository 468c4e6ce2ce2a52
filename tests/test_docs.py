"""What README.md and docs/ say is true: their blocks run, their links lead somewhere, their names exist."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from craik import cli
from craik.recipes import builtin, load, variants
from tests.photos import write_photos

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SET_UP = re.compile(r"^\s*(make|git clone|pip install|python3? -m (venv|pip))\b", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Fenced code of a page, without blocks that set up an environment."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(match[1], match[2], text[: match.start()].count("\n") + 2)
        for match in re.finditer(r"^```(bash|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]
    return [block for block in found if not (block.language == "bash" and SET_UP.search(block.text))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_COMMANDS = [page for page in PAGES if any(block.language == "bash" for block in blocks(page))]
PYTHON_ALONE = [page for page in PAGES if blocks(page) and page not in WITH_COMMANDS]


def run_python(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    """Executes a block; line numbers of a failure are those of the page."""
    exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_commands_and_python(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with photos/, as the page says, block after block."""
    write_photos(tmp_path / "photos", per_class=24)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRAIK_CACHE", str(tmp_path / ".cache"))
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        if block.language == "python":
            run_python(block, page, namespace)
            continue
        done = subprocess.run(["bash", "-e", "-c", block.text], env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{name(page)}:{block.line}\n{block.text}\n{done.stdout}\n{done.stderr}"


SHOWN = {
    "your_mask.md": lambda page: tuple(page["mask"].target.shape) == (4, 2, 16),
    "your_modality.md": lambda page: page["step"] == 2 and bool(page["loss"].total.isfinite()),
    "your_regularizer.md": lambda page: list(page["model"].regularizers) == ["whitening"],
}
"""What has to hold once the Python of a page has run, by its names."""


@pytest.mark.parametrize("page", PYTHON_ALONE, ids=name)
def test_python(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        run_python(block, page, namespace)
    assert SHOWN[page.name](namespace)


def test_a_recipe_file_made_of_a_page_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/your_mask.md says: save it as mine.py and train it."""
    page = ROOT / "docs" / "your_mask.md"
    assert "craik train ./mine.py:half" in page.read_text()
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("\n".join(block.text for block in blocks(page)))
    arguments = "train ./mine.py:half --data toy:shapes?n=64 --out runs/half --steps 2 --device cpu".split()
    assert cli.main(arguments) == 0, capsys.readouterr().err
    assert cli.main(["train", "--resume", "runs/half"]) == 0


def test_there_is_something_to_run() -> None:
    assert ROOT / "README.md" in WITH_COMMANDS
    assert len(PYTHON_ALONE) >= 3
    assert SET_UP.search("make demo    # creates .venv") and not SET_UP.search("craik train ijepa:tiny")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "METHODS.md", ROOT / "CONTRIBUTING.md"], ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), f"{name(page)} links to {target}"


def test_commands_that_are_named_exist() -> None:
    for page in PAGES:
        for block in blocks(page):
            for command in re.findall(r"^craik (\S+)", block.text, re.MULTILINE):
                assert command in cli.COMMANDS, f"{name(page)}:{block.line}: craik {command}"


def test_variants_that_are_named_exist() -> None:
    known = {recipe: variants(load(recipe)) for recipe in builtin()}
    sources = [*PAGES, *(ROOT / "craik").rglob("*.py")]
    for source in sources:
        for recipe, variant in re.findall(r"\b(ijepa|lejepa):([a-z]\w+)", source.read_text(encoding="utf-8")):
            assert variant in known[recipe], f"{name(source)} speaks of {recipe}:{variant}"
