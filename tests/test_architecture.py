"""`ls` is the architecture: imports go down only, and importing loads nothing heavy."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "craik"
LAYERS = {
    "errors": 0,
    "userfile": 1,
    "core": 1,
    "nn": 2,
    "masking": 2,
    "data": 3,
    "envs": 3,
    "plan": 3,
    "train": 4,
    "evaluate": 4,
    "weights": 4,
    "agent": 4,
    "report": 4,
    "recipes": 5,
    "codec": 5,
    "act_run": 6,
    "api": 6,
    "collect": 6,
    "pretrain": 6,
    "plan_run": 6,
    "probe_run": 6,
    "report_run": 6,
    "commands": 7,
    "cli": 7,
}
FORBIDDEN_WORDS = {"utils", "helpers", "misc", "common", "base", "manager", "factory"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Parts of craik that a file imports, also inside functions, but not for type checking alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "craik":
            names = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            found.update(names)
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("craik."))
    return found - {"__version__"}


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p.parent != PACKAGE or p.name != "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    own = part_of(path)
    assert own in LAYERS, f"{own} has no layer; add it to the picture in docs/architecture.md and to this test"
    for other in imports(path):
        if other == own:
            continue
        lower = LAYERS[other] < LAYERS[own]
        same_top = LAYERS[other] == LAYERS[own] >= 5  # api, commands: one layer of several files
        assert lower or same_top, f"{path.relative_to(ROOT)} ({own}) imports craik.{other}, which is not below it"


def test_core_knows_torch_alone() -> None:
    allowed = {"torch", "craik"} | set(sys.stdlib_module_names)
    for path in (PACKAGE / "core").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                assert all(name.split(".")[0] in allowed for name in names), f"{path.name} imports {names}"


def test_no_file_is_a_drawer_for_everything() -> None:
    for path in PACKAGE.rglob("*"):
        assert path.stem not in FORBIDDEN_WORDS, f"{path}: name it by what it is"


def test_core_jepa_has_no_if_about_methods() -> None:
    source = (PACKAGE / "core" / "jepa.py").read_text()
    for word in ("image", "video", "audio", "ijepa", "lejepa", "isinstance"):
        assert word not in source.lower(), f"core/jepa.py speaks of {word!r}"


@pytest.mark.parametrize("statement", ["import craik", "import craik.cli", "import craik.recipes"])
def test_import_loads_no_torch(statement: str) -> None:
    code = f"import sys; {statement}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_is_quick_and_loads_no_torch() -> None:
    code = "import sys; from craik.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    times = []
    for _ in range(5):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        times.append(time.perf_counter() - began)
        assert done.returncode == 0
        assert "craik train" in done.stdout
    assert min(times) < 0.3
